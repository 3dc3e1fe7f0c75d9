import type { SqlTransaction } from 'waybill';
import type { OrderItem, PlacedOrder } from '../contracts/ordering.ts';
import type { Status } from '../ordering/order.ts';

/** One line of an order's timeline: what was heard of it, and when it happened. */
export interface Step {
  /** ISO 8601. */
  readonly at: string;
  /** Missing for what does not change its status. */
  readonly status?: Status;
  readonly text: string;
}

/** `Received`: the basket has sent it off, and ordering has not taken it on yet. */
export type ShownStatus = 'Received' | Status;

export interface ShownOrder {
  readonly orderId: string;
  readonly status: ShownStatus;
  readonly items: readonly OrderItem[];
  readonly totalCents: number;
  readonly placedAt: string;
  readonly steps: readonly Step[];
}

export async function createTables(tx: SqlTransaction): Promise<void> {
  await tx.query(`create table if not exists shown_order (
    order_id text primary key, visitor_id text not null, status text not null, items text not null, total_cents integer not null,
    placed_at text not null)`);
  await tx.query('create index if not exists shown_order_by_visitor on shown_order (visitor_id, placed_at)');
  await tx.query(`create table if not exists order_step (
    order_id text not null, number integer not null, at text not null, status text, text text not null,
    primary key (order_id, number))`);
}

/** Whoever hears of an order first makes its row: the basket's word and ordering's come on two ways. */
export async function insertOrder(tx: SqlTransaction, order: PlacedOrder, placedAt: string): Promise<void> {
  const { orderId, visitorId, items, totalCents } = order;
  await tx.query(
    `insert into shown_order (order_id, visitor_id, status, items, total_cents, placed_at) values ($1, $2, 'Received', $3, $4, $5)
     on conflict (order_id) do nothing`,
    [orderId, visitorId, JSON.stringify(items), totalCents, placedAt],
  );
}

/** Adds what has happened to an order, and gives it the status that follows. */
export async function addStep(tx: SqlTransaction, orderId: string, { at, status, text }: Step): Promise<void> {
  await tx.query(
    `insert into order_step (order_id, number, at, status, text)
     select $1, coalesce(max(number), 0) + 1, $2, $3, $4 from order_step where order_id = $1`,
    [orderId, at, status ?? null, text],
  );
  if (status) await tx.query('update shown_order set status = $1 where order_id = $2', [status, orderId]);
}

interface OrderRow {
  order_id: string;
  status: ShownStatus;
  items: string;
  total_cents: number;
  placed_at: string;
}

/** An order with its timeline. Whoever knows its id may see it, if it is theirs. */
export async function orderOf(tx: SqlTransaction, orderId: string, visitorId: string): Promise<ShownOrder | undefined> {
  const { rows } = await tx.query<OrderRow>('select * from shown_order where order_id = $1 and visitor_id = $2', [orderId, visitorId]);
  const [row] = rows;
  if (!row) return undefined;
  const steps = await tx.query<{ at: string; status: Status | null; text: string }>(
    'select at, status, text from order_step where order_id = $1 order by number',
    [orderId],
  );
  return { ...toOrder(row), steps: steps.rows.map(({ at, status, text }) => ({ at, text, ...(status ? { status } : {}) })) };
}

/** The newest orders of a visitor, without their timelines. */
export async function ordersOf(tx: SqlTransaction, visitorId: string, limit: number): Promise<ShownOrder[]> {
  const { rows } = await tx.query<OrderRow>(
    'select * from shown_order where visitor_id = $1 order by placed_at desc, order_id limit $2',
    [visitorId, limit],
  );
  return rows.map(toOrder);
}

function toOrder({ order_id: orderId, status, items, total_cents: totalCents, placed_at: placedAt }: OrderRow): ShownOrder {
  return { orderId, status, items: JSON.parse(items) as OrderItem[], totalCents, placedAt, steps: [] };
}
