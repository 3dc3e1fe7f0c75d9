/**
 * What happens later: rows with the time when they are due. In go messages with the reason why they wait; out they come
 * when due, of an ordered key one at a time. A row moves on in the transaction that did its work, so a crash leaves it
 * here, to be taken again.
 *
 * Adding costs one statement for any number of rows, with ordered keys three, and so does taking them off their lines;
 * `due` one read that touches only what it returns.
 */
import type { Clock } from '../../contract/clock.ts';
import { type Due, type DueRows, type WaitingEntry, type WaitingPort, type WaitingRow, readBytesMax } from '../../contract/store.ts';
import { lockLines, realign, type Place } from './line.ts';
import { elsewhere } from './errors.ts';
import type { Access, Statements } from './port.ts';
import {
  errorJson, errorOf, errorRecord, errorText, messageColumns, messageFields, messageJson, messageOf, messageRecord, messageText,
  subscriptionColumn, subscriptionOf, wallMs, type ErrorRow, type MessageRow,
} from './wire.ts'; // prettier-ignore

const entryColumns = 'due, reason, attempt, attempts, starts, first_failed, error_code, error_message, error_stack, in_order';
/** Out of the table `w`. */
export const waitingText: string = `w.row::text, w.subscription, ${messageText('w')}, w.due::text, w.reason, w.attempt::text, w.attempts::text,
  w.starts::text, w.first_failed::text as failed, ${errorText('w')}, w.in_order::text as ordered, w.created::text`;

export interface WaitingColumns extends MessageRow, ErrorRow {
  readonly row: string;
  readonly subscription: string;
  readonly due: string;
  readonly reason: WaitingEntry['reason'];
  readonly attempt: string;
  readonly attempts: string;
  readonly starts: string;
  readonly failed: string | null;
  readonly ordered: string;
  readonly created: string;
}

/** The server's clock, floored; with fractions where `clockMs` is asked for. */
const clockMs = `extract(epoch from clock_timestamp()) * 1000`;
const nowMs = `floor(${clockMs})::bigint`;

/** A moment as a parameter: null stands for now by the server's clock. A test's clock stands in for that. */
export function dueColumn(due: Due, { simulated = false, now }: Clock): number | null {
  if (due === 'now') return simulated ? wallMs(now()) : null;
  return wallMs(Math.ceil(due)); // never early
}
/** What `dueColumn` made, in a statement. */
export function dueText(column: string): string {
  return `coalesce(${column}, ${nowMs})`;
}

