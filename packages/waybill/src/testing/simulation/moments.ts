/**
 * The rules that are about a moment, looked at while it runs: what an acknowledgement, a confirmation, a lease or a
 * removed row stands on can be seen then and never again. And what is kept of what the services remove in time.
 */
import { isControl } from '../../contract/control.ts';
import type { ListedSaga, OutboxRow, WaitingRow } from '../../contract/store.ts';
import type { Delivery } from '../../contract/transport.ts';
import { keyOf } from '../../stores/memory/disk.ts';
import type { Broker, BrokerOptions } from './broker.ts';
import type { Database, Transaction } from './database.ts';
import { type Process, startMs } from './process.ts';
import { canonical } from './workload.ts';

/** How long the services keep what they sent, in runs that last longer than that. */
export const horizonMs = 60_000;
/** What was taken on may come again for so long: an inbox row is not removed before. */
const redeliveredMs = 2 * horizonMs;

export interface Databases {
  readonly shop: Database;
  readonly basket: Database;
}

/** Everything that a ledger or the sagas ever held, also what retention has removed since. */
export interface Archive {
  readonly ledger: ReadonlyMap<number, OutboxRow & { readonly storedMs: number }>;
  readonly sagas: ReadonlyMap<string, ListedSaga>;
}

export interface Moments extends Pick<BrokerOptions, 'onSettled' | 'onGoodbye'> {
  /** This process dies now, with what it has begun. */
  died(process: Process): void;
  /** How often a process died while this run had begun there, and no other's: by subscription and id. */
  readonly crashedAlone: ReadonlyMap<string, number>;
  /** When an effect was committed. */
  readonly appliedMs: (service: string, position: number) => number | undefined;
  readonly archives: Readonly<Record<keyof Databases, Archive>>;
  /** Inbox rows that nothing needs any more. */
  overdue(): string[];
}

