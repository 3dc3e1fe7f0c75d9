import { defineCommand, defineEvent, type EventOf } from 'waybill';
import * as z from 'zod';
import { PriceCents } from './money.ts';
import { OrderId } from './order-id.ts';

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

export const ProductStockChanged = defineEvent('catalog.product-stock-changed', {
  description: 'How many pieces of a product are on sale now: neither put aside for an order nor sold.',
  schema: z.object({ productId: ProductId, revision: Revision, available: z.int().min(0) }),
  key: (event) => event.productId,
  sequence: (event) => event.revision,
});
export type ProductStockChanged = EventOf<typeof ProductStockChanged>;

export const OrderStockConfirmed = defineEvent('catalog.order-stock-confirmed', {
  description: 'Every piece of an order was put aside for it.',
  schema: z.object({ orderId: OrderId }),
  key: (event) => event.orderId,
});

export const OrderStockRejected = defineEvent('catalog.order-stock-rejected', {
  description: 'Not every piece of an order is there, so none was put aside.',
  schema: z.object({
    orderId: OrderId,
    /** Every product of the order; one that the catalogue does not know has none in stock. */
    items: z.array(z.object({ productId: z.string(), hasStock: z.boolean() })),
  }),
  key: (event) => event.orderId,
});

export const ReleaseStock = defineCommand('catalog.release-stock', {
  description: 'What was put aside for an order is on sale again; what has not been put aside yet never will be.',
  schema: z.object({ orderId: OrderId }),
  key: (command) => command.orderId,
});
