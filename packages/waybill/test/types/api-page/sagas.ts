/** The API page's block on sagas. */
import { createBus, defineCommand, defineEvent, defineSaga } from 'waybill';
import * as z from 'zod';

const order = z.object({ orderId: z.string() });
const OrderSubmitted = defineEvent('ordering.order-submitted', { schema: order });
const StockConfirmed = defineEvent('stock.confirmed', { schema: order });
const AuthorizePayment = defineCommand('payment.authorize', { schema: order, reply: z.object({ approved: z.boolean() }) });
const ReleaseStock = defineCommand('stock.release', { schema: order });
const OrderState = z.object({ orderId: z.string(), paid: z.boolean() });
const bus = createBus({ service: 'ordering' });

const OrderProcess = defineSaga('order-process', {
  state: OrderState, version: 1,
  initial: (orderId) => ({ orderId, paid: false }),     // from the key alone: whichever message comes first starts it
  timeouts: { grace: 60_000 }, steps: ['stock'],        // names checked by the compiler
})
  .startedBy(OrderSubmitted, (e) => e.orderId, async (e, saga) => { saga.timeout('grace'); })
  .on(StockConfirmed, (e) => e.orderId, async (e, saga) => { saga.done('stock'); await saga.send(AuthorizePayment, { orderId: e.orderId }); })
  .onReply(AuthorizePayment, async (reply, saga) => { reply.approved ? saga.complete() : saga.undo(); })
  .onTimeout('grace', async (saga) => { saga.undo(); })
  .compensate('stock', async (saga) => { await saga.send(ReleaseStock, { orderId: saga.key }); });
bus.run(OrderProcess);
