import type { ProductAdded, ProductPriceChanged } from '../contracts/catalog.ts';
import type { Cents } from '../contracts/money.ts';
import { RANGE } from './range.ts';

/** A product is what its first event says of it; from then on price and revision change. */
export type Product = ProductAdded;

/**
 * What a new price means: the event to tell of it, or undefined when the price stays what it is, for then nothing has
 * happened that anybody should hear of.
 */
export function changePrice(
  product: Pick<Product, 'productId' | 'priceCents' | 'revision'>,
  newPriceCents: Cents,
): ProductPriceChanged | undefined {
  if (newPriceCents === product.priceCents) return undefined;
  return { productId: product.productId, revision: product.revision + 1, newPriceCents, oldPriceCents: product.priceCents };
}

/** The whole range as products on their first day, so placed that no two of a kind stand side by side. */
export function firstCatalogue(): Product[] {
  const kinds = Object.entries(RANGE);
  return kinds.flatMap(([kind, { category, items }], kindIndex) =>
    items.map(([name, colour, priceCents, details], index) => ({
      productId: slug(name),
      revision: 1,
      name,
      category,
      details,
      kind,
      colour,
      priceCents,
      stock: 3 + ((kindIndex * 29 + index * 17 + 43) % 60),
      place: index * kinds.length + kindIndex,
    })),
  );
}

/** A price near `priceCents`, as a burst of changes makes it: up to a tenth off, never below half a euro. */
export function nearbyPrice(priceCents: Cents, chance: () => number): Cents {
  const off = Math.round(priceCents * (chance() * 0.2 - 0.1));
  return Math.max(50, priceCents + (off === 0 ? 1 : off));
}

/** `Crêpe pan` → `crepe-pan` */
export function slug(name: string): string {
  return name
    .normalize('NFD')
    .replace(/[\u0300-\u036f’.]/g, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-');
}
