/**
 * The log across streams, read from a saved snapshot: as the ledger (`reading.ts`), so an event that commits late is not
 * stepped over, and events of one stream, which are appended under its lock, come in order.
 *
 * A cursor says: everything visible in `base` has been read; and while a long batch is read page by page, of what is
 * visible in `target` too what stands up to `after`. A cursor is safe once the transaction that holds it is durable.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { LogPage, StoredEvent } from '../../contract/streams.ts';
import type { Statements } from './port.ts';
import { few, measured, type Snapshot } from './reading.ts';

export interface Cursor {
  /** The cluster whose transactions the snapshots speak of. */
  readonly system: string;
  readonly base: Snapshot;
  readonly target: Snapshot | undefined;
  readonly after: number;
}

/** Of a page of the log: how many there were before it was made small enough. */
interface LogColumns extends EventColumns {
  readonly found: string;
}

export interface EventColumns {
  readonly pos: string;
  readonly stream: string;
  readonly version: string;
  readonly id: string;
  readonly type: string;
  readonly time: string;
  readonly correlation: string;
  readonly causation: string | null;
  readonly headers: string;
  readonly body: string;
}

const columns = 'pos, stream, version, id, type, time, correlation, causation, headers, body';
export const eventText = (t: string): string =>
  `${t}.pos::text, ${t}.stream, ${t}.version::text, ${t}.id, ${t}.type, ${t}.time::text, ${t}.correlation, ${t}.causation, ${t}.headers, ${t}.body`;

const logText = `${eventText('d')}, d.found::text`;

/** An idle reader's base is renewed after so many transactions: an old one is dearer to read from. */
const agedBy = 1_000n;

/**
 * What is committed and not visible in the base, `max + 1` at most and no more bytes than a page has, with the snapshot
 * that saw it: one statement, one moment. Plan: (xid, pos) in both branches, as `pollSql` of the ledger.
 */
const pollSql = (s: string): string => `with seen as materialized (select pg_current_snapshot() as snapshot, system_identifier as system from pg_control_system())
  select seen.snapshot::text as seen, seen.system::text, ${logText} from seen left join ${measured(`
    (select ${columns} from ${s}.event where xid >= $1::text::xid8 and xid < pg_snapshot_xmax(pg_current_snapshot()) order by xid, pos limit $3::text::bigint)
    union all
    (select l.* from unnest($2::text::xid8[]) as x(xid) cross join lateral (
        select ${columns} from ${s}.event w where w.xid between x.xid and x.xid order by w.xid, pos limit $3::text::bigint) l
      where pg_visible_in_snapshot(x.xid, pg_current_snapshot()))`)} d on ${few} order by d.pos`;

/** Where a long batch begins: `offset 0` keeps the planner from walking the primary key. */
const lowestSql = (s: string): string => `select min(pos)::text as lowest from (select pos from ${s}.event
  where xid >= $1::text::xid8 and xid < pg_snapshot_xmax($2::text::pg_snapshot) offset 0) x`;

/** Events of a batch after a position, in order. Plan: the primary key in its order, and one (xid, pos) probe for each of xip. */
const pageSql = (s: string): string => `select ${logText} from ${measured(`select * from (
    (select ${columns} from ${s}.event where pos > $5::text::bigint and (xid >= $1::text::xid8) is true
      and pg_visible_in_snapshot(xid, $3::text::pg_snapshot) order by pos limit $6::text::bigint)
    union all
    (select l.* from unnest($2::text::xid8[]) as x(xid) cross join lateral (
        select ${columns} from ${s}.event w where w.xid between x.xid and x.xid and pos > $4::text::bigint order by w.xid, pos limit $6::text::bigint) l
      where pg_visible_in_snapshot(x.xid, $3::text::pg_snapshot))
  ) p order by p.pos limit $6::text::bigint`)} d where ${few} order by d.pos`;
const beyondAll = '9223372036854775807';

/** Events visible in `$3` that a cursor has not passed, counted to `$6`. Plan: (xid, pos) from the base on, ended by limit. */
const behindSql = (s: string): string => `select count(*)::text as behind from (
  select 1 from ${s}.event e where (e.xid >= $1::text::xid8 or e.xid = any($2::text::xid8[])) and pg_visible_in_snapshot(e.xid, $3::text::pg_snapshot)
    and not ($4::text::pg_snapshot is not null and e.pos <= $5::text::bigint and pg_visible_in_snapshot(e.xid, $4::text::pg_snapshot))
  limit $6::text::bigint) x`;

export async function scanLog(sql: Statements, s: string, text: string | undefined, max: number): Promise<LogPage> {
  const cursor = text === undefined ? undefined : readCursor(text);
  return cursor?.target === undefined ? poll(sql, s, { cursor, text, max }) : page(sql, s, { ...cursor, target: cursor.target }, max);
}

