import * as z from 'zod';

/** Made at checkout, so that the visitor has an address for the order before ordering has heard of it. */
export const OrderId = z.uuid();
