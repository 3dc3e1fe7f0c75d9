/**
 * What happens later: rows with the time when they are due. In go messages with the reason why they wait; out they come
 * when due, of an ordered key one at a time. A row moves on in the transaction that did its work, so a crash leaves it
 * here, to be taken again.
 *
 * Adding costs one insert, for an ordered key three searches more; `due` one read that touches only what it returns.
 */
import type { Due, Host, WaitingEntry, WaitingPort, WaitingRow } from '../../contract/store.ts';
import { realign } from './line.ts';
import { sqliteTransaction } from './port.ts';
import type { SqliteDatabase, SqlValue, Statements } from './port.ts';
import { errorOf, errorValues, messageColumns, messageOf, messageValues, wallMs } from './wire.ts';
import type { ErrorRow, MessageRow } from './wire.ts';

const entryColumns = `due, reason, attempt, attempts, starts, first_failed, error_code, error_message, error_stack, in_order`;
export const waitingColumns: string = `row, subscription, ${messageColumns}, ${entryColumns}, created`;

export interface WaitingColumns extends MessageRow, ErrorRow {
  readonly row: number;
  readonly subscription: string | null;
  readonly due: number;
  readonly reason: WaitingEntry['reason'];
  readonly attempt: number;
  readonly attempts: number;
  readonly starts: number;
  readonly first_failed: number | null;
  readonly in_order: number;
  readonly created: number;
}

export function createWaitingPort(database: SqliteDatabase, { clock }: Host): WaitingPort {
  return {
    nowMs: () => clock.now(),

    add: (tx, entries) =>
      sqliteTransaction(tx, database).writing((statements) => {
        for (const entry of entries) add(statements, entry, clock.now());
      }),

    async due(subscription, at, max, owner) {
      const clockMs = clock.now();
      const nowMs = at === 'now' ? clockMs : at;
      return { nowMs, ...(await database.read((statements) => due(statements, { subscription, nowMs, max, owner, clockMs }))) };
    },

    async nextDue() {
      const nowMs = clock.now();
      const rows = await database.read((statements) => statements.all<{ subscription: string; due: number }>(firstOfEach));
      return new Map(rows.map(({ subscription, due }) => [subscription, due - nowMs]));
    },

    start: (rows, claim) =>
      database.write(({ statements }) => {
        const nowMs = wallMs(clock.now());
        const untilMs = nowMs + claim.claimMs;
        return rows.map(({ row, attempt, starts }) => {
          const values = claim.renew === true ? [untilMs, row, claim.owner] : [untilMs, claim.owner, row, attempt, starts, nowMs, claim.owner];
          return statements.get<{ starts: number }>(claim.renew === true ? renewing : starting, ...values)?.starts;
        });
      }),

    settle: (tx, row, next) =>
      sqliteTransaction(tx, database).writing((statements) => settle(statements, row, next, wallMs(clock.now()))),

    blocked(tx, subscription, keys) {
      const look = (statements: Statements): Set<string> => blocked(statements, subscription, keys);
      return tx === undefined ? database.read(look) : sqliteTransaction(tx, database).writing(look);
    },

    cancel: (tx, id, subscription) =>
      sqliteTransaction(tx, database).writing((statements) => {
        const cancelled = statements.all<{ key: string | null }>(cancelling, id, subscription ?? null);
        for (const { key } of cancelled) realign(statements, subscription ?? null, key);
        return cancelled.length > 0;
      }),
  };
}

// search by waybill_waiting_id
const cancelling = `delete from waybill_waiting where id = ?1 and subscription is ?2
  and (?2 is not null or reason = 'delayed') returning key`;

// search by row
const starting = `update waybill_waiting set starts = starts + 1, claimed = ?, owner = ?
  where row = ? and attempt = ? and starts = ? and (claimed <= ? or owner = ?) returning starts`;
const renewing = 'update waybill_waiting set claimed = ? where row = ? and owner = ? returning starts';

// the only row that may be there already is a schedule's
const insert = `insert into waybill_waiting (subscription, ${messageColumns}, ${entryColumns}, front, head, created)
  values (${'?, '.repeat(22)}?) on conflict do nothing`;

function add(statements: Statements, entry: WaitingEntry, nowMs: number): void {
  const { subscription, message, inOrder, reason } = entry;
  const inLine = inOrder && message.key !== undefined;
  const front = inLine && reason === 'asked'; // it held its key: whatever waits for the key came after it
  statements.run(
    insert,
    subscription ?? null,
    ...messageValues(message),
    ...entryValues(entry, nowMs),
    front ? 1 : 0,
    inLine ? 0 : 1,
    wallMs(nowMs),
  );
  if (inLine) realign(statements, subscription ?? null, message.key);
}

/** In the order of `entryColumns`; no run has begun. */
function entryValues(entry: WaitingEntry, nowMs: number): SqlValue[] {
  const { dueMs, reason, attempt, attempts, firstFailedMs, error, inOrder } = entry;
  const firstFailed = firstFailedMs === undefined ? null : wallMs(firstFailedMs);
  return [dueColumn(dueMs, nowMs), reason, attempt, attempts, attempt, firstFailed, ...errorValues(error), inOrder ? 1 : 0];
}

