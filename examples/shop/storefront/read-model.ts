import type { SqlTransaction } from 'waybill';
import type { BasketChanged, BasketLine } from '../contracts/basket.ts';
import type { ProductAdded, ProductStockChanged } from '../contracts/catalog.ts';

/** What the pages show: copies of what the catalogue and the basket have published, made for reading. */

export interface ShownProduct extends ProductAdded {
  /** When the catalogue set this price, ISO 8601. */
  readonly asOf: string;
}

export interface ShownBasket {
  readonly revision: number;
  readonly lines: readonly BasketLine[];
  /** When the basket said so, ISO 8601; undefined for one that was never used. */
  readonly asOf: string | undefined;
}

export async function createTables(tx: SqlTransaction): Promise<void> {
  await tx.query(`create table if not exists product (
    product_id text primary key, revision integer not null, name text not null, category text not null, details text not null,
    kind text not null, colour text not null, price_cents integer not null, stock integer not null, place integer not null, as_of text not null)`);
  await tx.query('create index if not exists product_by_place on product (place)');
  await tx.query('create table if not exists stock (product_id text primary key, available integer not null, revision integer not null)');
  await tx.query(`create table if not exists basket (
    visitor_id text primary key, revision integer not null, lines text not null, as_of text not null)`);
}

// --- products ---

export async function saveProduct(tx: SqlTransaction, product: ShownProduct): Promise<void> {
  const { productId, revision, name, category, details, kind, colour, priceCents, stock, place, asOf } = product;
  await tx.query(
    `insert into product (product_id, revision, name, category, details, kind, colour, price_cents, stock, place, as_of)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict (product_id) do nothing`,
    [productId, revision, name, category, details, kind, colour, priceCents, stock, place, asOf],
  );
}

/** An event that failed and was retried by hand comes after newer ones: the revision keeps it from undoing them. */
export async function savePrice(
  tx: SqlTransaction,
  price: { productId: string; priceCents: number; revision: number; asOf: string },
): Promise<void> {
  await tx.query('update product set price_cents = $1, revision = $2, as_of = $3 where product_id = $4 and revision < $2', [
    price.priceCents,
    price.revision,
    price.asOf,
    price.productId,
  ]);
}

/** Stock has revisions of its own: selling a piece does not make a price newer. */
export async function saveStock(tx: SqlTransaction, { productId, available, revision }: ProductStockChanged): Promise<void> {
  await tx.query(
    `insert into stock (product_id, available, revision) values ($1, $2, $3)
     on conflict (product_id) do update set available = excluded.available, revision = excluded.revision
     where stock.revision < excluded.revision`,
    [productId, available, revision],
  );
}

/** What is in stock now, else what there was on a product's first day. */
const PRODUCT = `product_id, product.revision, name, category, details, kind, colour, price_cents, place, as_of,
  coalesce((select available from stock where stock.product_id = product.product_id), stock) as stock`;

export interface ProductQuery {
  readonly text: string;
  readonly category: string;
  readonly offset: number;
  readonly limit: number;
}

/** One page of products, and how many there are in all. */
export async function findProducts(
  tx: SqlTransaction,
  { text, category, offset, limit }: ProductQuery,
): Promise<{ products: ShownProduct[]; total: number }> {
  const pattern = `%${text.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`;
  const where = `where ($1 = '' or category = $1) and (lower(name) like $2 escape '\\' or lower(details) like $2 escape '\\')`;
  const { rows } = await tx.query<ProductRow>(`select ${PRODUCT} from product ${where} order by place limit $3 offset $4`, [
    category,
    pattern,
    limit,
    offset,
  ]);
  const counted = await tx.query<{ total: number | string }>(`select count(*) as total from product ${where}`, [
    category,
    pattern,
  ]);
  return { products: rows.map(toProduct), total: Number(counted.rows[0]!.total) };
}

export async function allProducts(tx: SqlTransaction): Promise<ShownProduct[]> {
  const { rows } = await tx.query<ProductRow>(`select ${PRODUCT} from product order by place`);
  return rows.map(toProduct);
}

export async function findProduct(tx: SqlTransaction, productId: string): Promise<ShownProduct | undefined> {
  const { rows } = await tx.query<ProductRow>(`select ${PRODUCT} from product where product_id = $1`, [productId]);
  return rows[0] && toProduct(rows[0]);
}

export async function categories(tx: SqlTransaction): Promise<string[]> {
  const { rows } = await tx.query<{ category: string }>('select distinct category from product order by category');
  return rows.map((row) => row.category);
}

// --- baskets ---

export async function saveBasket(tx: SqlTransaction, basket: BasketChanged, asOf: string): Promise<void> {
  await tx.query(
    `insert into basket (visitor_id, revision, lines, as_of) values ($1, $2, $3, $4)
     on conflict (visitor_id) do update set revision = excluded.revision, lines = excluded.lines, as_of = excluded.as_of
     where basket.revision < excluded.revision`,
    [basket.visitorId, basket.revision, JSON.stringify(basket.lines), asOf],
  );
}

export async function basketOf(tx: SqlTransaction, visitorId: string): Promise<ShownBasket> {
  const { rows } = await tx.query<{ revision: number; lines: string; as_of: string }>(
    'select revision, lines, as_of from basket where visitor_id = $1',
    [visitorId],
  );
  const [row] = rows;
  if (!row) return { revision: 0, lines: [], asOf: undefined };
  return { revision: row.revision, lines: JSON.parse(row.lines) as BasketLine[], asOf: row.as_of };
}

interface ProductRow {
  product_id: string;
  revision: number;
  name: string;
  category: string;
  details: string;
  kind: string;
  colour: string;
  price_cents: number;
  stock: number;
  place: number;
  as_of: string;
}

function toProduct(row: ProductRow): ShownProduct {
  const {
    product_id: productId,
    price_cents: priceCents,
    as_of: asOf,
    revision,
    name,
    category,
    details,
    kind,
    colour,
    stock,
    place,
  } = row;
  return { productId, revision, name, category, details, kind, colour, priceCents, stock, place, asOf };
}
