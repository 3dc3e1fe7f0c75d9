import { createBus, defineCommand, defineEvent } from 'waybill';
import * as z from 'zod';

export const PriceChanged = defineEvent('catalog.price-changed', {
  schema: z.object({ id: z.string(), price: z.number() }),
  key: (event) => event.id,
});
export const ClearBasket = defineCommand('basket.clear', { schema: z.object({ user: z.string() }) });

/** What the service takes, and nothing started: main.ts and the command line both import it. */
export const bus = createBus({ service: 'basket' });
bus.subscribe(PriceChanged, { name: 'prices' }, async (event) => console.log('new price', event.price));
bus.handle(ClearBasket, async (command) => console.log('cleared', command.user));
