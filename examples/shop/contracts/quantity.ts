import * as z from 'zod';

/** Pieces of one product in one basket. */
export const QUANTITY_MAX = 99;

export const Quantity = z.int().min(1).max(QUANTITY_MAX);
