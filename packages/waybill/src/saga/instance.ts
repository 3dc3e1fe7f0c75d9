/** An instance between two steps is a row; in a step it is this: its state read, its ledger open. */
import { WaybillError } from '../contract/errors.ts';
import { readJson, writeJson } from '../contract/json.ts';
import { type SagaDefinition, serving } from '../contract/saga.ts';
import { describeIssues, validate } from '../contract/schema.ts';
import type { SagaRow, SagaStatus } from '../contract/store.ts';

/** What an instance keeps besides its state. */
export interface Ledger {
  /** In the order in which they were done; `undone` from the end. */
  readonly steps: { readonly step: string; undone: boolean }[];
  /** By name. A timeout of another generation has been replaced. */
  readonly timeouts: Record<string, { readonly generation: number; readonly dueMs: number }>;
  /** Replies that are expected: command id → type. */
  readonly asked: Record<string, string>;
  /** The message that is in failures, and what the instance was before. */
  parked?: { readonly in: Going; readonly id: string; readonly code: string; readonly message: string };
}

/** What can still go on. */
type Going = Extract<SagaStatus, 'running' | 'undoing'>;

export interface Instance {
  readonly definition: SagaDefinition;
  readonly row: SagaRow | undefined;
  /** What it is, whether parked or not. */
  status: Exclude<SagaStatus, 'parked'>;
  state: unknown;
  readonly ledger: Ledger;
}

/** Replies expected at once, at most: they are read and written with each step. */
const askedMax = 256;

export async function begin(definition: SagaDefinition, key: string): Promise<Instance> {
  const state = await validated(definition, definition.initial(key), 'initial');
  return { definition, row: undefined, status: 'running', state, ledger: { steps: [], timeouts: {}, asked: {} } };
}

/** @throws WaybillError `SAGA_UNSERVED` when no definition here fits */
export async function open(newest: SagaDefinition, row: SagaRow): Promise<Instance> {
  const definition = serving(newest, row.version);
  const unserved = (why: string, cause?: unknown): WaybillError =>
    new WaybillError('SAGA_UNSERVED', `${row.saga} ${row.key}: ${why}`, { cause });
  if (!definition) {
    throw unserved(`the instance is of version ${row.version}, which no definition here serves (newest: ${newest.version}); deploy one with \`migrate\` or \`previous\``);
  }
  const ledger = JSON.parse(row.ledger) as Ledger;
  const status = row.status === 'parked' ? ledger.parked!.in : row.status;
  const stored = readJson(row.state, `the state of ${row.saga}`);
  if (status === 'completed' || status === 'compensated') return { definition, row, status, state: stored, ledger };
  try {
    const old = row.version === definition.version ? stored : definition.migrate!(stored, row.version);
    return { definition, row, status, state: await validated(definition, old, 'stored'), ledger };
  } catch (cause) {
    throw unserved(`its state, written by version ${row.version}, does not fit version ${definition.version}; raise the version and pass \`migrate\``, cause);
  }
}

/** The row after a step. @throws WaybillError `CONTRACT_VIOLATION` when the state does not fit its schema */
export async function rowOf(instance: Instance, of: { readonly saga: string; readonly key: string; readonly nowMs: number }): Promise<SagaRow> {
  const { definition, row, ledger, status } = instance;
  if (Object.keys(ledger.asked).length > askedMax) {
    throw new WaybillError('CONTRACT_VIOLATION', `${of.saga} ${of.key}: more than ${askedMax} replies are expected at once; let one command do more`);
  }
  await validated(definition, instance.state, 'new');
  return {
    saga: of.saga,
    key: of.key,
    version: definition.version,
    revision: (row?.revision ?? 0) + 1,
    status: ledger.parked ? 'parked' : status,
    state: writeJson(instance.state, `the state of ${of.saga}`),
    ledger: JSON.stringify(ledger),
    startedMs: row?.startedMs ?? of.nowMs,
    changedMs: of.nowMs,
  };
}

/** What its schema makes of a state's JSON: what passes here passes when it is read back. */
async function validated(definition: SagaDefinition, state: unknown, which: string): Promise<unknown> {
  const what = `the ${which} state of saga ${definition.name}`;
  const result = await validate(definition.schema, readJson(writeJson(state, what), what, 'CONTRACT_VIOLATION'), what);
  if (!result.issues) return result.value as unknown;
  throw new WaybillError('CONTRACT_VIOLATION', `${what} does not fit its schema: ${describeIssues(result.issues)}`);
}
