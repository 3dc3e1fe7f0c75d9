import type { SqlTransaction } from 'waybill';
import type { Pieces, ReservationState, Stock } from './stock.ts';

export async function createTables(tx: SqlTransaction): Promise<void> {
  await tx.query(`create table if not exists stock (
    product_id text primary key, available integer not null check (available >= 0), reserved integer not null check (reserved >= 0),
    sold integer not null check (sold >= 0), delivered integer not null, revision integer not null,
    check (available + reserved + sold = delivered))`);
  await tx.query('create table if not exists reservation (order_id text primary key, state text not null, items text not null)');
}

export async function insertStock(tx: SqlTransaction, productId: string, available: number): Promise<void> {
  await tx.query(
    'insert into stock (product_id, available, reserved, sold, delivered, revision) values ($1, $2, 0, 0, $2, 1)',
    [productId, available],
  );
}

interface StockRow extends Stock {
  readonly revision: number;
}

/** The stock of a product, locked until the transaction ends; undefined for a product that is not known here. */
export async function lockStock(tx: SqlTransaction, productId: string): Promise<StockRow | undefined> {
  const { rows } = await tx.query<StockRow>(
    'update stock set revision = revision where product_id = $1 returning available, reserved, sold, revision',
    [productId],
  );
  return rows[0];
}

/** @returns the revision of the new state */
export async function saveStock(tx: SqlTransaction, productId: string, { available, reserved, sold }: Stock): Promise<number> {
  const { rows } = await tx.query<{ revision: number }>(
    'update stock set available = $1, reserved = $2, sold = $3, revision = revision + 1 where product_id = $4 returning revision',
    [available, reserved, sold, productId],
  );
  return rows[0]!.revision;
}

/** A delivery from outside. @returns the stock after it */
export async function addStock(tx: SqlTransaction, productId: string, pieces: number): Promise<StockRow | undefined> {
  const { rows } = await tx.query<StockRow>(
    `update stock set available = available + $1, delivered = delivered + $1, revision = revision + 1 where product_id = $2
     returning available, reserved, sold, revision`,
    [pieces, productId],
  );
  return rows[0];
}

export interface Reservation {
  readonly state: ReservationState;
  readonly items: readonly Pieces[];
}

/** The reservation of an order, locked until the transaction ends; undefined when the order has not been heard of. */
export async function lockReservation(tx: SqlTransaction, orderId: string): Promise<Reservation | undefined> {
  const { rows } = await tx.query<{ state: ReservationState; items: string }>(
    'update reservation set state = state where order_id = $1 returning state, items',
    [orderId],
  );
  return rows[0] && { state: rows[0].state, items: JSON.parse(rows[0].items) as Pieces[] };
}

/** Writes down an order's reservation for the first time. @returns false when somebody has just done so */
export async function insertReservation(tx: SqlTransaction, orderId: string, { state, items }: Reservation): Promise<boolean> {
  const { rowCount } = await tx.query(
    'insert into reservation (order_id, state, items) values ($1, $2, $3) on conflict (order_id) do nothing',
    [orderId, state, JSON.stringify(items)],
  );
  return rowCount === 1;
}

export async function setReservation(tx: SqlTransaction, orderId: string, state: ReservationState): Promise<void> {
  await tx.query('update reservation set state = $1 where order_id = $2', [state, orderId]);
}

/** Everything that there is, for whoever counts: `available + reserved + sold = delivered`, which the table enforces. */
export async function allStock(tx: SqlTransaction): Promise<(Stock & { productId: string; delivered: number })[]> {
  const { rows } = await tx.query<Stock & { product_id: string; delivered: number }>(
    'select product_id, available, reserved, sold, delivered from stock order by product_id',
  );
  return rows.map(({ product_id: productId, ...counted }) => ({ productId, ...counted }));
}
