import { defineEvent, type EventOf } from 'waybill';
import * as z from 'zod';
import { PriceCents } from './money.ts';

const ProductId = z.string().min(1).max(64);

/** Rises by one with each change of a product, so that a receiver knows which of two events is the newer one. */
const Revision = z.int().min(1);

export const ProductAdded = defineEvent('catalog.product-added', {
  description: 'A product is on sale.',
  schema: z.object({
    productId: ProductId,
    revision: Revision,
    name: z.string(),
    category: z.string(),
    details: z.string(),
    /** What a picture of it shows: `mug`, `tent`. */
    kind: z.string(),
    colour: z.string(),
    priceCents: PriceCents,
    stock: z.int().min(0),
    /** Where it stands in the shop: lower numbers come first. */
    place: z.int().min(0),
  }),
  key: (event) => event.productId,
  sequence: (event) => event.revision,
});
export type ProductAdded = EventOf<typeof ProductAdded>;

export const ProductPriceChanged = defineEvent('catalog.product-price-changed', {
  description: 'The price of a product is another one. Says what it is now, not by how much it moved.',
  schema: z.object({
    productId: ProductId,
    revision: Revision,
    newPriceCents: PriceCents,
    oldPriceCents: PriceCents,
  }),
  key: (event) => event.productId,
  sequence: (event) => event.revision,
});
export type ProductPriceChanged = EventOf<typeof ProductPriceChanged>;
