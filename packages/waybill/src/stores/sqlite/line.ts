/**
 * The line of a key: its in-order rows in `waybill_waiting`, of which only the first is a head, and none while a failure
 * holds the key. Every write that may change who is first calls `realign`, so that finding what is due costs nothing
 * however many stand behind: `head = 1` is the partial index that `due` reads.
 *
 * Order in the line: a retried failure that held its key first (it is older than all that wait), then as they were added.
 */
import type { Statements } from './port.ts';

// search by waybill_waiting_line, its first entry; search by waybill_failures_hold
const firstOfKey = `select row from waybill_waiting where subscription is ?1 and key = ?2 and in_order = 1
  order by front desc, row limit 1`;
const held = `exists (select 1 from waybill_failures where subscription is ?1 and key = ?2 and holds = 1)`;

/** Makes the first row of the key its head, or nobody. Three searches, whatever the length of the line. */
export function realign(statements: Statements, subscription: string | null, key: string | null): void {
  if (key === null) return;
  // search by waybill_waiting_head: at most two rows
  statements.run(
    `update waybill_waiting set head = 0 where subscription is ?1 and key = ?2 and in_order = 1 and head = 1
     and (row <> (${firstOfKey}) or ${held})`,
    subscription,
    key,
  );
  // search by row
  statements.run(`update waybill_waiting set head = 1 where row = (${firstOfKey}) and head = 0 and not ${held}`, subscription, key);
}

/** The same for every key of a subscription: when it was renamed. */
export function realignSubscription(statements: Statements, subscription: string): void {
  // scan of waybill_waiting_line within the subscription
  const keys = statements.all<{ key: string }>(
    'select distinct key from waybill_waiting where subscription = ? and in_order = 1 and key is not null',
    subscription,
  );
  for (const { key } of keys) realign(statements, subscription, key);
}
