import type { SqlTransaction } from 'waybill';
import type { BasketLine } from '../contracts/basket.ts';
import type { KnownProduct } from './basket.ts';

export async function createTables(tx: SqlTransaction): Promise<void> {
  await tx.query('create table if not exists basket (visitor_id text primary key, revision integer not null)');
  await tx.query(`create table if not exists basket_line (
    visitor_id text not null, product_id text not null, name text not null, quantity integer not null,
    unit_price_cents integer not null, price_when_added_cents integer not null,
    price_revision integer not null, price_as_of text not null, added_at text not null,
    primary key (visitor_id, product_id))`);
  // A new price finds its lines by this index, however many baskets there are.
  await tx.query('create index if not exists basket_line_by_product on basket_line (product_id)');
  // The copy of the catalogue. A price may arrive before its product: then there is no name yet.
  await tx.query(`create table if not exists product (
    product_id text primary key, name text, price_cents integer not null, revision integer not null, as_of text not null)`);
}

// --- the copy of the catalogue ---

interface Price {
  readonly productId: string;
  readonly priceCents: number;
  readonly revision: number;
  readonly asOf: string;
}

export async function learnProduct(tx: SqlTransaction, product: KnownProduct): Promise<void> {
  await learnPrice(tx, product);
  await tx.query('update product set name = $1 where product_id = $2', [product.name, product.productId]);
}

/** Keeps the newer of two prices, whichever arrives first. */
export async function learnPrice(tx: SqlTransaction, { productId, priceCents, revision, asOf }: Price): Promise<void> {
  await tx.query(
    `insert into product (product_id, price_cents, revision, as_of) values ($1, $2, $3, $4)
     on conflict (product_id) do update set price_cents = excluded.price_cents, revision = excluded.revision, as_of = excluded.as_of
     where product.revision < excluded.revision`,
    [productId, priceCents, revision, asOf],
  );
}

/**
 * The product, locked until the transaction ends: a new price that arrives meanwhile waits, and then finds the line that is
 * being added. An update that changes nothing locks a row on every database; SQLite has no `for update`.
 */
export async function lockProduct(tx: SqlTransaction, productId: string): Promise<KnownProduct | undefined> {
  const { rows } = await tx.query<{ name: string; price_cents: number; revision: number; as_of: string }>(
    `update product set revision = revision where product_id = $1 and name is not null
     returning name, price_cents, revision, as_of`,
    [productId],
  );
  const [row] = rows;
  return row && { productId, name: row.name, priceCents: row.price_cents, revision: row.revision, asOf: row.as_of };
}

// --- baskets ---

export interface Basket {
  readonly visitorId: string;
  readonly revision: number;
  readonly lines: BasketLine[];
}

interface LineRow {
  visitor_id: string;
  product_id: string;
  name: string;
  quantity: number;
  unit_price_cents: number;
  price_when_added_cents: number;
  price_revision: number;
  price_as_of: string;
}

/** Locks a basket until the transaction ends, and counts the change that is about to be made. */
export async function touchBasket(tx: SqlTransaction, visitorId: string): Promise<number> {
  const { rows } = await tx.query<{ revision: number }>(
    `insert into basket (visitor_id, revision) values ($1, 1)
     on conflict (visitor_id) do update set revision = basket.revision + 1 returning revision`,
    [visitorId],
  );
  return rows[0]!.revision;
}

export async function linesOf(tx: SqlTransaction, visitorId: string): Promise<BasketLine[]> {
  const { rows } = await tx.query<LineRow>('select * from basket_line where visitor_id = $1 order by added_at, product_id', [
    visitorId,
  ]);
  return rows.map(toLine);
}

export async function saveLine(tx: SqlTransaction, visitorId: string, line: BasketLine): Promise<void> {
  await tx.query(
    `insert into basket_line (visitor_id, product_id, name, quantity, unit_price_cents, price_when_added_cents, price_revision, price_as_of, added_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     on conflict (visitor_id, product_id) do update set quantity = excluded.quantity, unit_price_cents = excluded.unit_price_cents,
       price_revision = excluded.price_revision, price_as_of = excluded.price_as_of`,
    [
      visitorId,
      line.productId,
      line.name,
      line.quantity,
      line.unitPriceCents,
      line.priceWhenAddedCents,
      line.priceRevision,
      line.priceAsOf,
      new Date().toISOString(),
    ],
  );
}

/** @returns whether there was such a line */
export async function setQuantity(tx: SqlTransaction, visitorId: string, productId: string, quantity: number): Promise<boolean> {
  const { rowCount } = await tx.query('update basket_line set quantity = $1 where visitor_id = $2 and product_id = $3', [
    quantity,
    visitorId,
    productId,
  ]);
  return rowCount === 1;
}

/** @returns whether there was such a line */
export async function removeLine(tx: SqlTransaction, visitorId: string, productId: string): Promise<boolean> {
  const { rowCount } = await tx.query('delete from basket_line where visitor_id = $1 and product_id = $2', [
    visitorId,
    productId,
  ]);
  return rowCount === 1;
}

/** Takes pieces out of a line; a line without any is gone. */
export async function removePieces(
  tx: SqlTransaction,
  { visitorId, productId, quantity }: { visitorId: string; productId: string; quantity: number },
): Promise<void> {
  const where = [quantity, visitorId, productId];
  await tx.query('delete from basket_line where quantity <= $1 and visitor_id = $2 and product_id = $3', where);
  await tx.query('update basket_line set quantity = quantity - $1 where visitor_id = $2 and product_id = $3', where);
}

/** Finds the lines of one product by its index. The price when added stays; a line that knows a newer price keeps it. */
export const REPRICE_LINES = `update basket_line set unit_price_cents = $1, price_revision = $2, price_as_of = $3
  where product_id = $4 and price_revision < $2`;

const TOUCH_BASKETS = `update basket set revision = revision + 1
  where visitor_id in (select visitor_id from basket_line where product_id = $1 and price_revision = $2)`;

const REPRICED_BASKETS = `select basket.revision, line.*
  from basket_line as repriced
  join basket on basket.visitor_id = repriced.visitor_id
  join basket_line as line on line.visitor_id = repriced.visitor_id
  where repriced.product_id = $1 and repriced.price_revision = $2
  order by line.visitor_id, line.added_at, line.product_id`;

/** Gives every line of a product its new price. @returns the baskets that changed, whole */
export async function reprice(tx: SqlTransaction, { productId, priceCents, revision, asOf }: Price): Promise<Basket[]> {
  const { rowCount } = await tx.query(REPRICE_LINES, [priceCents, revision, asOf, productId]);
  if (rowCount === 0) return [];
  await tx.query(TOUCH_BASKETS, [productId, revision]);
  const { rows } = await tx.query<LineRow & { revision: number }>(REPRICED_BASKETS, [productId, revision]);
  const baskets = new Map<string, Basket>();
  for (const row of rows) {
    const basket = baskets.get(row.visitor_id) ?? { visitorId: row.visitor_id, revision: row.revision, lines: [] };
    basket.lines.push(toLine(row));
    baskets.set(row.visitor_id, basket);
  }
  return [...baskets.values()];
}

function toLine(row: LineRow): BasketLine {
  return {
    productId: row.product_id,
    name: row.name,
    quantity: row.quantity,
    unitPriceCents: row.unit_price_cents,
    priceWhenAddedCents: row.price_when_added_cents,
    priceRevision: row.price_revision,
    priceAsOf: row.price_as_of,
  };
}
