/**
 * What each subscription has taken on. In goes a (subscription, source, id), in the transaction that holds its effect;
 * out comes whether it was new. A row and the effect are there together or not at all, whenever the process dies.
 *
 * Inserting costs one statement for any number of messages; so does raising a watermark. Trimming costs one statement.
 */
import type { InboxPort } from '../../contract/store.ts';
import { realignAll } from './line.ts';
import type { Access } from './port.ts';

export function createInboxPort({ schema: s, sql, clock, in: within }: Access): InboxPort {
  // In the order of the key: two batches that meet in several keys meet in the same order, and none waits for the other
  // in a circle. `do nothing` waits for an insert under way, and sees how it ended.
  // Mostly all are new: then they are counted and not sent back.
  const insert = `with fresh as (insert into ${s}.inbox (subscription, source, id)
    select $1::text, m.source, m.id from json_to_recordset($2::text::json) as m(source text, id text)
    order by m.source collate "C", m.id collate "C" on conflict do nothing returning source, id)
    select f.n::text as count, case when f.n > 0 then pg_current_xact_id()::text end as xid,
      case when f.n < $3::text::int then (select json_agg(json_build_array(source, id))::text from fresh) end as keys
    from (select count(*) as n from fresh) f`;
  // search by primary key
  const has = `select id from ${s}.inbox where subscription = $1::text and source = $2::text and id = $3::text`;
  // search by primary key, once for each source
  const sources = `with recursive found (source) as (
      (select source from ${s}.inbox where subscription = $1::text order by source limit 1)
      union all
      select (select i.source from ${s}.inbox i where i.subscription = $1::text and i.source > f.source order by i.source limit 1)
      from found f where f.source is not null)
    select source from found where source is not null limit $2::text::int`;
  // search by primary key
  const advance = `insert into ${s}.watermark as w (subscription, source, event, key, sequence)
    values ($1::text, $2::text, $3::text, $4::text, $5::text::bigint)
    on conflict (subscription, source, event, key) do update set sequence = excluded.sequence where excluded.sequence > w.sequence
    returning pg_current_xact_id()::text as xid`;
  // search by inbox_time (the clock in a query of its own: read anew for each row it could end no search), in its order: the oldest first; one look into each of the two other tables per row. A message
  // that waits or has failed was taken on before, so no row that is gone here can be needed again by one that comes.
  const trim = `with old as (
      select subscription, source, id from ${s}.inbox i where time < (select clock_timestamp() - $1::text::float8 * interval '1 ms')
      and not exists (select 1 from ${s}.waiting w where w.id = i.id and w.source = i.source and w.subscription = i.subscription)
      and not exists (select 1 from ${s}.failures f where f.id = i.id and f.source = i.source and f.subscription = i.subscription)
      order by time limit $2::text::int for update skip locked),
    gone as (delete from ${s}.inbox i using old o
      where i.subscription = o.subscription and i.source = o.source and i.id = o.id returning 1)
    select count(*)::text as removed from gone`;

  return {
    async insert(tx, subscription, keys) {
      if (keys.length === 0) return [];
      const statements = within(tx);
      const asked = JSON.stringify(keys.map(({ source, id }) => ({ source, id })));
      const [inserted] = await statements.query<{ count: string; xid: string | null; keys: string | null }>(insert, [subscription, asked, keys.length]);
      const { count, xid, keys: some } = inserted!;
      if (xid !== null) statements.told(xid);
      if (Number(count) === keys.length) return keys.map(() => true);
      const fresh = new Set((JSON.parse(some ?? '[]') as [source: string, id: string][]).map((key) => JSON.stringify(key)));
      return keys.map(({ source, id }) => fresh.delete(JSON.stringify([source, id]))); // twice in one call: new once
    },

    has: async (subscription, { source, id }) => (await sql.query(has, [subscription, source, id])).length > 0,

    sources: async (subscription, max) => (await sql.query<{ source: string }>(sources, [subscription, max])).map(({ source }) => source),

    async advance(tx, { subscription, source, event, key, sequence }) {
      const rows = await within(tx).query(advance, [subscription, source, event, key, String(sequence)]);
      return rows.length > 0;
    },

    async rename(tx, from, to) {
      const statements = within(tx);
      // Once per renamed subscription, over all of its rows: what the new name has already stays.
      await statements.query(
        `with moved as (delete from ${s}.inbox where subscription = $1::text returning source, id, time)
         insert into ${s}.inbox (subscription, source, id, time) select $2::text, source, id, time from moved on conflict do nothing`,
        [from, to],
      );
      await statements.query(
        `with moved as (delete from ${s}.watermark where subscription = $1::text returning source, event, key, sequence)
         insert into ${s}.watermark as w (subscription, source, event, key, sequence) select $2::text, source, event, key, sequence from moved
         on conflict (subscription, source, event, key) do update set sequence = excluded.sequence where excluded.sequence > w.sequence`,
        [from, to],
      );
      // What waits and what has failed goes along: nobody would ask for it under the old name.
      await statements.query(`update ${s}.waiting set subscription = $2::text where subscription = $1::text`, [from, to]);
      await statements.query(`update ${s}.failures set subscription = $2::text where subscription = $1::text`, [from, to]);
      await realignAll(statements, s, to);
      // what has begun under the new name stays
      await statements.query(
        `update ${s}.saga o set saga = $2::text where saga = $1::text and not exists (select 1 from ${s}.saga n where n.saga = $2::text and n.key = o.key)`,
        [from, to],
      );
    },

    // By the database's clock: what is asked for is an age.
    async trim(beforeMs, max) {
      const [row] = await sql.query<{ removed: string }>(trim, [clock.now() - beforeMs, max]);
      return Number(row!.removed);
    },
  };
}
