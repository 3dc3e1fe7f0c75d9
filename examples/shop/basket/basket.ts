import type { BasketLine } from '../contracts/basket.ts';
import { QUANTITY_MAX } from '../contracts/quantity.ts';

/** Different products in one basket. */
export const LINES_MAX = 100;

/** A product as the basket knows it: a copy, fed by the catalogue's events. */
export interface KnownProduct {
  readonly productId: string;
  readonly name: string;
  readonly priceCents: number;
  readonly revision: number;
  readonly asOf: string;
}

export type Refusal = 'too-many-pieces' | 'too-many-lines';

/**
 * The line after `quantity` more pieces of a product were put into the basket. A new line remembers the price of this
 * moment; a line that is there already keeps the price it remembers, so that the visitor hears of every change since.
 */
export function addItem(lines: readonly BasketLine[], product: KnownProduct, quantity: number): BasketLine | Refusal {
  const line = lines.find(({ productId }) => productId === product.productId);
  if (!line && lines.length >= LINES_MAX) return 'too-many-lines';
  const pieces = (line?.quantity ?? 0) + quantity;
  if (pieces > QUANTITY_MAX) return 'too-many-pieces';
  return {
    productId: product.productId,
    name: product.name,
    quantity: pieces,
    unitPriceCents: product.priceCents,
    priceWhenAddedCents: line?.priceWhenAddedCents ?? product.priceCents,
    priceRevision: product.revision,
    priceAsOf: product.asOf,
  };
}
