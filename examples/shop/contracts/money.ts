import * as z from 'zod';

/**
 * Money is whole cents everywhere inside: in messages, tables and the domain. Programs that speak JSON to the storefront
 * see decimal numbers with at most two places (12.00 is `12`, 9.50 is `9.5`); only these two functions cross the border.
 */
export type Cents = number;

/** One hundred thousand euros: more is a slip of the keyboard. */
export const PRICE_CENTS_MAX = 10_000_000;

export const PriceCents = z.int().min(1).max(PRICE_CENTS_MAX);

/** 1250 → 12.5 */
export function toDecimal(cents: Cents): number {
  return cents / 100;
}

/** 12.5 → 1250; undefined for what is no price: negative, zero, too large, more than two places, not a number. */
export function toCents(decimal: number): Cents | undefined {
  const cents = Math.round(decimal * 100);
  // Decimal fractions are not exact in binary (9.95 * 100 is 994.9999…), so two places are checked by printing them.
  if (!Number.isFinite(decimal) || Number(decimal.toFixed(2)) !== decimal) return undefined;
  return cents >= 1 && cents <= PRICE_CENTS_MAX ? cents : undefined;
}