export function createWaitingPort({ schema: s, service, clock, sql, in: within }: Access): WaitingPort {
  // Nothing is inserted where the schema is another service's, as in the ledger.
  const insert = `with added as (insert into ${s}.waiting (subscription, ${messageColumns}, ${entryColumns}, front, head, created)
    select m.subscription, ${messageFields}, ${dueText('m.due')}, m.reason, m.attempt, m.attempts, m.attempt, m.first_failed,
      m.error_code, m.error_message, m.error_stack, m.in_order, m.front, not m.in_line, ${nowMs}
    from json_to_recordset($1::text::json) as m(subscription text, ${messageRecord}, due bigint, reason text, attempt int, attempts int,
      first_failed bigint, ${errorRecord}, in_order boolean, front boolean, in_line boolean)
    where exists (select 1 from ${s}.identity where service = $2::text)
    on conflict do nothing returning row) select count(*)::text as count from added`; // the only row that may be there already is a schedule's
  // unchanged since it was read, and nobody else's now. Its number alone does not tell which row it is: where a backup was put back, numbers are
  // given again, and who was at work then goes on
  const isMine = (owner: string): string => `(w.claimed <= clock_timestamp() or w.owner = ${owner}::text)`;
  // search by row; a row that another transaction has in hand is waited for, and seen as that left it
  const change = `update ${s}.waiting w set due = ${dueText('m.due')}, reason = m.reason, attempt = m.attempt, attempts = m.attempts, starts = m.attempt,
      first_failed = m.first_failed, error_code = m.error_code, error_message = m.error_message, error_stack = m.error_stack,
      in_order = m.in_order, head = case when m.in_order = w.in_order then w.head else true end, claimed = '-infinity'
    from json_to_record($2::text::json) as m(due bigint, reason text, attempt int, attempts int, first_failed bigint, ${errorRecord},
      in_order boolean) where w.row = $1::text::bigint and w.created = $5::text::bigint and w.attempt = $3::text::int and ${isMine('$4')} returning w.subscription, w.key`;
  const rewrite = `update ${s}.waiting w set (${messageColumns}) = (select ${messageFields}
      from json_to_record($2::text::json) as m(${messageRecord})) where w.row = $1::text::bigint`;
  // search by row
  const remove = `delete from ${s}.waiting w where w.row = $1::text::bigint and w.created = $4::text::bigint and w.attempt = $2::text::int and ${isMine('$3')}
    returning w.subscription, w.key, w.in_order::text as ordered`;
  // search by row, in the order of rows: two that start the same wait for each other in no circle
  const start = (condition: string, locked = ''): string => `with mine as (
      select w.row from ${s}.waiting w join json_to_recordset($1::text::json) as r(row bigint, created bigint, attempt int, starts int) on w.row = r.row and w.created = r.created
      where ${condition} order by w.row for update of w ${locked})
    update ${s}.waiting w set starts = w.starts + $4::text::int, owner = $2::text, claimed = clock_timestamp() + $3::text::float8 * interval '1 ms'
    from mine where w.row = mine.row returning w.row::text, w.starts::text`;
  const begin = start(`w.attempt = r.attempt and w.starts = r.starts and ${isMine('$2')}`);
  // what a transaction has in hand nobody else gets either: it is not waited for, or the claims on all others ran out meanwhile
  const renewal = start('w.owner = $2::text', 'skip locked');
  // search by row, then by waiting_line (whose order that is: the primary key's would lead past all other lines), ended by limit
  const behind = `select ${waitingText}, (w.due <= ${dueText('$3::text::bigint')})::text as ready from (
      select w.*, h.at, sum(octet_length(w.body)) over (order by h.at, w.row rows between unbounded preceding and 1 preceding) as before
      from json_array_elements_text($1::text::json) with ordinality as h(row, at) join ${s}.waiting i on i.row = h.row::bigint
      cross join lateral (select * from ${s}.waiting w where w.subscription = i.subscription and w.key between i.key and i.key and w.in_order
        and w.front = false and w.row > i.row order by w.key, w.front desc, w.row limit $2::text::int) w
      where i.front = false) w
    where coalesce(w.before, 0) < ${readBytesMax} order by w.at, w.row`;
  // search by row; of each line by waiting_line, and no farther than the first that is not among them; by failures_hold
  const take = `with mine as (
      select w.row, w.subscription, w.key, w.in_order, w.front from ${s}.waiting w
      join json_to_recordset($1::text::json) as r(row bigint, created bigint, attempt int, owner text) on w.row = r.row and w.created = r.created
      where w.attempt = r.attempt and ${isMine('r.owner')} order by w.row for update of w),
    lines as (select distinct subscription, key from mine where in_order and key is not null),
    ends as materialized (
      select l.subscription, l.key, o.row, o.front from lines l cross join lateral (
        select p.row, p.front from ${s}.waiting p where p.subscription = l.subscription and p.key = l.key and p.in_order
          and p.row <> all (array(select row from mine)) order by p.front desc, p.row limit 1) o
      union all
      select l.subscription, l.key, 0, true from lines l
        where exists (select 1 from ${s}.failures f where f.subscription = l.subscription and f.key = l.key and f.holds)),
    gone as (
      delete from ${s}.waiting w using mine m where w.row = m.row and not exists (
        select 1 from ends e where m.in_order and e.subscription = m.subscription and e.key = m.key
          and (e.front, -e.row) > (m.front, -m.row))
      returning w.row, w.subscription, w.front)
    select g.row::text, g.subscription, pg_current_xact_id()::text as xid from gone g order by g.front desc, g.row`;
  // search by row; not what another has begun since, though its claim has run out, too: its start is all that tells of it
  const notBegun = `update ${s}.waiting w set starts = w.attempt, claimed = '-infinity'
    from json_to_recordset($1::text::json) as r(row bigint, created bigint, attempt int, owner text)
    where w.row = r.row and w.created = r.created and w.attempt = r.attempt and w.owner = r.owner`;
  // by waiting_line its first entry of each key, and by failures_hold: as `exists` it reads all of both where statistics are old
  const blocked = `select k.key from json_array_elements_text($2::text::json) as k(key)
    left join lateral (select true as waits from ${s}.waiting w where w.subscription = $1::text and w.key = k.key and w.in_order
      order by w.front desc, w.row limit 1) w on true
    left join lateral (select true as holds from ${s}.failures f where f.subscription = $1::text and f.key = k.key and f.holds limit 1) f on true
    where w.waits or f.holds`;
  // search by waiting_id
  const cancel = `delete from ${s}.waiting where id = $1::text and subscription = $2::text and (subscription <> '' or reason = 'delayed')
    returning key, in_order::text as ordered`;

  // from subscription to subscription by waiting_due, one row of each
  const firstOf = (condition: string): string => `select w.subscription, w.due from ${s}.waiting w where w.head and ${condition} order by w.subscription, w.due limit 1`;
  const firstOfEach = `with recursive each as (
      (${firstOf("w.subscription > ''")})
      union all select n.subscription, n.due from each cross join lateral (${firstOf('w.subscription > each.subscription')}) n)
    select subscription, (due - ${dueText('$1::text::bigint')})::text as left from each`;

  const release = async (statements: Statements, places: readonly Place[]): Promise<void> => {
    if (places.length === 0) return;
    await lockLines(statements, s, places);
    await realign(statements, s, places);
  };

  return {
    async nowMs(tx) {
      if (clock.simulated) return clock.now();
      const [row] = await within(tx).query<{ now: string }>(`select (${clockMs})::text as now`);
      return Number(row!.now);
    },

    async add(tx, entries, taken = []) {
      const statements = within(tx);
      const places = [...entries, ...taken].filter(inLine).map(placeOf);
      await lockLines(statements, s, places);
      if (entries.length > 0) {
        const [added] = await statements.query<{ count: string }>(insert, [JSON.stringify(entries.map((entry) => entryJson(entry, clock))), service]);
        if (Number(added!.count) < entries.filter(({ reason }) => reason !== 'schedule').length) throw elsewhere(service);
      }
      await realign(statements, s, places);
    },

    due: (subscription, at, max, owner) => due(sql, s, { subscription, at: dueColumn(at, clock), max, owner }),

    async nextDue() {
      const rows = await sql.query<{ subscription: string; left: string }>(firstOfEach, [dueColumn('now', clock)]);
      return new Map(rows.map(({ subscription, left }) => [subscription, Number(left)]));
    },

    async start(rows, { owner, claimMs, renew = false }) {
      if (rows.length === 0) return [];
      const asked = rows.map(({ row, createdMs, attempt, starts }) => ({ row, created: createdMs, attempt, starts }));
      const started = await sql.query<{ row: string; starts: string }>(renew ? renewal : begin, [JSON.stringify(asked), owner, claimMs, renew ? 0 : 1]);
      const starts = new Map(started.map((row) => [Number(row.row), Number(row.starts)]));
      return rows.map(({ row }) => starts.get(row));
    },

    async settle(tx, row, next) {
      const statements = within(tx);
      const owner = row.owner ?? null;
      if (next === undefined) {
        const [gone] = await statements.query<{ subscription: string; key: string | null; ordered: string }>(remove, [row.row, row.attempt, owner, row.createdMs]);
        if (gone === undefined) return false;
        if (gone.ordered === 'true' && gone.key !== null) await release(statements, [{ subscription: gone.subscription, key: gone.key }]);
        return true;
      }
      const entry: WaitingEntry = { ...row, ...next };
      const [moved] = await statements.query<{ subscription: string; key: string | null }>(change, [
        row.row,
        JSON.stringify(entryJson(entry, clock)),
        row.attempt,
        owner,
        row.createdMs,
      ]);
      if (moved === undefined) return false;
      if (next.message !== undefined) await statements.query(rewrite, [row.row, JSON.stringify(messageJson(next.message))]);
      if (next.inOrder !== undefined && entry.message.key !== undefined) {
        await release(statements, [{ subscription: moved.subscription, key: entry.message.key }]);
      }
      return true;
    },

    async behind(heads, max) {
      if (heads.length === 0) return [];
      const rows = await sql.query<WaitingColumns & { ready: string }>(behind, [JSON.stringify(heads.map(({ row }) => row)), Math.ceil(max / heads.length), dueColumn('now', clock)]);
      const ended = new Set<string | null>();
      return rows.flatMap((columns) => {
        const { key, starts, ready } = columns;
        if (starts !== '0' || ready !== 'true') ended.add(key);
        return ended.has(key) ? [] : [waitingRow(columns)];
      });
    },

    async take(tx, rows) {
      const statements = within(tx);
      const asked = rows.map(({ row, createdMs, attempt, owner }) => ({ row, created: createdMs, attempt, owner: owner ?? null }));
      const gone = await statements.query<{ row: string; subscription: string; xid: string }>(take, [JSON.stringify(asked)]);
      if (gone[0] !== undefined) statements.told(gone[0].xid);
      const byRow = new Map(rows.map((row) => [row.row, row]));
      const taken = gone.map(({ row, subscription }) => ({ ...byRow.get(Number(row))!, subscription: subscriptionOf(subscription) })); // renamed, perhaps
      const left = asked.filter(({ row }) => !taken.some((one) => one.row === row));
      if (left.length > 0) await statements.query(notBegun, [JSON.stringify(left)]);
      return taken;
    },

    async blocked(tx, subscription, keys) {
      if (keys.length === 0) return new Set();
      const rows = await (tx === undefined ? sql : within(tx)).query<{ key: string }>(blocked, [subscription, JSON.stringify(keys)]);
      return new Set(rows.map(({ key }) => key));
    },

    async cancel(tx, id, subscription) {
      const statements = within(tx);
      const of = subscriptionColumn(subscription);
      const gone = await statements.query<{ key: string | null; ordered: string }>(cancel, [id, of]);
      await release(statements, gone.flatMap(({ key, ordered }) => (ordered === 'true' && key !== null ? [{ subscription: of, key }] : [])));
      return gone.length > 0;
    },
  };
}

