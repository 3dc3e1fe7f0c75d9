import { defineCommand, defineEvent } from 'waybill';
import * as z from 'zod';
import { OrderId } from './order-id.ts';

const byOrder = (message: { orderId: string }): string => message.orderId;
const Amount = z.int().min(1);

export const AuthorizePayment = defineCommand('payment.authorize-payment', {
  description: 'Charge an order. Answered by one of the two events below.',
  schema: z.object({ orderId: OrderId, amountCents: Amount, paymentToken: z.string() }),
  key: byOrder,
});

export const RefundPayment = defineCommand('payment.refund-payment', {
  description: 'Pay back what was charged for an order.',
  schema: z.object({ orderId: OrderId, chargeId: z.string(), amountCents: Amount }),
  key: byOrder,
});

export const OrderPaymentSucceeded = defineEvent('payment.order-payment-succeeded', {
  description: 'An order was charged, once.',
  schema: z.object({ orderId: OrderId, amountCents: Amount, chargeId: z.string() }),
  key: byOrder,
});

export const OrderPaymentFailed = defineEvent('payment.order-payment-failed', {
  description: 'A charge was declined: nothing was taken.',
  schema: z.object({ orderId: OrderId, reason: z.string() }),
  key: byOrder,
});

export const OrderPaymentRefunded = defineEvent('payment.order-payment-refunded', {
  description: 'What was charged for an order was paid back, once.',
  schema: z.object({ orderId: OrderId, amountCents: Amount }),
  key: byOrder,
});
