import { createBus, defineEvent } from 'waybill';
import * as z from 'zod';

const PriceChanged = defineEvent('catalog.price-changed', {
  schema: z.object({ id: z.string(), price: z.number(), revision: z.number().int() }),
  key: (event) => event.id, // what is ordered
  sequence: (event) => event.revision, // the entity's version
});

await using catalog = createBus({ service: 'catalog' });
await catalog.start();
await catalog.transaction(async (tx) => {
  await tx.query('create table if not exists product (id text primary key, price real not null, revision integer not null)');
  const { rows } = await tx.query<{ revision: number }>(
    `insert into product values ($1, $2, 1)
     on conflict (id) do update set price = excluded.price, revision = product.revision + 1 returning revision`,
    ['p1', 9.5],
  );
  // Committed together with the row, or not at all; after the write it tells of.
  await catalog.publish(PriceChanged, { id: 'p1', price: 9.5, revision: rows[0]!.revision }, { tx });
});

await using basket = createBus({ service: 'basket' });
await basket.start();
await basket.transaction((tx) => tx.query('create table if not exists line (product text primary key, price real not null)'));
const lines = basket.subscribe(PriceChanged, { order: 'latest', from: 'beginning' }, async (event, ctx) => {
  // The same transaction as the inbox row: applied once, however often it is delivered.
  await ctx.tx.query('insert into line values ($1, $2) on conflict (product) do update set price = excluded.price', [event.id, event.price]);
  console.log('basket has', event.id, 'at', event.price);
});
await lines.ready();
const { token } = await catalog.publish(PriceChanged, { id: 'p1', price: 8, revision: 2 });
await basket.caughtUp(token, { timeoutMs: 5_000 });
