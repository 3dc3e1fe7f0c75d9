/** API page, "Event store". */
import { createBus, defineEvent, type EventOf } from 'waybill';
import { eventStore } from 'waybill/streams';
import * as z from 'zod';

const OrderPlaced = defineEvent('ordering.order-placed', { schema: z.object({ userId: z.string() }) });
const OrderPaid = defineEvent('ordering.order-paid', { schema: z.object({ amount: z.number() }) });
const OrderConfirmed = defineEvent('ordering.order-confirmed', { schema: z.object({ orderId: z.string() }) });
const bus = createBus({ service: 'ordering' });
const id = 'o1';

const streams = eventStore(bus, { events: [OrderPlaced, OrderPaid] }); // old versions are read through their `upcast`
const toIntegrationEvents = () => [OrderConfirmed.of({ orderId: id })];
await bus.transaction(async (tx) => {
  await streams.append(`order-${id}`, [OrderPlaced.of({ userId: 'u1' })], { expectedVersion: 0, tx, publish: toIntegrationEvents }); // STREAM_CONFLICT
});
for await (const e of streams.read(`order-${id}`)) {
  if (e.name === 'ordering.order-paid') e.data.amount.toFixed(); // e.name narrows e.data
  // @ts-expect-error which of the two it is has not been asked
  else e.data.amount;
}
const projection = streams.project('order-list', { events: [OrderPlaced], reset: (tx) => void tx.query('delete from order_list') }, async (events, ctx) => {
  for (const { data } of events) await ctx.tx.query('insert into order_list values ($1)', [(data satisfies EventOf<typeof OrderPlaced>).userId]);
}); // a Subscription, with rebuild()
await projection.ready();
await projection.rebuild();
