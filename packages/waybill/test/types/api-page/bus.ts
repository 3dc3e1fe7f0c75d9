/** API page, "Bus", "Middleware" and "Freshness". */
import { AsyncLocalStorage } from 'node:async_hooks';
import pg from 'pg';
import { createBus, defineEvent, type Handler } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import * as z from 'zod';
import { CreateOrder, ProductPriceChanged } from './contracts.ts';

const BasketRepriced = defineEvent('basket.repriced', { schema: z.object({ userId: z.string() }) });
const OrderStarted = defineEvent('ordering.order-started', { schema: z.object({ userId: z.string() }), key: (e) => e.userId });
const ProductAdded = defineEvent('catalog.product-added', { schema: z.object({ productId: z.string() }), key: (e) => e.productId });
const ProductRenamed = defineEvent('catalog.product-renamed', { schema: z.object({ productId: z.string() }), key: (e) => e.productId });

const pool = new pg.Pool();
const url = 'amqp://localhost';

const bus = createBus({
  service: 'basket',
  store: postgres(pool), // or a URL; default process.env.WAYBILL_STORE, else sqlite:.waybill/basket.db
  transport: rabbitmq(url), // or a URL; default process.env.WAYBILL_TRANSPORT, else sqlite:.waybill (a directory)
  relay: 'inline', // 'inline' (default) | 'worker' | 'log' | 'off'
});

bus.subscribe(ProductPriceChanged, async (event, ctx) => {
  await ctx.tx.query('update basket_line set price = $1 where product_id = $2', [event.newPrice, event.productId]); // same transaction as the inbox row
  await ctx.publish(BasketRepriced, { userId: 'u1' }); // and as this outbox row
});
const handler: Handler<typeof bus, typeof OrderStarted> = async (event, ctx) => {
  await ctx.tx.query('delete from basket_line where user_id = $1', [event.userId]);
};
bus.subscribe(OrderStarted, { name: 'clear-basket', order: 'by-key', concurrency: 8, retry: { delayed: 3, delayMs: 500 } }, handler);
bus
  .subscription('product-view', { order: 'by-key' }) // one queue, several events, order kept across them
  .on(ProductAdded, async (event, ctx) => void (await ctx.tx.query('insert into product_view values ($1)', [event.productId])))
  .on(ProductRenamed, async (event, ctx) => void (await ctx.tx.query('update product_view set id = $1', [event.productId])));
bus.subscribeBatch(ProductPriceChanged, { batch: 500, lingerMs: 5, name: 'prices' }, async (events, ctx) => {
  await ctx.tx.query('select $1', [events.length]);
}); // set-based, one transaction
bus.handle(CreateOrder, async (command, ctx) => {
  const orderId = ctx.message.id;
  await ctx.tx.query('insert into orders values ($1, $2)', [orderId, command.userId]);
  return { orderId };
}); // the return value is the reply

await bus.start();

const [id, newPrice, oldPrice, revision, userId, requestId] = ['p1', 9.5, 12, 2, 'u1', 'r1'] as const;
const data = { userId, lines: [] };
const { signal } = new AbortController();

await bus.transaction(async (tx) => {
  // opens the store's transaction; may run more than once
  await tx.query('update product set price = $1 where id = $2', [newPrice, id]);
  await bus.publish(ProductPriceChanged, { productId: id, newPrice, oldPrice, revision }, { tx }); // after the write it tells of
});

const tx = await pool.connect(); // or the user's own transaction, recognised by shape
await tx.query('begin');
await bus.publish(ProductPriceChanged, { productId: id, newPrice, oldPrice, revision }, { tx });
await tx.query('commit');

await bus.send(CreateOrder, data, { tx: 'own' }); // one receiver; outside a transaction (`requireTransaction`)
const { orderId } = await bus.request(CreateOrder, data, { timeoutMs: 5_000, signal });
const { result, duplicate } = await bus.once('create-order', `${userId}:${requestId}`, async (tx) => {
  await tx.query('insert into orders values ($1, $2)', [orderId, userId]);
  return { orderId };
});
await bus.stop({ drainMs: 10_000 }); // also `await using`
console.log(result.orderId, duplicate);

const tenant = new AsyncLocalStorage<string>();
bus.use({
  publish: (message, next) => next({ ...message, headers: { ...message.headers, tenant: tenant.getStore() ?? '' } }),
  handle: async (ctx, next) => tenant.run(ctx.message.headers['tenant'] ?? '', next), // inside the transaction, around each run of a handler
});
bus.on('published', (message) => console.log(message.id))();
const health: { live: boolean; ready: boolean } = await bus.health();
const [oldest] = await bus.freshness('catalog');
console.log(health, oldest?.appliedUntil.getTime(), oldest?.waiting, oldest?.state === 'behind');