export function watchMoments(
  databases: Databases,
  host: {
    readonly broker: () => Broker;
    readonly violate: (invariant: string, what: string, id?: string) => void;
    readonly tell: (id: string, line: string) => void;
    readonly nowMs: () => number;
  },
): Moments {
  const { violate, tell } = host;
  const archiveOf = (): { ledger: Map<number, OutboxRow & { storedMs: number }>; sagas: Map<string, ListedSaga> } => ({ ledger: new Map(), sagas: new Map() });
  const archives = { shop: archiveOf(), basket: archiveOf() };
  /** Who committed that it had taken a message on. */
  const finishedBy = new Map<string, Process>();
  /** Runs of what waits that began and have no verdict: by process, (subscription, id). */
  const begun = new Map<Process, Set<string>>();
  const crashedAlone = new Map<string, number>();
  const appliedMs = new Map<string, number>();

  // --- at a commit ------------------------------------------------------------------------------------------------------

  /** I13: who moves the relay or a projection names the epoch of his lease; a later one is never followed by an earlier one. */
  const checkFences = ({ process, disk, database }: Transaction): void => {
    const check = (row: string, epoch: number | undefined, was: number | undefined): void => {
      if (epoch !== undefined && was !== undefined && epoch < was) violate('I13', `${process.name} wrote to ${row} under epoch ${epoch}, which is ${was} by now`);
    };
    for (const [row, now] of disk.relay.changes()) check(row, now?.epoch, database.disk.relay.committed.get(row)?.epoch);
    for (const [row, now] of disk.projections.changes()) check(row, now?.epoch, database.disk.projections.committed.get(row)?.epoch);
  };

  const noteBegun = ({ process, disk, database }: Transaction): void => {
    const mine = begun.get(process) ?? new Set();
    begun.set(process, mine);
    for (const [row, now] of disk.waiting.changes()) {
      const was = database.disk.waiting.committed.get(row);
      if (was) for (const runs of begun.values()) runs.delete(runOf(was)); // also of one that began it too
      if (now && now.starts > now.attempt) mine.add(runOf(now));
    }
  };

  /** Whether an inbox row that is not written anew under another name may go. */
  const checkRemovals = ({ process, disk, database }: Transaction): void => {
    const changes = disk.inbox.changes();
    for (const [key, now] of changes) {
      const was = database.disk.inbox.committed.get(key);
      if (now || !was) continue;
      const { subscription, source, id, atMs } = was;
      if (changes.some(([, other]) => other?.id === id && other.source === source)) continue; // it was renamed
      const ageMs = startMs + host.nowMs() - atMs;
      const why = ageMs < redeliveredMs ? `after ${Math.round(ageMs)} ms` : reasonToKeep(database, subscription, source, id);
      if (why !== undefined) violate('I14', `${process.name} forgot that ${subscription} has taken it, ${why}`, id);
    }
  };

  const reasonToKeep = ({ disk }: Database, subscription: string, source: string, id: string): string | undefined => {
    const is = (row: { readonly subscription: string | undefined; readonly message: { readonly source: string; readonly id: string } }): boolean =>
      row.subscription === subscription && row.message.source === source && row.message.id === id;
    if ([...disk.waiting.committed.values()].some(is)) return 'and it waits there';
    if ([...disk.failures.committed.values()].some(is)) return 'and it is in failures there';
    if (host.broker().holds(subscription, source, id)) return 'and the broker has it still';
    return undefined;
  };

  const note = ({ process, disk, effects, database: { options } }: Transaction): void => {
    const { ledger, sagas } = archives[options.name as keyof Databases];
    for (const [, row] of disk.inbox.changes()) if (row) finishedBy.set(`${row.subscription} ${row.id}`, process);
    for (const [position, row] of disk.outbox.changes()) {
      if (!row) continue;
      ledger.set(position, row);
      tell(row.id, `committed to ${options.name}'s ledger as ${row.type}`);
    }
    for (const [key, row] of disk.sagas.changes()) if (row) sagas.set(key, row);
    for (const [position, row] of effects.changes()) {
      if (!row) continue;
      appliedMs.set(`${options.name} ${position}`, startMs + host.nowMs());
      tell(row.id, `${row.subscription} committed its effect`);
    }
    for (const [, row] of disk.failures.changes()) if (row) tell(row.message.id, `${row.subscription ?? 'the sender'} gave it up: ${row.error.code}`);
    for (const [, row] of disk.waiting.changes()) if (row) tell(row.message.id, `${row.subscription ?? 'the sender'} lets it wait: ${row.reason}, run ${row.attempt}`);
  };

  for (const database of Object.values(databases) as Database[]) {
    database.onCommit = (transaction) => {
      checkFences(transaction);
      checkRemovals(transaction);
      noteBegun(transaction);
      note(transaction);
    };
    database.onSettled = (from, to, parked) => {
      for (let position = from + 1; position <= to; position++) {
        const row = database.disk.outbox.committed.get(position);
        if (row === undefined || parked.includes(row.id) || row.type === 'waybill.reply.v1' || row.kind === 'reply') continue;
        if (host.broker().stored.has(`${row.source} ${row.id} ${row.type}`)) continue;
        violate('I8', 'it counts as published, and the broker has not confirmed it', row.id);
      }
    };
  }

  // --- at the broker ----------------------------------------------------------------------------------------------------

  const takenOn = (subscription: string, { headers }: Delivery): boolean => {
    const { inbox } = databases[subscription.startsWith('shop.') ? 'shop' : 'basket'].disk;
    return [subscription, `${subscription}-renamed`].some((name) => inbox.committed.has(keyOf(name, headers['ce-source']!, headers['ce-id']!)));
  };

  return {
    onSettled(subscription, deliveries) {
      for (const delivery of deliveries) {
        if (isControl(delivery)) continue; // it asks or tells something, and has no effect
        const id = delivery.headers['ce-id']!;
        tell(id, `acknowledged in ${subscription}`);
        if (!takenOn(subscription, delivery)) violate('I7', `${subscription} acknowledged it, and nothing of it is in the database`, id);
      }
    },
    onGoodbye(subscription, deliveries, process) {
      for (const { headers } of deliveries) {
        const id = headers['ce-id']!;
        if (finishedBy.get(`${subscription} ${id}`) === process) violate('I21', `${subscription} was stopped and gave back what it had finished`, id);
      }
    },
    died(process) {
      const [run, ...others] = begun.get(process) ?? [];
      if (run !== undefined && others.length === 0) crashedAlone.set(run, (crashedAlone.get(run) ?? 0) + 1);
    },
    crashedAlone,
    appliedMs: (service, position) => appliedMs.get(`${service} ${position}`),
    archives,
    overdue: () =>
      (Object.entries(databases) as [string, Database][]).flatMap(([name, database]) => {
        const old = [...database.disk.inbox.committed.values()].filter(
          ({ subscription, source, id, atMs }) => startMs + host.nowMs() - atMs > redeliveredMs && reasonToKeep(database, subscription, source, id) === undefined,
        );
        return old.length > 0 ? [`${name}: ${old.length} inbox rows are kept although nothing can come again`] : [];
      }),
  };
}

function runOf({ subscription, message }: WaitingRow): string {
  return `${canonical(subscription ?? '')} ${message.id}`;
}
