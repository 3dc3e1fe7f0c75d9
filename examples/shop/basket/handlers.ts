import type { Bus, SqlTransaction } from 'waybill';
import { BasketChanged } from '../contracts/basket.ts';
import { ProductAdded, ProductPriceChanged } from '../contracts/catalog.ts';
import { learnPrice, learnProduct, reprice } from './tables.ts';

/**
 * What the basket does when it hears of something. Each handler's writes, what it publishes, and the note that this message
 * is done are one transaction. Order `latest`: whoever comes with an older revision than the one applied is skipped.
 */
export function subscribe(bus: Bus<SqlTransaction>): void {
  bus.subscribe(ProductAdded, { order: 'latest', from: 'beginning' }, async ({ productId, name, priceCents, revision }, ctx) => {
    await learnProduct(ctx.tx, { productId, name, priceCents, revision, asOf: ctx.message.time.toISOString() });
  });

  bus.subscribe(
    ProductPriceChanged,
    { order: 'latest', from: 'beginning' },
    async ({ productId, newPriceCents, revision }, ctx) => {
      const price = { productId, priceCents: newPriceCents, revision, asOf: ctx.message.time.toISOString() };
      await learnPrice(ctx.tx, price);
      const changed = await reprice(ctx.tx, price);
      await ctx.publishAll(changed.map((basket) => BasketChanged.of(basket)));
    },
  );
}
