import type { SqlTransaction } from 'waybill';

/** What was charged for an order, as payment knows it. No card is in here: the gateway has them. */
export async function createTables(tx: SqlTransaction): Promise<void> {
  await tx.query(`create table if not exists payment (
    order_id text primary key, amount_cents integer not null, charge_id text, status text not null)`);
}

export async function saveCharge(
  tx: SqlTransaction,
  { orderId, amountCents, chargeId }: { orderId: string; amountCents: number; chargeId: string | undefined },
): Promise<void> {
  await tx.query('insert into payment (order_id, amount_cents, charge_id, status) values ($1, $2, $3, $4)', [
    orderId,
    amountCents,
    chargeId ?? null,
    chargeId === undefined ? 'declined' : 'charged',
  ]);
}

export async function saveRefund(tx: SqlTransaction, orderId: string): Promise<void> {
  await tx.query("update payment set status = 'refunded' where order_id = $1", [orderId]);
}
