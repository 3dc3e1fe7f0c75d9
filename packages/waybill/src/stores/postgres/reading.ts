/**
 * Reading the ledger between two snapshots. A snapshot is a value, `xmin:xmax:xip`: a transaction is in it when its id is
 * below xmax, is none of xip, and committed. What is visible in one saved snapshot and not in another is fixed for ever:
 * no commit can enter an old snapshot later.
 *
 * The plans matter, behind millions of published rows; `plans.test.ts` looks at them. Each reads two branches: what began
 * after the base, and what was open in it.
 */
import { readBytesMax, type OutboxRow } from '../../contract/store.ts';
import type { Statements } from './port.ts';
import { messageColumns, messageOf, messageText, type MessageRow } from './wire.ts';

/** As PostgreSQL writes it. */
export type Snapshot = string;

interface LedgerRow extends MessageRow {
  readonly pos: string;
  readonly found: string;
}

const columns = `pos, ${messageColumns}`;
const texts = `d.pos::text, d.found::text, ${messageText('d')}`;
/** Of rows as `d`, those that have `readBytesMax` together: a length is known without its bytes. `found` counts all of them. */
export const measured = (rows: string, by = 'pos'): string => `(select r.*, count(*) over () as found, sum(octet_length(r.body)) over (order by r.${by} rows between unbounded preceding and 1 preceding) as before
    from (${rows}) r)`;
export const few: string = `coalesce(d.before, 0) < ${readBytesMax}`;
/** `$5` of a page whose batch has no row above the base's xmax: that branch is switched off, or it walked the history. */
const beyondAll = '9223372036854775807';

/** The transactions that a snapshot saw open, as an array literal, and the first id that had not begun. */
function parts(snapshot: Snapshot): { xmax: string; xip: string } {
  const [, xmax = '1', xip = ''] = snapshot.split(':');
  return { xmax, xip: `{${xip}}` };
}

export function xmaxOf(snapshot: Snapshot): bigint {
  return BigInt(parts(snapshot).xmax);
}

export interface Poll {
  /** What was visible then. */
  readonly seen: Snapshot;
  /** In position order. */
  readonly rows: readonly OutboxRow[];
  /** Otherwise there are too many for one page, or too large ones: these are some, and not the first ones. */
  readonly whole: boolean;
}

/**
 * Rows that are committed and not visible in `base`, `max + 1` at most, with the snapshot that saw them: one statement,
 * so both are of one moment.
 *
 * Plan: (xid, pos) in both branches, forced by the order and by `between` (with `=` the planner may walk the primary
 * key). `xid < xmax` skips what transactions that are still open have written.
 */
export const pollSql = (s: string): string => `with seen as materialized (select pg_current_snapshot() as snapshot)
  select seen.snapshot::text as seen, ${texts} from seen left join ${measured(`
    (select ${columns} from ${s}.ledger where xid >= $1::text::xid8 and xid < pg_snapshot_xmax(pg_current_snapshot()) and pos > $4::text::bigint
      order by xid, pos limit $3::text::bigint)
    union all
    (select l.* from unnest($2::text::xid8[]) as x(xid) cross join lateral (
        select ${columns} from ${s}.ledger w where w.xid between x.xid and x.xid and pos > $4::text::bigint order by w.xid, pos limit $3::text::bigint) l
      where pg_visible_in_snapshot(x.xid, pg_current_snapshot()))`)} d on ${few} order by d.pos`;

export async function poll(sql: Statements, s: string, { base, floor, max }: { base: Snapshot; floor: number; max: number }): Promise<Poll> {
  const { xmax, xip } = parts(base);
  const rows = await sql.query<LedgerRow & { seen: string }>(pollSql(s), [xmax, xip, max + 1, floor]);
  const { seen, found } = rows[0]!;
  if ((found as string | null) === null) return { seen, rows: [], whole: true };
  return { seen, rows: rows.map(outboxRow), whole: Number(found) <= max && rows.length === Number(found) };
}

