import { type Due, type FailureRow, type WaitingEntry, type WaitingPort, type WaitingRow, readBytesMax } from '../../contract/store.ts';
import type { Access } from './access.ts';
import { copyOf, type Disk, type Waiting } from './disk.ts';

/** What happens later: rows by number, which is the order they were added in. */
export function createWaiting({ disk, host, writing, write }: Access): WaitingPort {
  const timeOf = (due: Due): number => (due === 'now' ? host.clock.now() : due);
  const timed = <E extends Partial<WaitingEntry>>(entry: E): E & { dueMs: number } => ({ ...entry, dueMs: timeOf(entry.dueMs!) });
  return {
    nowMs: () => host.clock.now(),

    add: (tx, entries) =>
      writing(tx, ({ waiting }) => {
        for (const entry of entries) {
          if (entry.reason === 'schedule' && [...waiting.rows()].some((other) => isSchedule(other) && other.message.id === entry.message.id)) continue;
          const row = disk.number();
          const front = entry.inOrder && entry.reason === 'asked';
          waiting.set(row, { ...copyOf(timed(entry)), row, front, starts: entry.attempt, createdMs: host.clock.now(), claim: undefined });
        }
      }),

    async due(subscription, at, max, owner) {
      const nowMs = timeOf(at);
      const ready = heads(disk, subscription).filter((row) => isFree(row, owner, host.clock.now()));
      const rows = ready.filter(({ dueMs }) => dueMs <= nowMs).slice(0, max);
      const rest = ready.filter((row) => !rows.includes(row));
      const nextDueMs = rest.length === 0 ? undefined : rest.reduce((ms, { dueMs }) => Math.min(ms, dueMs), Infinity);
      return { rows: rows.map(waitingRow), nowMs, nextDueMs };
    },

    async nextDue() {
      const nowMs = host.clock.now();
      const names = new Set([...disk.waiting.committed.values()].map(({ subscription }) => subscription));
      return new Map(
        [...names].flatMap((name): [string, number][] => {
          const [first] = name === undefined ? [] : heads(disk, name);
          return first === undefined ? [] : [[name!, first.dueMs - nowMs]];
        }),
      );
    },

    start: (rows, { owner, claimMs, renew = false }) =>
      write(({ waiting }) =>
        rows.map(({ row, attempt, starts }) => {
          const nowMs = host.clock.now();
          const now = waiting.get(row);
          if (now === undefined) return undefined;
          if (renew ? now.claim?.owner !== owner : !isFree(now, owner, nowMs) || now.attempt !== attempt || now.starts !== starts) return undefined;
          const counted = renew ? now.starts : now.starts + 1;
          waiting.set(row, { ...now, starts: counted, claim: { owner, untilMs: nowMs + claimMs } });
          return counted;
        }),
      ),

    settle: (tx, { row, attempt, owner }, next) =>
      writing(tx, ({ waiting }) => {
        const now = waiting.get(row);
        if (now === undefined || now.attempt !== attempt || !isFree(now, owner, host.clock.now())) return false;
        if (next === undefined) waiting.delete(row);
        else waiting.set(row, copyOf({ ...timed({ ...now, ...next }), starts: next.attempt ?? now.attempt, claim: undefined }));
        return true;
      }),

    async behind(some, max) {
      const nowMs = host.clock.now();
      const each = Math.ceil(max / Math.max(1, some.length));
      let bytes = 0;
      const found = some.flatMap((head) => {
        const line = lineOf([...disk.waiting.committed.values()], head);
        const after = line.slice(line.findIndex(({ row }) => row === head.row) + 1);
        const end = after.findIndex(({ starts, dueMs }) => starts > 0 || dueMs > nowMs);
        return after.slice(0, end < 0 ? each : Math.min(end, each)).map(waitingRow);
      });
      return found.filter(({ message: { body } }) => (bytes += body.length) - body.length < readBytesMax);
    },

    take: (tx, rows) =>
      writing(tx, ({ waiting, failures }) => {
        const taken = new Set<Waiting>();
        const held = [...failures.rows()].filter(({ holds }) => holds);
        const mine = rows.flatMap((row) => {
          const now = waiting.get(row.row);
          return now !== undefined && now.attempt === row.attempt && isFree(now, row.owner, host.clock.now()) ? [now] : [];
        });
        const isAsked = ({ row }: Waiting): boolean => mine.some((one) => one.row === row);
        const all = [...waiting.rows()];
        for (const one of mine.sort(inLine)) {
          const first = one.inOrder ? lineOf(all, one).find((other) => !isAsked(other)) : undefined;
          const isHeld = one.inOrder && held.some(({ subscription, message }) => subscription === one.subscription && message.key === one.message.key);
          if (!isHeld && (first === undefined || inLine(one, first) < 0)) taken.add(one);
        }
        for (const one of mine) {
          if (taken.has(one)) waiting.delete(one.row);
          else if (rows.some(({ row, owner }) => row === one.row && owner === one.claim?.owner)) waiting.set(one.row, { ...one, starts: one.attempt, claim: undefined });
        }
        return [...taken].map(waitingRow);
      }),

    async blocked(tx, subscription, keys) {
      const among = (waiting: Iterable<Waiting>, failures: Iterable<FailureRow>): Set<string> => {
        const blocking = new Set<string | undefined>();
        for (const row of waiting) if (row.subscription === subscription && row.inOrder) blocking.add(row.message.key);
        for (const row of failures) if (row.subscription === subscription && row.holds) blocking.add(row.message.key);
        return new Set(keys.filter((key) => blocking.has(key)));
      };
      if (tx === undefined) return among(disk.waiting.committed.values(), disk.failures.committed.values());
      return writing(tx, ({ waiting, failures }) => among(waiting.rows(), failures.rows()));
    },

    cancel: (tx, id, of) =>
      writing(tx, ({ waiting }) => {
        const cancelled = [...waiting.rows()].filter(
          ({ subscription, reason, message }) => message.id === id && subscription === of && (of !== undefined || reason === 'delayed'),
        );
        for (const { row } of cancelled) waiting.delete(row);
        return cancelled.length > 0;
      }),
  };
}

