import { defineEvent, type EventOf } from 'waybill';
import * as z from 'zod';
import { PriceCents } from './money.ts';

/** Pieces of one product in one basket. */
export const QUANTITY_MAX = 99;

const Line = z.object({
  productId: z.string(),
  name: z.string(),
  quantity: z.int().min(1).max(QUANTITY_MAX),
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
