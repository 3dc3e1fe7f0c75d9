import { troubleOf } from '../../contract/failure.ts';
import type { FailureFilter, FailureGroup, Inspect, OutboxEntry, Page, Standing } from '../../contract/inspect.ts';
import type { FailedRow, OutboxRow, WaitingRow } from '../../contract/store.ts';
import { copyOf, keyOf, type Disk } from './disk.ts';
import { waitingRow } from './waiting.ts';

const limitDefault = 100;
const limitMax = 1_000;

/** What operations read: committed rows, never changed. */
export function createInspect(disk: Disk): Inspect {
  const position = (): number => disk.relay.committed.get('relay')?.position ?? 0;
  const entries = (): OutboxEntry[] => {
    const parked = new Set<string>();
    for (const { subscription, message } of disk.failures.committed.values()) {
      if (subscription === undefined) parked.add(keyOf(message.source, message.id));
    }
    return [...disk.outbox.committed.values()].map((row) =>
      entryOf(row, row.position > position() ? 'ready' : parked.has(keyOf(row.source, row.id)) ? 'failed' : 'published'),
    );
  };

  return {
    outbox: async ({ state, id, ...page }) =>
      pageOf(
        entries().filter((entry) => (state === undefined || entry.state === state) && (id === undefined || entry.id === id)),
        page,
        (entry) => entry.position,
      ),

    waiting: async ({ subscription, id, ...page }) =>
      pageOf(
        [...disk.waiting.committed.values()].filter(
          (row) => isOf(row.subscription, subscription) && (id === undefined || row.message.id === id),
        ),
        page,
        ({ row }) => row,
      ).map(waitingRow),

    failures: async (filter) =>
      pageOf([...disk.failures.committed.values()].filter((row) => fits(row, filter)), filter, ({ row }) => row).map(copyOf),

    failureGroups: async () => {
      const groups = new Map<string, FailureGroup>();
      for (const row of disk.failures.committed.values()) groups.set(troubleOf(row), withRow(groups.get(troubleOf(row)), row));
      return [...groups.values()];
    },

    standing: async (subscription, keys) => {
      const of = (rows: Iterable<WaitingRow | FailedRow>): Set<string> =>
        new Set([...rows].filter((row) => row.subscription === subscription).map(({ message }) => keyOf(message.source, message.id)));
      const failed = of(disk.failures.committed.values());
      const waiting = of(disk.waiting.committed.values());
      return keys.map(({ source, id }): Standing => {
        if (failed.has(keyOf(source, id))) return 'failed';
        if (waiting.has(keyOf(source, id))) return 'waiting';
        return disk.inbox.committed.has(keyOf(subscription, source, id)) ? 'applied' : 'unknown';
      });
    },

    counts: async () => ({
      ready: entries().filter(({ state }) => state === 'ready').length,
      waiting: disk.waiting.committed.size,
      failed: disk.failures.committed.size,
    }),
  };
}

function pageOf<Row>(rows: readonly Row[], { after = 0, limit = limitDefault }: Page, numberOf: (row: Row) => number): Row[] {
  return rows.filter((row) => numberOf(row) > after).slice(0, Math.min(limit, limitMax));
}

function isOf(subscription: string | undefined, asked: string | null | undefined): boolean {
  return asked === undefined || (asked === null ? subscription === undefined : subscription === asked);
}

function fits(row: FailedRow, { subscription, type, code, id, group }: FailureFilter): boolean {
  return (
    isOf(row.subscription, subscription) &&
    (type === undefined || row.message.type === type) &&
    (code === undefined || row.error.code === code) &&
    (id === undefined || row.message.id === id) &&
    (group === undefined || troubleOf(row) === group)
  );
}

function withRow(group: FailureGroup | undefined, row: FailedRow): FailureGroup {
  const { subscription, message, error, firstFailedMs, lastFailedMs } = row;
  if (group === undefined) {
    const { code, message: text } = error;
    const { type } = message;
    return { group: troubleOf(row), subscription, type, code, message: text, count: 1, firstMs: firstFailedMs, lastMs: lastFailedMs };
  }
  return {
    ...group,
    count: group.count + 1,
    firstMs: Math.min(group.firstMs, firstFailedMs),
    lastMs: Math.max(group.lastMs, lastFailedMs),
  };
}

function entryOf({ position, id, type, kind, recipient, key, time }: OutboxRow, state: OutboxEntry['state']): OutboxEntry {
  return { position, id, type, kind, recipient, key, timeMs: time, state };
}
