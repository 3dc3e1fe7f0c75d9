/**
 * What operations read. In go filters and a page; out come committed rows, each list by one statement. Nothing is
 * written, and no transaction is kept open.
 */
import type { FailureGroup, Inspect, OutboxEntry, Page, Standing } from '../../contract/inspect.ts';
import { failedRow, failedText, type FailedColumns } from './failures.ts';
import type { Access, SqlValue } from './port.ts';
import { isPublished } from './position.ts';
import { subscriptionColumn, subscriptionOf } from './wire.ts';
import { waitingRow, waitingText, type WaitingColumns } from './waiting.ts';

const limitDefault = 100;
const limitMax = 1_000;
/** Rows are counted up to here: a dashboard shows "10,000+", and the count stays at 8 ms behind millions. */
const countMax = 10_001;

interface OutboxColumns extends Omit<OutboxEntry, 'position' | 'timeMs' | 'recipient' | 'key'> {
  readonly pos: string;
  readonly recipient: string | null;
  readonly key: string | null;
  readonly time: string;
}

export function createInspect({ schema: s, sql }: Access): Inspect {
  const newest = `(select * from ${s}.position order by no desc limit 1)`;
  // search by failures_position
  const parked = `exists (select 1 from ${s}.failures f where f.position = l.pos)`;
  const state = `case when ${parked} then 'failed' when coalesce(${isPublished}, false) then 'published' else 'ready' end`;

  return {
    async outbox(page) {
      const { values, condition } = conditions({ 'l.id': page.id, [`(${state})`]: page.state });
      // Scan of the primary key from `after`, ended by limit. What failed is found by what stands in failures, and what is
      // ready by its transactions (ledger_xid): both are few behind a long history.
      const few =
        page.state === 'failed'
          ? `and l.pos in (select position from ${s}.failures where position is not null)`
          : page.state === 'ready'
            ? `and (p.no is null or p.resume_to is not null or l.xid >= pg_snapshot_xmax(p.base) or l.xid in (select pg_snapshot_xip(p.base)))`
            : '';
      const rows = await sql.query<OutboxColumns>(
        `select l.pos::text, l.id, l.type, l.kind, l.recipient, l.key, l.time::text, ${state} as state
         from ${s}.ledger l left join ${newest} p on true
         where l.pos > $1::text::bigint ${condition} ${few} order by l.pos limit $2::text::bigint`,
        [page.after ?? 0, limitOf(page), ...values],
      );
      return rows.map(({ pos, time, recipient, key, ...row }) => ({
        ...row,
        position: Number(pos),
        timeMs: Number(time),
        recipient: recipient ?? undefined,
        key: key ?? undefined,
      }));
    },

    async waiting(page) {
      const { values, condition } = conditions({ 'w.subscription': column(page.subscription), 'w.id': page.id });
      // primary key in its order, ended by limit; by waiting_id where an id is given
      const rows = await sql.query<WaitingColumns>(
        `select ${waitingText} from ${s}.waiting w where w.row > $1::text::bigint ${condition} order by w.row limit $2::text::bigint`,
        [page.after ?? 0, limitOf(page), ...values],
      );
      return rows.map(waitingRow);
    },

    async failures(filter) {
      const { type, code, id, group } = filter;
      const { values, condition } = conditions({
        'f.subscription': column(filter.subscription),
        'f.type': type,
        'f.error_code': code,
        'f.id': id,
        'f.fingerprint': group,
      });
      // primary key in its order, ended by limit; by failures_id or failures_group where one is given
      const rows = await sql.query<FailedColumns>(
        `select ${failedText} from ${s}.failures f where f.row > $1::text::bigint ${condition} order by f.row limit $2::text::bigint`,
        [filter.after ?? 0, limitOf(filter), ...values],
      );
      return rows.map(failedRow);
    },

    async failureGroups() {
      // scan of failures, then one search by row per group
      const rows = await sql.query<Record<'subscription' | 'group' | 'type' | 'code' | 'message' | 'count' | 'first' | 'last', string>>(
        `select g.fingerprint as "group", f.subscription, f.type, f.error_code as code, f.error_message as message, g.count::text, g.first::text, g.last::text
         from (select fingerprint, count(*) as count, min(first_failed) as first, max(last_failed) as last, max(row) as row
               from ${s}.failures group by fingerprint) g
         join ${s}.failures f on f.row = g.row order by g.last desc, g.row desc limit ${limitMax}`,
      );
      return rows.map(
        ({ subscription, count, first, last, ...row }): FailureGroup => ({
          ...row,
          subscription: subscriptionOf(subscription),
          count: Number(count),
          firstMs: Number(first),
          lastMs: Number(last),
        }),
      );
    },

    async standing(subscription, keys) {
      if (keys.length === 0) return [];
      const rows = await sql.query<{ standing: Standing }>(standingSql(s), [subscription, JSON.stringify(keys.map(({ source, id }) => ({ source, id })))]);
      return rows.map(({ standing }) => standing);
    },

    async counts() {
      // Ready: by ledger_xid what began after the base, and what was open in it; each ended by limit.
      const [row] = await sql.query<Record<'ready' | 'waiting' | 'failed', string>>(
        `with p as materialized ${newest},
           ready as (
             (select 1 from p, ${s}.ledger l where l.xid >= pg_snapshot_xmax(p.base) and not ${isPublished} limit ${countMax})
             union all
             (select 1 from p, lateral pg_snapshot_xip(p.base) as x(xid), ${s}.ledger l where l.xid = x.xid and not ${isPublished} limit ${countMax})
             union all
             (select 1 from ${s}.ledger where not exists (select 1 from p) limit ${countMax}))
         select (select count(*)::text from ready) as ready,
           (select count(*)::text from (select 1 from ${s}.waiting limit ${countMax}) w) as waiting,
           (select count(*)::text from (select 1 from ${s}.failures limit ${countMax}) f) as failed`,
      );
      return { ready: Number(row!.ready), waiting: Number(row!.waiting), failed: Number(row!.failed) };
    },
  };
}

/**
 * For each key one search by waiting_id, by failures_id, and by the inbox's primary key; `limit` keeps the planner from
 * reading a whole table into a hash instead. Rows of a function come in its order.
 */
function standingSql(s: string): string {
  const there = (table: string): string =>
    `(select true from ${s}.${table} t where t.subscription = $1::text and t.source = k.source and t.id = k.id limit 1)`;
  return `select case when ${there('failures')} then 'failed' when ${there('waiting')} then 'waiting' when ${there('inbox')} then 'applied' else 'unknown' end as standing
    from json_to_recordset($2::text::json) as k(source text, id text)`;
}

function limitOf({ limit = limitDefault }: Page): number {
  return Math.min(Math.max(limit, 0), limitMax);
}

function column(subscription: string | null | undefined): string | undefined {
  return subscription === undefined ? undefined : subscriptionColumn(subscription ?? undefined);
}

/** `and column = $n` for those that are given; numbers go on after the page's two. */
function conditions(wanted: Readonly<Record<string, string | undefined>>): { condition: string; values: SqlValue[] } {
  const given = Object.entries(wanted).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return {
    condition: given.map(([name], i) => `and ${name} = $${i + 3}::text`).join(' '),
    values: given.map(([, value]) => value),
  };
}