function inLine({ inOrder, message }: WaitingEntry): boolean {
  return inOrder && message.key !== undefined;
}

function placeOf({ subscription, message }: WaitingEntry): Place {
  return { subscription: subscriptionColumn(subscription), key: message.key! };
}

/** `starts` begins at `attempt`: no run has begun. */
function entryJson(entry: WaitingEntry, clock: Clock): object {
  const { subscription, message, dueMs, reason, attempt, attempts, firstFailedMs, error, inOrder } = entry;
  return {
    subscription: subscriptionColumn(subscription),
    ...messageJson(message),
    due: dueColumn(dueMs, clock),
    reason,
    attempt,
    attempts,
    first_failed: firstFailedMs === undefined ? null : wallMs(firstFailedMs),
    ...errorJson(error),
    in_order: inOrder,
    in_line: inLine(entry),
    front: inLine(entry) && reason === 'asked', // it held its key: whatever waits for the key came after it
  };
}

async function due(
  sql: Statements,
  s: string,
  { subscription, at, max, owner }: { subscription: string | undefined; at: number | null; max: number; owner: string | undefined },
): Promise<DueRows> {
  const of = subscriptionColumn(subscription);
  // search by waiting_due from that moment on, ended by limit: rows in line behind others are not in that index
  const [next] = await sql.query<{ now: string; due: string | null }>(
    `select t.now::text, (select w.due from ${s}.waiting w where w.subscription = $1::text and w.head and w.due > t.now
       and (w.claimed <= clock_timestamp() or w.owner = $3::text) order by w.due limit 1)::text as due
     from (select ${dueText('$2::text::bigint')} as now offset 0) t`,
    [of, at, owner ?? null],
  );
  // the same search up to that moment, in its order: compared as pairs, that is the only one that is cheap to the planner, whatever it has
  // been told of the table (a backlog comes sooner than its statistics, and was sorted whole)
  const rows = await sql.query<WaitingColumns>(
    `select ${waitingText} from ${s}.waiting w where (w.subscription, w.due) >= ($1::text, -9223372036854775808) and (w.subscription, w.due) <= ($1::text, $2::text::bigint)
     and w.head and (w.claimed <= clock_timestamp() or w.owner = $4::text) order by w.subscription, w.due, w.row limit $3::text::int`,
    [of, next!.now, max + 1, owner ?? null],
  );
  const more = rows.length > max ? Number(rows[max]!.due) : undefined;
  return { rows: rows.slice(0, max).map(waitingRow), nowMs: Number(next!.now), nextDueMs: more ?? (next!.due === null ? undefined : Number(next!.due)) };
}

export function waitingRow(columns: WaitingColumns): WaitingRow {
  const { row, subscription, due: dueMs, reason, attempt, attempts, starts, failed, ordered, created } = columns;
  return {
    row: Number(row),
    subscription: subscriptionOf(subscription),
    message: messageOf(columns),
    dueMs: Number(dueMs),
    reason,
    attempt: Number(attempt),
    attempts: Number(attempts),
    starts: Number(starts),
    firstFailedMs: failed === null ? undefined : Number(failed),
    error: errorOf(columns),
    inOrder: ordered === 'true',
    createdMs: Number(created),
  };
}
