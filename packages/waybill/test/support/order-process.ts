/** A saga that the tests share: stock is reserved, then paid for; either may be taken back. */
import { defineCommand, defineEvent, defineSaga } from 'waybill';
import * as z from 'zod';

const order = z.object({ orderId: z.string() });
const key = (event: { orderId: string }): string => event.orderId;

export const OrderSubmitted = defineEvent('ordering.order-submitted', { schema: order, key });
export const StockConfirmed = defineEvent('stock.confirmed', { schema: order, key });
export const StockRejected = defineEvent('stock.rejected', { schema: order, key });
export const OrderPaid = defineEvent('ordering.order-paid', { schema: order, key });
export const OrderCancelled = defineEvent('ordering.order-cancelled', { schema: order, key });
export const ReserveStock = defineCommand('stock.reserve', { schema: order });
export const ReleaseStock = defineCommand('stock.release', { schema: order });
export const AuthorizePayment = defineCommand('payment.authorize', { schema: order, reply: z.object({ approved: z.boolean() }) });
export const VoidPayment = defineCommand('payment.void', { schema: order });

export const OrderState = z.object({ orderId: z.string(), paid: z.boolean(), steps: z.array(z.string()) });

/** A new definition each time: tests change what they get. */
export const orderProcess = ({ graceMs = 60_000, paymentMs = 30_000, ...of }: { late?: 'drop' | 'fail'; graceMs?: number; paymentMs?: number } = {}) =>
  defineSaga('order-process', {
    state: OrderState,
    initial: (orderId) => ({ orderId, paid: false, steps: [] }),
    timeouts: { grace: graceMs, payment: paymentMs },
    steps: ['stock', 'payment'],
    ...of,
  })
    .startedBy(OrderSubmitted, key, async ({ orderId }, saga) => {
      saga.state.steps.push('submitted');
      saga.timeout('grace');
      saga.done('stock');
      await saga.send(ReserveStock, { orderId });
    })
    .on(StockConfirmed, key, async ({ orderId }, saga) => {
      saga.state.steps.push('stock');
      saga.done('payment');
      saga.timeout('payment');
      await saga.send(AuthorizePayment, { orderId });
    })
    .on(StockRejected, key, (_, saga) => saga.undo())
    .onReply(
      AuthorizePayment,
      async ({ approved }, saga) => {
        saga.state = { ...saga.state, paid: approved };
        if (!approved) return saga.undo();
        await saga.publish(OrderPaid, { orderId: saga.key });
        saga.complete();
      },
      ({ code }, saga) => {
        saga.state.steps.push(`failed ${code}`);
        saga.undo();
      },
    )
    .onTimeout('grace', (saga) => saga.undo())
    .onTimeout('payment', (saga) => saga.undo())
    .compensate('stock', async (saga) => {
      saga.state.steps.push('released');
      await saga.send(ReleaseStock, { orderId: saga.key });
      await saga.publish(OrderCancelled, { orderId: saga.key });
    })
    .compensate('payment', async (saga) => {
      saga.state.steps.push('voided');
      await saga.send(VoidPayment, { orderId: saga.key });
    });
