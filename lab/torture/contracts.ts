import { defineCommand, defineEvent } from 'waybill';
import * as z from 'zod';

export const Counted = defineEvent('bank.counted', {
  schema: z.object({ key: z.string(), n: z.number().int() }),
  key: (event) => event.key,
  sequence: (event) => event.n,
});

/** Delayed, and often taken back before it leaves. */
export const Reminded = defineEvent('bank.reminded', { schema: z.object({ key: z.string(), n: z.number().int() }), key: (event) => event.key });

const order = z.object({ orderId: z.string() });
export const byOrder = (event: { orderId: string }): string => event.orderId;
export const OrderSubmitted = defineEvent('bank.order-submitted', { schema: order, key: byOrder });
export const StockConfirmed = defineEvent('works.stock-confirmed', { schema: order, key: byOrder });
export const StockRejected = defineEvent('works.stock-rejected', { schema: order, key: byOrder });
export const ReserveStock = defineCommand('works.reserve', { schema: order, key: byOrder });
export const ReleaseStock = defineCommand('works.release', { schema: order, key: byOrder });
export const AuthorizePayment = defineCommand('works.authorize', { schema: order, key: byOrder, reply: z.object({ approved: z.boolean() }) });
export const VoidPayment = defineCommand('works.void', { schema: order, key: byOrder });
