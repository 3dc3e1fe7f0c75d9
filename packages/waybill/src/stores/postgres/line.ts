/**
 * The line of a key: its in-order rows in `waiting`, of which only the first is a head, and none while a failure holds
 * the key. Every write that may change who is first locks the key, writes, and calls `realign`, so that finding what is
 * due costs nothing however many stand behind: `head` is the partial index that `due` reads.
 *
 * Order in the line: a retried failure that held its key first (it is older than all that wait), then as they were added.
 * The lock is taken before the row gets its number, so that order of numbers is order of transactions.
 */
import type { Statements } from './port.ts';

export interface Place {
  readonly subscription: string;
  readonly key: string;
}

/** Until the transaction ends; in one order, so that two never wait for each other in a circle. */
export async function lockLines(sql: Statements, schema: string, places: readonly Place[]): Promise<void> {
  const names = [...new Set(places.map(({ subscription, key }) => `waybill line ${schema} ${JSON.stringify([subscription, key])}`))].sort();
  if (names.length === 0) return;
  // one lock after another, in this order: a function in the target list runs on rows as they come
  await sql.query(
    `select count(l)::text as locked from (select pg_advisory_xact_lock(hashtextextended(name, 0)) is null as l
       from json_array_elements_text($1::text::json) with ordinality as n(name, at) order by at offset 0) x`,
    [JSON.stringify(names)],
  );
}

/** Makes the first row of each key its head, or nobody. Three searches by index for each, whatever the length of the line. */
export async function realign(sql: Statements, s: string, places: readonly Place[]): Promise<void> {
  if (places.length === 0) return;
  const json = JSON.stringify(places.map(({ subscription, key }) => ({ subscription, key })));
  await sql.query(realignment(s, `select distinct subscription, key from json_to_recordset($1::text::json) as p(subscription text, key text)`), [json]);
}

/** The same for every key of a subscription: when it was renamed. */
export async function realignAll(sql: Statements, s: string, subscription: string): Promise<void> {
  // scan of waiting_line within the subscription
  await sql.query(
    realignment(s, `select distinct subscription, key from ${s}.waiting where subscription = $1::text and in_order and key is not null`),
    [subscription],
  );
}

// by waiting_line its first entry, by failures_hold, by waiting_head at most two rows, and by row: arrays, limits and orders keep it to that
// also where statistics say that there are few keys, or few rows
const realignment = (s: string, places: string): string => `
  with first as materialized (
    select p.subscription, p.key, f.row,
      not exists (select 1 from ${s}.failures h where h.subscription = p.subscription and h.key = p.key and h.holds) as free
    from (${places}) p
    cross join lateral (select row from ${s}.waiting w where w.subscription = p.subscription and w.key = p.key and w.in_order
      order by front desc, row limit 1) f)
  update ${s}.waiting w set head = not w.head
  where w.in_order and w.head <> (w.row = any(array(select f.row from first f where f.free))) and w.row = any(array(
    select f.row from first f
    union all
    select h.row from first f cross join lateral (select h.row from ${s}.waiting h where h.subscription = f.subscription and h.key between f.key and f.key
      and h.in_order and h.head order by h.key limit 2) h))`;
