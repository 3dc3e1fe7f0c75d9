import { defineEvent, type EventOf } from 'waybill';
import * as z from 'zod';
import { PriceCents } from './money.ts';
import { OrderId } from './order-id.ts';
import { Quantity } from './quantity.ts';

const Line = z.object({
  productId: z.string(),
  name: z.string(),
  quantity: Quantity,
  /** The newest price that the basket has heard of. */
  unitPriceCents: PriceCents,
  /** Stays what it was, through any number of changes. */
  priceWhenAddedCents: PriceCents,
  /** The catalogue's revision of the product that this price belongs to. */
  priceRevision: z.int().min(1),
  /** When the catalogue set that price. */
  priceAsOf: z.iso.datetime(),
});
export type BasketLine = z.output<typeof Line>;

export const BasketChanged = defineEvent('basket.basket-changed', {
  description: 'A basket, whole, as it is after a change by its visitor or by a new price.',
  schema: z.object({
    visitorId: z.string(),
    /** Rises by one with each change of this basket. */
    revision: z.int().min(1),
    lines: z.array(Line),
  }),
  key: (event) => event.visitorId,
  sequence: (event) => event.revision,
});
export type BasketChanged = EventOf<typeof BasketChanged>;

/** Whether the visitor should be told: the price is another one than when the line was added. */
export function hasNewPrice(line: Pick<BasketLine, 'unitPriceCents' | 'priceWhenAddedCents'>): boolean {
  return line.unitPriceCents !== line.priceWhenAddedCents;
}

export const UserCheckoutAccepted = defineEvent('basket.user-checkout-accepted', {
  description: 'A visitor orders what is in the basket, at the prices that the page showed.',
  schema: z.object({
    requestId: z.string(),
    orderId: OrderId,
    visitorId: z.string(),
    items: z.array(Line.pick({ productId: true, name: true, quantity: true, unitPriceCents: true })).min(1),
    totalCents: z.int().min(1),
    /** Stands for a card at the payment gateway. */
    paymentToken: z.string().max(80),
  }),
  key: (event) => event.orderId,
});
export type UserCheckoutAccepted = EventOf<typeof UserCheckoutAccepted>;