async function poll(sql: Statements, s: string, { cursor, text, max }: { cursor: Cursor | undefined; text: string | undefined; max: number }): Promise<LogPage> {
  const base = cursor?.base ?? beginning;
  const { xmax, xip } = parts(base);
  const rows = await sql.query<LogColumns & { seen: string; system: string }>(pollSql(s), [xmax, xip, max + 1]);
  const { seen, system, found } = rows[0]!;
  if (cursor && (cursor.system !== system || xmaxOf(seen) < xmaxOf(base))) throw elsewhere();
  const events = (found as string | null) === null ? [] : rows.map(eventOf);
  if (events.length > max || events.length < Number(found)) return page(sql, s, { system, base, target: seen, after: 0 }, max);
  const aged = cursor !== undefined && xmaxOf(seen) - xmaxOf(base) > agedBy;
  if (events.length === 0 && !aged) return { events, next: text, more: false };
  return { events, next: writeCursor({ system, base: seen, target: undefined, after: 0 }), more: false };
}

async function page(sql: Statements, s: string, cursor: Cursor & { target: Snapshot }, max: number): Promise<LogPage> {
  const { base, target, after } = cursor;
  const { xmax, xip } = parts(base);
  const start = after > 0 || base === beginning ? after : await startOf(sql, s, { xmax, target });
  const rows = await sql.query<LogColumns>(pageSql(s), [xmax, xip, target, after, start, max + 1]);
  const events = rows.slice(0, max).map(eventOf);
  const more = events.length < Number(rows[0]?.found ?? 0);
  const next = more ? { ...cursor, after: events.at(-1)!.position } : { ...cursor, base: target, target: undefined, after: 0 };
  return { events, next: writeCursor(next), more };
}

/** Before the first event of a batch: looked for once, and whoever begins with the log has nothing to look for. */
async function startOf(sql: Statements, s: string, { xmax, target }: { xmax: string; target: Snapshot }): Promise<number | string> {
  const [first] = await sql.query<{ lowest: string | null }>(lowestSql(s), [xmax, target]);
  return first!.lowest === null ? beyondAll : Number(first!.lowest) - 1;
}

export async function behindOf(sql: Statements, s: string, text: string | undefined, how: { end: Snapshot; max: number }): Promise<number> {
  const { base, target, after } = text === undefined ? { base: beginning, target: undefined, after: 0 } : readCursor(text);
  const { xmax, xip } = parts(base);
  const [row] = await sql.query<{ behind: string }>(behindSql(s), [xmax, xip, how.end, target ?? null, after, how.max]);
  return Number(row!.behind);
}

/** The end of the log now. */
export async function endOf(sql: Statements): Promise<Cursor> {
  const [row] = await sql.query<{ system: string; seen: string }>(
    'select system_identifier::text as system, pg_current_snapshot()::text as seen from pg_control_system()',
  );
  return { system: row!.system, base: row!.seen, target: undefined, after: 0 };
}

/** In which nothing is visible. */
const beginning: Snapshot = '1:1:';

export function writeCursor({ system, base, target, after }: Cursor): string {
  return `${system}/${base}${target === undefined ? '' : `/${target}/${after}`}`;
}

const shape = /^(\d+)\/(\d+:\d+:[\d,]*)(?:\/(\d+:\d+:[\d,]*)\/(\d+))?$/;

/** @throws WaybillError `INVALID_OPTION` */
export function readCursor(text: string): Cursor {
  const [, system, base, target, after] = shape.exec(text) ?? [];
  if (system !== undefined && base !== undefined) return { system, base, target, after: Number(after ?? 0) };
  throw new WaybillError('INVALID_OPTION', `${JSON.stringify(text)} is no cursor of this store: pass what a page of it said`);
}

function parts(snapshot: Snapshot): { xmax: string; xip: string } {
  const [, xmax = '1', xip = ''] = snapshot.split(':');
  return { xmax, xip: `{${xip}}` };
}

function xmaxOf(snapshot: Snapshot): bigint {
  return BigInt(parts(snapshot).xmax);
}

function elsewhere(): WaybillError {
  return new WaybillError('LEDGER_REWOUND', 'The log was read in another PostgreSQL cluster, or before a restore: begin again from the start (rebuild the projection)');
}

export function eventOf(row: EventColumns): StoredEvent {
  const { stream, id, type, correlation, causation, headers, body } = row;
  return {
    ...{ stream, id, type, body },
    position: Number(row.pos),
    version: Number(row.version),
    timeMs: Number(row.time),
    correlationId: correlation,
    causationId: causation ?? undefined,
    headers: JSON.parse(headers) as Record<string, string>,
  };
}
