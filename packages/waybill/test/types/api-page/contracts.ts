/** API page, "Contracts". */
import { defineCommand, defineEvent, type EventOf, type InputOf, type ReplyOf } from 'waybill';
import * as z from 'zod';
import { same } from '../equal.ts';

const CreateOrderSchema = z.object({ userId: z.string(), lines: z.array(z.object({ productId: z.string(), quantity: z.number() })) });

export const ProductPriceChanged = defineEvent('catalog.product-price-changed', {
  version: 1, // default 1; wire type is `${name}.v${version}`
  schema: z.object({ productId: z.string(), newPrice: z.number(), oldPrice: z.number(), revision: z.number() }),
  key: (e) => e.productId, // ordering and partition key, optional
  sequence: (e) => e.revision, // the entity's version: rises with each event of the key; optional, needed for 'latest'
  description: 'The price of a product changed.',
});

export const CreateOrder = defineCommand('ordering.create-order', {
  schema: CreateOrderSchema,
  reply: z.object({ orderId: z.string() }), // optional
  to: 'ordering', // owning service; default: first segment of the name
});
type PriceChanged = EventOf<typeof ProductPriceChanged>; // schema output; InputOf, ReplyOf likewise

same<PriceChanged, { productId: string; newPrice: number; oldPrice: number; revision: number }>(true);
same<InputOf<typeof CreateOrder>, { userId: string; lines: { productId: string; quantity: number }[] }>(true);
same<ReplyOf<typeof CreateOrder>, { orderId: string }>(true);

const V2 = z.object({ productId: z.string(), newPrice: z.number(), oldPrice: z.number(), revision: z.number(), currency: z.string() });

export const ProductPriceChangedV2 = defineEvent('catalog.product-price-changed', {
  version: 2,
  schema: V2,
  previous: ProductPriceChanged, // an older version, or an older name
  upcast: (old) => ({ ...old, currency: 'EUR' }), // old output → new input: receivers of v2 take v1 as well
  downcast: ({ currency, ...e }) => e, // new output → old input: publishers of v2 also send v1, under the same id
});
