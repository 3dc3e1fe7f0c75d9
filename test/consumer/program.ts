/** Runs where only the packed library is installed: the smallest program of the README, with a schema by hand. */
import { createBus, defineEvent, type StandardSchema } from 'waybill';

interface Price {
  id: string;
  price: number;
}

const price: StandardSchema<Price, Price> = {
  '~standard': {
    version: 1,
    vendor: 'by-hand',
    validate: (value) => (isPrice(value) ? { value } : { issues: [{ message: 'no price' }] }),
  },
};

function isPrice(value: unknown): value is Price {
  return typeof value === 'object' && value !== null && 'id' in value && 'price' in value && typeof value.price === 'number';
}

const PriceChanged = defineEvent('catalog.price-changed', { schema: price });

await using basket = createBus({ service: 'basket' });
basket.subscribe(PriceChanged, (event) => console.log('new price', event.price));
await basket.start();

await using catalog = createBus({ service: 'catalog' });
await catalog.start();
const { token } = await catalog.publish(PriceChanged, { id: 'p1', price: 9.5 });
console.log('caught up', await basket.caughtUp(token, { timeoutMs: 20_000 }));