/** Never early: a fraction counts as a whole. */
export function dueColumn(due: Due, nowMs: number): number {
  return wallMs(due === 'now' ? nowMs : Math.ceil(due));
}

// search by waybill_waiting_due, in its order, ended by limit: rows in line behind others are not in that index
export const whatIsDue: string = `select ${waitingColumns} from waybill_waiting
  where subscription is ? and head = 1 and due <= ? and (claimed <= ? or owner is ?) order by due, row limit ?`;
// the same search, from there on
export const whatIsNext = 'select due from waybill_waiting where subscription is ? and head = 1 and due > ? and (claimed <= ? or owner is ?) order by due limit 1';

// from subscription to subscription by waybill_waiting_due, one row of each
export const firstOfEach: string = `with recursive each (subscription) as (
    select min(subscription) from waybill_waiting where head = 1
    union all select (select min(w.subscription) from waybill_waiting w where w.head = 1 and w.subscription > each.subscription) from each where each.subscription is not null)
  select subscription, (select min(w.due) from waybill_waiting w where w.head = 1 and w.subscription = each.subscription) as due from each where subscription is not null`;

function due(
  statements: Statements,
  { subscription, nowMs, max, owner, clockMs }: { subscription: string | undefined; nowMs: number; max: number; owner: string | undefined; clockMs: number },
): { rows: WaitingRow[]; nextDueMs: number | undefined } {
  const rows = statements.all<WaitingColumns>(whatIsDue, subscription ?? null, wallMs(nowMs), wallMs(clockMs), owner ?? null, max + 1);
  if (rows.length > max) return { rows: rows.slice(0, max).map(waitingRow), nextDueMs: rows[max]!.due };
  const next = statements.get<{ due: number }>(whatIsNext, subscription ?? null, wallMs(nowMs), wallMs(clockMs), owner ?? null);
  return { rows: rows.map(waitingRow), nextDueMs: next?.due };
}

export function waitingRow(columns: WaitingColumns): WaitingRow {
  const { row, subscription, due, reason, attempt, attempts, starts, first_failed, in_order, created } = columns;
  return {
    row,
    subscription: subscription ?? undefined,
    message: messageOf(columns),
    dueMs: due,
    reason,
    attempt,
    attempts,
    starts,
    firstFailedMs: first_failed ?? undefined,
    error: errorOf(columns),
    inOrder: in_order === 1,
    createdMs: created,
  };
}

function settle(statements: Statements, row: WaitingRow, next: Partial<WaitingEntry> | undefined, nowMs: number): boolean {
  const mine = [row.row, row.attempt, nowMs, row.owner ?? null];
  if (next === undefined) {
    // search by row
    const gone = statements.get<{ subscription: string | null; key: string | null; in_order: number }>(
      `delete from waybill_waiting where ${isMine} returning subscription, key, in_order`,
      ...mine,
    );
    if (gone?.in_order === 1) realign(statements, gone.subscription, gone.key);
    return gone !== undefined;
  }
  const entry: WaitingEntry = { ...row, ...next };
  const { changes } = statements.run(change, ...entryValues(entry, nowMs), entry.inOrder ? 1 : 0, ...mine);
  if (changes === 0) return false;
  if (next.message !== undefined) {
    // search by row
    const sql = `update waybill_waiting set (${messageColumns}) = (${'?, '.repeat(8)}?) where row = ?`;
    statements.run(sql, ...messageValues(next.message), row.row);
  }
  if (next.inOrder !== undefined) realign(statements, row.subscription ?? null, entry.message.key ?? null);
  return true;
}

// search by row; unchanged since it was read, and nobody else's now
const isMine = 'row = ? and attempt = ? and (claimed <= ? or owner is ?)';
// its subscription and its place in line stay
const change = `update waybill_waiting set due = ?, reason = ?, attempt = ?, attempts = ?, starts = ?, first_failed = ?,
  error_code = ?, error_message = ?, error_stack = ?, in_order = ?, head = iif(in_order = ?, head, 1), claimed = 0 where ${isMine}`;

// two searches by index each: waybill_waiting_line, waybill_failures_hold
export const anybodyInLine = `select exists (select 1 from waybill_waiting where subscription = ?1 and in_order = 1)
  or exists (select 1 from waybill_failures where subscription = ?1 and holds = 1) as found`;
export const keyInLine = `select exists (select 1 from waybill_waiting where subscription = ?1 and key = ?2 and in_order = 1)
  or exists (select 1 from waybill_failures where subscription = ?1 and key = ?2 and holds = 1) as found`;

function blocked(statements: Statements, subscription: string, keys: readonly string[]): Set<string> {
  if (statements.get<{ found: number }>(anybodyInLine, subscription)?.found !== 1) return new Set();
  return new Set(keys.filter((key) => statements.get<{ found: number }>(keyInLine, subscription, key)?.found === 1));
}
