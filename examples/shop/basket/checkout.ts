import type { SqlTransaction } from 'waybill';
import type { BasketLine } from '../contracts/basket.ts';

/** What the visitor saw when ordering: money is never charged at a price that the page did not show. */
export interface SeenLine {
  readonly productId: string;
  readonly quantity: number;
  readonly unitPriceCents: number;
}

/** The lines whose price or quantity is another one than the visitor saw; what is new in the basket counts too. */
export function unseen(lines: readonly BasketLine[], seen: readonly SeenLine[]): string[] {
  const shown = new Map(seen.map((line) => [line.productId, line]));
  const differs = lines.filter(({ productId, quantity, unitPriceCents }) => {
    const line = shown.get(productId);
    shown.delete(productId);
    return line?.quantity !== quantity || line.unitPriceCents !== unitPriceCents;
  });
  return [...differs.map(({ productId }) => productId), ...shown.keys()];
}

export function total(lines: readonly Pick<BasketLine, 'quantity' | 'unitPriceCents'>[]): number {
  return lines.reduce((sum, { quantity, unitPriceCents }) => sum + quantity * unitPriceCents, 0);
}

// --- orders that left this basket and that ordering has not answered for yet ---

export async function createTables(tx: SqlTransaction): Promise<void> {
  await tx.query('create table if not exists checkout (visitor_id text primary key, order_id text not null)');
}

/** Writes down that a basket is being ordered. @returns false while an earlier order of it has not been taken on */
export async function beginCheckout(tx: SqlTransaction, visitorId: string, orderId: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    'insert into checkout (visitor_id, order_id) values ($1, $2) on conflict (visitor_id) do nothing',
    [visitorId, orderId],
  );
  return rowCount === 1;
}

export async function endCheckout(tx: SqlTransaction, visitorId: string, orderId: string): Promise<void> {
  await tx.query('delete from checkout where visitor_id = $1 and order_id = $2', [visitorId, orderId]);
}
