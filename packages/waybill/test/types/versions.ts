import { createBus, defineEvent } from 'waybill';
import * as z from 'zod';

const V1 = defineEvent('catalog.price', { schema: z.object({ id: z.string(), price: z.number() }), key: (event) => event.id });
const schema = z.object({ id: z.string(), price: z.number(), currency: z.string() });
const V2 = defineEvent('catalog.price', {
  version: 2,
  schema,
  key: (event) => event.id,
  previous: V1,
  upcast: (older) => ({ ...older, currency: 'EUR' }),
  downcast: ({ id, price }) => ({ id, price }),
});
createBus({ service: 's' }).subscribe(V2, { order: 'by-key' }, (event) => void event.currency.trim());

// an older name, whose form is the same
defineEvent('catalog.price-changed', { schema: z.object({ id: z.string(), price: z.number() }), previous: V1, upcast: (older) => older });

defineEvent('catalog.price', {
  version: 2,
  schema,
  previous: V1,
  // @ts-expect-error upcast must give the new input
  upcast: (older) => ({ id: older.id }),
});
defineEvent('catalog.price', {
  version: 2,
  schema,
  previous: V1,
  upcast: (older) => ({ ...older, currency: 'EUR' }),
  // @ts-expect-error downcast must give the old input
  downcast: (newer) => ({ id: newer.id }),
});
defineEvent('catalog.price', {
  version: 2,
  schema,
  previous: V1,
  // @ts-expect-error the old form had no currency
  upcast: (older) => ({ ...older, currency: older.currency }),
});
