import type { SqlTransaction } from 'waybill';
import type { PlacedOrder } from '../contracts/ordering.ts';
import { STATUSES, type Status } from './order.ts';

export async function createTables(tx: SqlTransaction): Promise<void> {
  await tx.query(`create table if not exists placed_order (
    order_id text primary key, visitor_id text not null, request_id text not null, status text not null, total_cents integer not null,
    items text not null, unique (visitor_id, request_id))`);
}

/** Takes on an order. @returns false when this request has made one already, whoever asks again */
export async function insertOrder(
  tx: SqlTransaction,
  { orderId, visitorId, items, totalCents, requestId }: PlacedOrder & { requestId: string },
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `insert into placed_order (order_id, visitor_id, request_id, status, total_cents, items) values ($1, $2, $3, 'Submitted', $4, $5)
     on conflict do nothing`,
    [orderId, visitorId, requestId, totalCents, JSON.stringify(items)],
  );
  return rowCount === 1;
}

/** The status of a visitor's order, locked until the transaction ends. */
export async function lockStatus(tx: SqlTransaction, orderId: string, visitorId: string): Promise<Status | undefined> {
  const { rows } = await tx.query<{ status: Status }>(
    'update placed_order set status = status where order_id = $1 and visitor_id = $2 returning status',
    [orderId, visitorId],
  );
  return rows[0]?.status;
}

/** A status that comes late, after a failure that was retried by hand, does not undo a later one. */
export async function setStatus(tx: SqlTransaction, orderId: string, status: Status): Promise<void> {
  const earlier = STATUSES.slice(0, STATUSES.indexOf(status))
    .map((name) => `'${name}'`)
    .join(', ');
  await tx.query(`update placed_order set status = $1 where order_id = $2 and status in (${earlier})`, [status, orderId]);
}

/** How many orders are in each status, for whoever counts. */
export async function countByStatus(tx: SqlTransaction): Promise<Record<string, number>> {
  const { rows } = await tx.query<{ status: Status; orders: number | string }>(
    'select status, count(*) as orders from placed_order group by status',
  );
  return Object.fromEntries(rows.map(({ status, orders }) => [status, Number(orders)]));
}
