/** Where does a process stand, and can it go on? */
import { WaybillError } from '../contract/errors.ts';
import type { BusInternals } from '../contract/internals.ts';
import { serving } from '../contract/saga.ts';
import type { ListedSaga, SagaStatus, SagasPort } from '../contract/store.ts';

export interface SagaFilter {
  /** Full name: `ordering.order-process`. */
  readonly saga?: string;
  readonly key?: string;
  readonly status?: SagaStatus;
  /** Rows after this one, at most `limit` (default 100, at most 1,000). */
  readonly after?: number;
  readonly limit?: number;
}

/** An instance of a saga. */
export interface SagaInstance {
  readonly row: number;
  readonly saga: string;
  readonly key: string;
  readonly version: number;
  readonly status: SagaStatus;
  readonly state: unknown;
  /** In the order they were done; undone from the last. */
  readonly steps: readonly { readonly step: string; readonly undone: boolean }[];
  readonly timeouts: readonly { readonly name: string; readonly due: Date }[];
  /** Commands whose reply is awaited. */
  readonly asked: readonly { readonly id: string; readonly type: string }[];
  /** Why it is parked: the message that is in failures. */
  readonly parked: { readonly id: string; readonly code: string; readonly message: string } | undefined;
  readonly started: Date;
  readonly changed: Date;
}

/** @throws WaybillError `CAPABILITY_MISSING` */
export async function sagasOf(internals: BusInternals): Promise<SagasPort> {
  const { sagas } = (await internals.store()).ports;
  if (sagas) return sagas;
  throw new WaybillError('CAPABILITY_MISSING', 'this store keeps no sagas');
}

interface StoredLedger {
  readonly steps: SagaInstance['steps'];
  readonly timeouts: Readonly<Record<string, { readonly dueMs: number }>>;
  readonly asked: Readonly<Record<string, string>>;
  readonly parked?: { readonly id: string; readonly code: string; readonly message: string };
}

export function sagaOf(row: ListedSaga): SagaInstance {
  const ledger = JSON.parse(row.ledger) as StoredLedger;
  const { id, code, message } = ledger.parked ?? {};
  return {
    row: row.row,
    saga: row.saga,
    key: row.key,
    version: row.version,
    status: row.status,
    state: JSON.parse(row.state),
    steps: ledger.steps,
    timeouts: Object.entries(ledger.timeouts).map(([name, { dueMs }]) => ({ name, due: new Date(dueMs) })),
    asked: Object.entries(ledger.asked).map(([command, type]) => ({ id: command, type })),
    parked: ledger.parked && { id: id!, code: code!, message: message! },
    started: new Date(row.startedMs),
    changed: new Date(row.changedMs),
  };
}

/** Counts, not instances: however many there are. */
export async function checkSagas(internals: BusInternals): Promise<{ saga: string; version: number; instances: number; why: string }[]> {
  const definitions = internals.sagas();
  const unserved = new Map<string, { saga: string; version: number; instances: number; why: string }>();
  for (const { saga, version, status, count } of await (await sagasOf(internals)).counts()) {
    if (status === 'completed' || status === 'compensated') continue;
    const newest = definitions.get(saga);
    if (newest && serving(newest, version)) continue;
    const why = !newest
      ? 'this bus runs no saga of that name'
      : `the newest definition here is version ${newest.version}, and neither \`migrate\` nor \`previous\` reaches version ${version}`;
    const group = JSON.stringify([saga, version]);
    unserved.set(group, { saga, version, instances: (unserved.get(group)?.instances ?? 0) + count, why });
  }
  return [...unserved.values()];
}
