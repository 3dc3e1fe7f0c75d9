/**
 * Where the pieces of a product are. Their sum never changes: what is put aside for an order is neither on sale nor sold,
 * so that nothing is sold twice.
 */
export interface Stock {
  readonly available: number;
  readonly reserved: number;
  readonly sold: number;
}

export interface Pieces {
  readonly productId: string;
  readonly quantity: number;
}

/**
 * What became of an order's pieces.
 *
 *     (nothing) ──reserve──▶ reserved ──take──▶ taken ──release──▶ released
 *         │                     └────release────────────────────▶ released
 *         ├──reserve, not enough──▶ rejected
 *         └──release──▶ released: an order that was cancelled before we heard of it is never put aside
 */
export type ReservationState = 'reserved' | 'rejected' | 'taken' | 'released';

/** Of each product of an order, whether there is enough. A product that nobody knows has none. */
export function checkStock(
  wanted: readonly Pieces[],
  stock: ReadonlyMap<string, Stock>,
): { productId: string; hasStock: boolean }[] {
  return wanted.map(({ productId, quantity }) => ({
    productId,
    hasStock: (stock.get(productId)?.available ?? 0) >= quantity,
  }));
}

/** How an order's step moves its pieces. */
export function move(stock: Stock, quantity: number, step: 'reserve' | 'take' | 'give-back' | 'take-back'): Stock {
  const { available, reserved, sold } = stock;
  switch (step) {
    case 'reserve':
      return { available: available - quantity, reserved: reserved + quantity, sold };
    case 'take':
      return { available, reserved: reserved - quantity, sold: sold + quantity };
    case 'give-back':
      return { available: available + quantity, reserved: reserved - quantity, sold };
    case 'take-back':
      return { available: available + quantity, reserved, sold: sold - quantity };
  }
}

/** The pieces of an order by product, each once, in one order for everybody: who locks in the same order never blocks another for ever. */
export function piecesByProduct(items: readonly Pieces[]): Pieces[] {
  const pieces = new Map<string, number>();
  for (const { productId, quantity } of items) pieces.set(productId, (pieces.get(productId) ?? 0) + quantity);
  return [...pieces]
    .map(([productId, quantity]) => ({ productId, quantity }))
    .toSorted((a, b) => (a.productId < b.productId ? -1 : 1));
}