/** A batch: what is visible in `target` and not in `base`. */
export interface Batch {
  readonly base: Snapshot;
  readonly target: Snapshot;
  readonly floor: number;
}

/** Where a large batch begins, once for each. `offset 0` keeps the planner from walking the primary key. */
export const lowestSql = (s: string): string => `select min(pos)::text as lowest from (select pos from ${s}.ledger
  where xid >= $1::text::xid8 and xid < pg_snapshot_xmax($2::text::pg_snapshot) and pos > $3::text::bigint offset 0) x`;

/** The lowest position above the base's xmax; undefined when there is none. */
export async function lowest(sql: Statements, s: string, { base, target, floor }: Batch): Promise<number | undefined> {
  const [row] = await sql.query<{ lowest: string | null }>(lowestSql(s), [parts(base).xmax, target, floor]);
  return row!.lowest === null ? undefined : Number(row!.lowest);
}

/**
 * The rows of a batch after a position, in order.
 *
 * Plan: the primary key in its order, and one (xid, pos) probe for each of xip. `is true` hides the condition from the
 * index on xid.
 */
export const pageSql = (s: string): string => `select ${texts} from ${measured(`select * from (
    (select ${columns} from ${s}.ledger where pos > $5::text::bigint and (xid >= $1::text::xid8) is true
      and pg_visible_in_snapshot(xid, $3::text::pg_snapshot) order by pos limit $6::text::bigint)
    union all
    (select l.* from unnest($2::text::xid8[]) as x(xid) cross join lateral (
        select ${columns} from ${s}.ledger w where w.xid between x.xid and x.xid and pos > $4::text::bigint order by w.xid, pos limit $6::text::bigint) l
      where pg_visible_in_snapshot(x.xid, $3::text::pg_snapshot))
  ) p order by p.pos limit $6::text::bigint`)} d where ${few} order by d.pos`;

export interface Page {
  readonly rows: readonly OutboxRow[];
  /** Nothing comes after them. */
  readonly last: boolean;
}

function pageOf(rows: readonly LedgerRow[], max: number): Page {
  const found = Number(rows[0]?.found ?? 0);
  return { rows: rows.map(outboxRow), last: found < max && rows.length === found };
}

export async function page(
  sql: Statements,
  s: string,
  { base, target, floor }: Batch,
  from: { after: number; lowest: number | undefined; max: number },
): Promise<Page> {
  const { xmax, xip } = parts(base);
  const after = Math.max(from.after, floor);
  const start = from.lowest === undefined ? beyondAll : Math.max(after, from.lowest - 1);
  const rows = await sql.query<LedgerRow>(pageSql(s), [xmax, xip, target, after, start, from.max]);
  return pageOf(rows, from.max);
}

/** After a restore: what an earlier cluster's relay had not published, and nothing else (`resume.ts`). */
export const restoredSql = (s: string): string => `select ${texts} from ${measured(`select ${columns} from ${s}.ledger
  where pos > $1::text::bigint and pos <= $2::text::bigint
    and not (pos <= $3::text::bigint and (pg_visible_in_snapshot(xid, $4::text::pg_snapshot)
      or ($5::text::pg_snapshot is not null and pos <= $6::text::bigint and pg_visible_in_snapshot(xid, $5::text::pg_snapshot))))
  order by pos limit $7::text::bigint`)} d where ${few} order by d.pos`;

export interface Restored {
  /** Positions up to here are of the earlier cluster, or were written before it was resumed. */
  readonly to: number;
  readonly high: number;
  readonly base: Snapshot;
  readonly target: Snapshot | undefined;
  /** Of the target's rows, published up to here. */
  readonly after: number;
}

export async function restored(sql: Statements, s: string, { to, high, base, target, after }: Restored, from: { after: number; max: number }): Promise<Page> {
  const rows = await sql.query<LedgerRow>(restoredSql(s), [from.after, to, high, base, target ?? null, after, from.max]);
  return pageOf(rows, from.max);
}

function outboxRow(row: LedgerRow): OutboxRow {
  return Object.assign(messageOf(row), { position: Number(row.pos) });
}
