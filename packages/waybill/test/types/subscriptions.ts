import { createBus, defineCommand, defineEvent, type Bus, type Handler, type HandlerContext, type SqlTransaction, type Subscription, type TxOf } from 'waybill';
import * as z from 'zod';
import { same } from './equal.ts';

const Price = defineEvent('catalog.price', { schema: z.object({ id: z.string(), price: z.number() }), key: (event) => event.id });
const Stock = defineEvent('catalog.stock', {
  schema: z.object({ id: z.string(), revision: z.number() }),
  key: (event) => event.id,
  sequence: (event) => event.revision,
});
const Plain = defineEvent('catalog.plain', { schema: z.object({ id: z.string() }) });
const Create = defineCommand('ordering.create-order', { schema: z.object({ id: z.string() }), reply: z.object({ ok: z.boolean() }) });

const bus = createBus({ service: 'basket' });
same<TxOf<typeof bus>, SqlTransaction>(true);
same<typeof bus, Bus<SqlTransaction>>(true);

// the handler's event and context
bus.subscribe(Price, async (event, ctx) => {
  same<typeof event, { id: string; price: number }>(true);
  same<typeof ctx.tx, SqlTransaction>(true);
  const { rows } = await ctx.tx.query<{ id: string }>('select $1', [event.price]);
  rows[0]?.id.toUpperCase();
  // @ts-expect-error there may be no row
  rows[0].id;
  same<typeof ctx.message.time, Date>(true);
  same<typeof ctx.message.sequence, bigint | undefined>(true);
  ctx.signal.throwIfAborted();
  ctx.afterCommit(() => ctx.logger.info({ attempt: ctx.attempt, again: ctx.redelivered }, ctx.idempotencyKey));
  await ctx.publish(Plain, { id: '1' });
  await ctx.publishAll([Plain.of({ id: '1' }), Create.of({ id: '1' })]);
  await ctx.send(Create, { id: '1' });
  // @ts-expect-error wrong data
  await ctx.publish(Plain, { id: 1 });
  // @ts-expect-error inside a handler the transaction is the handler's
  await ctx.publish(Plain, { id: '1' }, { tx: ctx.tx });
  // @ts-expect-error a command is sent
  await ctx.publish(Create, { id: '1' });
  // @ts-expect-error an event is published
  await ctx.send(Plain, { id: '1' });
});
bus.subscribe(Plain, () => {});
// @ts-expect-error a subscription returns nothing
bus.subscribe(Plain, async () => 'ok');
// @ts-expect-error a command cannot be subscribed
bus.subscribe(Create, async () => {});

// order
bus.subscribe(Price, { order: 'by-key', concurrency: 8, batch: 10, timeoutMs: 1_000 }, async (event, ctx) => void (await ctx.tx.query(event.id)));
bus.subscribe(Stock, { order: 'latest' }, async (event) => void event.revision.toFixed());
bus.subscribe(Stock, { order: 'by-key', afterFailure: 'hold' }, async () => {});
bus.subscribe(Plain, { order: 'any', from: 'beginning', formerly: ['old-name'], retry: false }, async () => {});
// @ts-expect-error by-key needs a key in the contract
bus.subscribe(Plain, { order: 'by-key' }, async () => {});
// @ts-expect-error latest needs a sequence in the contract
bus.subscribe(Price, { order: 'latest' }, async () => {});
// @ts-expect-error there is no such order
bus.subscribe(Price, { order: 'random' }, async () => {});
// @ts-expect-error units stand in the name: delayMs
bus.subscribe(Price, { retry: { delay: 5 } }, async () => {});

// transaction modes
bus.subscribe(Price, { transaction: 'own' }, async (event, ctx) => void (await ctx.tx.query(event.id)));
bus.subscribe(Price, { transaction: 'manual' }, async (event, ctx) => {
  const answer = await ctx.transaction(async (tx) => (await tx.query(event.id)).rowCount);
  same<typeof answer, number | null>(true);
  // @ts-expect-error in 'manual' no transaction is open
  ctx.tx;
});
bus.subscribe(Price, async (_event, ctx) => {
  // @ts-expect-error only 'manual' opens its transaction itself
  await ctx.transaction(async () => {});
});

// what happens after the last attempt
bus.subscribe(
  Price,
  {
    onFailed: async (event, ctx, error) => {
      same<typeof event, { id: string; price: number }>(true);
      same<typeof error, unknown>(true);
      await ctx.publish(Plain, { id: event.id });
    },
  },
  async () => {},
);

// several events, one queue
bus
  .subscription('view', { order: 'by-key' })
  .on(Price, (event, ctx) => void ctx.tx.query(event.price.toFixed()))
  .on(Stock, (event) => void event.revision.toFixed());
bus.subscription('plain').on(Plain, (event) => void event.id.trim());
bus.subscription('pay', { transaction: 'manual' }).on(Plain, async (event, ctx) => {
  await ctx.transaction(async (tx) => void (await tx.query(event.id)));
});
// @ts-expect-error by-key needs a key in each contract
bus.subscription('view', { order: 'by-key' }).on(Plain, () => {});
// @ts-expect-error latest needs a sequence in each contract
bus.subscription('view', { order: 'latest' }).on(Price, () => {});

// set-based
bus.subscribeBatch(Price, { batch: 500, lingerMs: 5 }, async (events, ctx) => {
  same<typeof events, { id: string; price: number }[]>(true);
  ctx.messages[0]?.id.trim();
  await ctx.tx.query('select 1');
});

// a handler in a file of its own
const onPrice: Handler<typeof bus, typeof Price> = async (event, ctx) => void (await ctx.tx.query(event.price.toFixed()));
bus.subscribe(Price, onPrice);
bus.subscribe(Price, { order: 'by-key' }, onPrice);
const onPay: Handler<typeof bus, typeof Create, 'manual'> = async (command, ctx) => ctx.transaction(async () => ({ ok: command.id !== '' }));
bus.handle(Create, { transaction: 'manual' }, onPay);
// @ts-expect-error a handler for 'manual' has no open transaction to give to others
bus.handle(Create, onPay);
// @ts-expect-error a handler is for its own event
bus.subscribe(Plain, onPrice);

// the handle on a subscription
const subscription: Subscription = bus.subscribe(Plain, () => {});
const done: Promise<void>[] = [
  subscription.ready(),
  subscription.pause(),
  subscription.resume(),
  subscription.unsubscribe({ queued: 'drop' }),
];
// @ts-expect-error apply or drop
subscription.unsubscribe({ queued: 'keep' });

// middleware
bus.use({
  publish: (message, next) => next({ ...message, headers: { ...message.headers, tenant: 'a' } }),
  handle: async (ctx: HandlerContext, next) => {
    ctx.message.headers['tenant']?.trim();
    await next();
  },
});
bus.use({
  // @ts-expect-error next wants a message
  publish: (_message, next) => next(),
});
