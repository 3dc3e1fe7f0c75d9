import type { SqlTransaction } from 'waybill';
import type { ProductPriceChanged } from '../contracts/catalog.ts';
import type { Product } from './product.ts';

export async function createTables(tx: SqlTransaction): Promise<void> {
  await tx.query(`create table if not exists product (
    product_id text primary key, revision integer not null, name text not null, category text not null, details text not null,
    kind text not null, colour text not null, price_cents integer not null, stock integer not null, place integer not null)`);
}

export async function isEmpty(tx: SqlTransaction): Promise<boolean> {
  const { rows } = await tx.query('select product_id from product limit 1');
  return rows.length === 0;
}

export async function insertProduct(tx: SqlTransaction, product: Product): Promise<void> {
  const { productId, revision, name, category, details, kind, colour, priceCents, stock, place } = product;
  await tx.query(
    `insert into product (product_id, revision, name, category, details, kind, colour, price_cents, stock, place)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [productId, revision, name, category, details, kind, colour, priceCents, stock, place],
  );
}

/**
 * The product, locked until the transaction ends, so that events leave in the order of its changes. An update that changes
 * nothing locks a row on every database; SQLite has no `for update`.
 */
export async function lockProduct(
  tx: SqlTransaction,
  productId: string,
): Promise<Pick<Product, 'productId' | 'priceCents' | 'revision'> | undefined> {
  const { rows } = await tx.query<{ price_cents: number; revision: number }>(
    'update product set revision = revision where product_id = $1 returning price_cents, revision',
    [productId],
  );
  return rows[0] && { productId, priceCents: rows[0].price_cents, revision: rows[0].revision };
}

export async function savePrice(tx: SqlTransaction, { productId, newPriceCents, revision }: ProductPriceChanged): Promise<void> {
  await tx.query('update product set price_cents = $1, revision = $2 where product_id = $3', [
    newPriceCents,
    revision,
    productId,
  ]);
}

export async function allProductIds(tx: SqlTransaction): Promise<string[]> {
  const { rows } = await tx.query<{ product_id: string }>('select product_id from product order by place');
  return rows.map((row) => row.product_id);
}
