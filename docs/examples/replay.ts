import { createBus, defineEvent } from 'waybill';
import { operations } from 'waybill/operations';
import * as z from 'zod';

const PriceChanged = defineEvent('catalog.price-changed', { schema: z.object({ id: z.string(), price: z.number() }), key: (e) => e.id });

await using catalog = createBus({ service: 'catalog' });
await catalog.start();
for (const price of [9, 8, 7]) await catalog.publish(PriceChanged, { id: 'p1', price });

// A subscriber that comes later, and wants what was before it.
await using report = createBus({ service: 'report' });
const prices: number[] = [];
report.subscribe(PriceChanged, { name: 'prices', order: 'by-key', from: 'beginning' }, (event, ctx) => {
  ctx.afterCommit(() => void prices.push(event.price));
});
await report.start();
const { token } = await catalog.publish(PriceChanged, { id: 'p1', price: 6 });
await report.caughtUp(token, { timeoutMs: 5_000 });
console.log('prices', prices.join(' '));

// Did everybody apply everything?
for (const { subscription, source, published, applied, lost } of await operations(report).audit()) {
  console.log(subscription, source, published, applied, lost);
}

// Once more, to one subscription alone: what it has taken on before is left out.
const replay = await operations(report).subscriptions.replay('prices', { from: 'beginning' });
const { read, added, known } = await replay.done;
console.log('replay', read, added, known);