function isSchedule({ reason }: Waiting): boolean {
  return reason === 'schedule';
}

/** Nobody else has it in hand. */
function isFree({ claim }: Waiting, owner: string | undefined, nowMs: number): boolean {
  return claim === undefined || claim.owner === owner || claim.untilMs <= nowMs;
}

/** A row as it is given out: its place in line is nobody else's business. */
export function waitingRow({ front: _front, claim: _claim, ...row }: Waiting): WaitingRow {
  return copyOf(row);
}

/** A failure that held the key and was asked for again is older than all that wait; else as they were added. */
function inLine(one: Waiting, other: Waiting): number {
  return Number(other.front) - Number(one.front) || one.row - other.row;
}

/** All of the line that this row stands in. */
function lineOf(rows: readonly Waiting[], { subscription, message: { key } }: WaitingRow): Waiting[] {
  return rows.filter((row) => row.inOrder && row.subscription === subscription && row.message.key === key).sort(inLine);
}

/**
 * The rows whose turn it is, those due first in front. Of what keeps the order of its key that is one, the first of its
 * line; none while a failure holds the key.
 */
function heads({ waiting, failures }: Disk, subscription: string | undefined): Waiting[] {
  const passed = new Set<string | undefined>();
  for (const row of failures.committed.values()) if (row.subscription === subscription && row.holds) passed.add(row.message.key);
  const rows = [...waiting.committed.values()].filter((row) => row.subscription === subscription);
  const first = rows.toSorted(inLine).filter(({ inOrder, message: { key } }) => {
    if (!inOrder || key === undefined) return true;
    if (passed.has(key)) return false;
    passed.add(key);
    return true;
  });
  return first.sort((one, other) => one.dueMs - other.dueMs || one.row - other.row);
}
