import { createHash } from 'node:crypto';
import { type Bus, type SqlTransaction, WaybillError, defineEvent } from 'waybill';
import * as z from 'zod';

export const OrderSubmitted = defineEvent('ordering.order-submitted', { schema: z.object({ orderId: z.string(), product: z.string() }) });
export const Order = z.object({ product: z.string() });

export interface Answer {
  readonly status: 201 | 400 | 422;
  readonly body: { orderId: string } | { error: string };
  readonly headers: Record<string, string>;
}

/** Creates the order once for each user and key, however often the client sends its request. */
export async function createOrder(bus: Bus<SqlTransaction>, user: string, key: string | undefined, json: unknown): Promise<Answer> {
  const order = Order.safeParse(json);
  if (!key || !order.success) return { status: 400, body: { error: 'an order needs a product, and a header Idempotency-Key or x-requestid' }, headers: {} };
  const fingerprint = createHash('sha256').update(JSON.stringify(order.data)).digest('hex');
  const work = async (tx: SqlTransaction): Promise<{ orderId: string }> => {
    const orderId = crypto.randomUUID();
    await tx.query('insert into orders (id, product) values ($1, $2)', [orderId, order.data.product]);
    await bus.publish(OrderSubmitted, { orderId, product: order.data.product }, { tx });
    return { orderId };
  };
  try {
    // The user belongs into the key: nobody shall read what another was answered.
    const { result, duplicate } = await bus.once('create-order', `${user}:${key}`, work, { fingerprint });
    return { status: 201, body: result, headers: duplicate ? { 'idempotency-replayed': 'true' } : {} };
  } catch (error) {
    if (WaybillError.is(error, 'ONCE_MISMATCH')) return { status: 422, body: { error: error.message }, headers: {} };
    if (WaybillError.is(error, 'INVALID_OPTION')) return { status: 400, body: { error: 'this key is too long' }, headers: {} };
    throw error;
  }
}
