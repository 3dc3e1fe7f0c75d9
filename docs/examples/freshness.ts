import { createBus, defineEvent } from 'waybill';
import * as z from 'zod';

const PriceChanged = defineEvent('catalog.price-changed', { schema: z.object({ id: z.string(), price: z.number() }), key: (e) => e.id });
const StockChanged = defineEvent('stock.stock-changed', { schema: z.object({ id: z.string(), left: z.number() }), key: (e) => e.id });

// Two services own the facts; a third has a table of both for its pages.
await using catalog = createBus({ service: 'catalog' });
await using stock = createBus({ service: 'stock' });
await using shop = createBus({ service: 'shop' });
await shop.transaction(async (tx) => {
  await tx.query('create table if not exists product (id text primary key, price real, left_over integer)');
});
shop
  .subscription('products')
  .on(PriceChanged, async (event, ctx) => {
    await ctx.tx.query('insert into product (id, price) values ($1, $2) on conflict (id) do update set price = excluded.price', [event.id, event.price]);
  })
  .on(StockChanged, async (event, ctx) => {
    await ctx.tx.query('insert into product (id, left_over) values ($1, $2) on conflict (id) do update set left_over = excluded.left_over', [event.id, event.left]);
  });
await Promise.all([catalog.start(), stock.start(), shop.start()]);

// The answer to a write carries a token: in a cookie, a header, or the address of the next page.
const { token: priced } = await catalog.publish(PriceChanged, { id: 'p1', price: 9.5 });
const { token: counted } = await stock.publish(StockChanged, { id: 'p1', left: 3 });

// Whoever has just written reads what he wrote, or is told that it is not there yet.
for (const token of [priced, counted]) {
  if (!(await shop.caughtUp(token, { timeoutMs: 5_000 }))) console.log('your change is on its way');
}
const { rows } = await shop.transaction((tx) => tx.query<{ price: number; left_over: number }>('select price, left_over from product'));
console.log(rows[0]?.price, rows[0]?.left_over);

// Everybody else is told how old the page is, and of what.
for (const { source, state, waiting } of await shop.freshness('stock')) console.log(source, state, waiting);
