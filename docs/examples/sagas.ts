import { createBus, defineCommand, defineEvent, defineSaga } from 'waybill';
import * as z from 'zod';

// Contracts: in real life in a package that the services share.
const order = z.object({ orderId: z.string() });
const OrderSubmitted = defineEvent('ordering.order-submitted', { schema: order });
const OrderCancelled = defineEvent('ordering.order-cancelled', { schema: order });
const StockReserved = defineEvent('stock.reserved', { schema: order });
const ReserveStock = defineCommand('stock.reserve', { schema: order });
const ReleaseStock = defineCommand('stock.release', { schema: order });
const AuthorizePayment = defineCommand('payment.authorize', { schema: order, reply: z.object({ approved: z.boolean() }) });
const VoidPayment = defineCommand('payment.void', { schema: order });

const OrderProcess = defineSaga('order-process', {
  state: z.object({ orderId: z.string(), reserved: z.boolean() }),
  initial: (orderId) => ({ orderId, reserved: false }), // from the key alone: whichever message comes first starts it
  timeouts: { grace: 60_000 },
  steps: ['stock', 'payment'],
})
  .startedBy(OrderSubmitted, (event) => event.orderId, async ({ orderId }, saga) => {
    saga.timeout('grace');
    saga.done('stock'); // from now on it may be reserved, whatever we hear of it
    await saga.send(ReserveStock, { orderId });
  })
  .on(StockReserved, (event) => event.orderId, async ({ orderId }, saga) => {
    saga.state.reserved = true;
    saga.done('payment');
    await saga.send(AuthorizePayment, { orderId });
  })
  .onReply(
    AuthorizePayment,
    ({ approved }, saga) => {
      if (approved) saga.complete();
      else saga.undo();
    },
    (failure, saga) => saga.undo(), // its handler gave up: failure.code says why
  )
  .onTimeout('grace', (saga) => saga.undo())
  .compensate('stock', async (saga) => {
    await saga.send(ReleaseStock, { orderId: saga.key });
    await saga.publish(OrderCancelled, { orderId: saga.key });
  })
  .compensate('payment', async (saga) => void (await saga.send(VoidPayment, { orderId: saga.key })));

await using ordering = createBus({ service: 'ordering' });
ordering.run(OrderProcess);

// The other services, here in the same process.
await using stock = createBus({ service: 'stock' });
stock.handle(ReserveStock, async ({ orderId }, ctx) => void (await ctx.publish(StockReserved, { orderId })));
const released = Promise.withResolvers<void>();
stock.handle(ReleaseStock, ({ orderId }) => {
  console.log(`stock of ${orderId} released`);
  released.resolve();
});
await using payment = createBus({ service: 'payment' });
payment.handle(AuthorizePayment, ({ orderId }) => ({ approved: orderId === 'o1' }));
const voided = Promise.withResolvers<void>();
payment.handle(VoidPayment, ({ orderId }) => {
  console.log(`payment of ${orderId} voided`);
  voided.resolve();
});
await Promise.all([stock.start(), payment.start(), ordering.start()]);

const ended = new Promise<void>((resolve) => {
  const open = new Set(['o1', 'o2']);
  ordering.on('saga', ({ key, status }) => {
    if (status !== 'completed' && status !== 'compensated') return;
    console.log(`${key} ${status}`);
    if (open.delete(key) && open.size === 0) resolve();
  });
});
for (const orderId of ['o1', 'o2']) await ordering.publish(OrderSubmitted, { orderId });
await Promise.all([ended, released.promise, voided.promise]);
