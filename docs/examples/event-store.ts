import { createBus, defineEvent } from 'waybill';
import { eventStore } from 'waybill/streams';
import * as z from 'zod';

// What happened to an order: for this service alone.
const OrderPlaced = defineEvent('ordering.order-placed', { schema: z.object({ customer: z.string(), total: z.number() }) });
const OrderPaid = defineEvent('ordering.order-paid', { schema: z.object({ amount: z.number() }) });
// What the others hear of it.
const OrderConfirmed = defineEvent('ordering.order-confirmed', { schema: z.object({ orderId: z.string() }) });

await using bus = createBus({ service: 'ordering' });
const streams = eventStore(bus, { events: [OrderPlaced, OrderPaid] });

async function pay(orderId: string, amount: number): Promise<void> {
  // The state is what happened so far.
  let owed = 0;
  let version = 0;
  for await (const event of streams.read(`order-${orderId}`)) {
    version = event.version;
    if (event.name === 'ordering.order-placed') owed += event.data.total;
    else owed -= event.data.amount;
  }
  if (amount > owed) throw new Error(`only ${owed} is owed`);
  // Refused with STREAM_CONFLICT if somebody else decided on this version too.
  await streams.append(`order-${orderId}`, [OrderPaid.of({ amount })], {
    expectedVersion: version,
    publish: () => (amount === owed ? [OrderConfirmed.of({ orderId })] : []), // in the same transaction
  });
}

// A table that follows the log. Its writes and its position are one transaction: each event counts once.
await bus.transaction(async (tx) => {
  await tx.query('create table if not exists revenue (id integer primary key, paid real not null)');
});
const revenue = streams.project(
  'revenue',
  { events: [OrderPaid], reset: async (tx) => void (await tx.query('delete from revenue')) },
  async (events, ctx) => {
    for (const { data } of events) {
      await ctx.tx.query('insert into revenue values (1, $1) on conflict (id) do update set paid = paid + excluded.paid', [data.amount]);
    }
  },
);

const confirmed = Promise.withResolvers<void>();
bus.subscribe(OrderConfirmed, (event) => {
  console.log('confirmed', event.orderId);
  confirmed.resolve();
});
await bus.start();

await streams.append('order-7', [OrderPlaced.of({ customer: 'Ada', total: 30 })], { expectedVersion: 0 });
await pay('7', 10);
await pay('7', 20);
await confirmed.promise;
await revenue.caughtUp({ timeoutMs: 5_000 });
const { rows } = await bus.transaction((tx) => tx.query<{ paid: number }>('select paid from revenue'));
console.log('revenue', rows[0]?.paid);
