import { createBus, defineEvent } from 'waybill';
import * as z from 'zod';

const PriceChanged = defineEvent('catalog.price-changed', { schema: z.object({ id: z.string(), price: z.number() }) });

await using basket = createBus({ service: 'basket' });
basket.subscribe(PriceChanged, (event) => console.log('new price', event.price));
await basket.start();

await using catalog = createBus({ service: 'catalog' }); // another process in real life; both find each other in .waybill
await catalog.start();
const { token } = await catalog.publish(PriceChanged, { id: 'p1', price: 9.5 });
await basket.caughtUp(token, { timeoutMs: 5_000 }); // only so that the program does not end before the handler ran
