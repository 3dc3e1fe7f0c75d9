import type { Bus, SqlTransaction } from 'waybill';
import { BasketChanged } from '../contracts/basket.ts';
import { ProductAdded, ProductPriceChanged } from '../contracts/catalog.ts';
import type { Live } from './live.ts';
import { saveBasket, savePrice, saveProduct } from './read-model.ts';

/**
 * Feeds the read model, and tells open pages of it once it is committed: what a page is told, it can read.
 *
 * Products come in two events that build on each other, so one subscription takes both, in the order of each product's key.
 * A basket comes whole in each event, so only the latest counts.
 */
export function subscribe(bus: Bus<SqlTransaction>, live: Live): void {
  bus
    .subscription('catalog.product-view', { order: 'by-key', from: 'beginning' })
    .on(ProductAdded, async (product, ctx) => {
      await saveProduct(ctx.tx, { ...product, asOf: ctx.message.time.toISOString() });
      ctx.afterCommit(() => live.tell('products'));
    })
    .on(ProductPriceChanged, async ({ productId, newPriceCents, revision }, ctx) => {
      await savePrice(ctx.tx, { productId, priceCents: newPriceCents, revision, asOf: ctx.message.time.toISOString() });
      ctx.afterCommit(() => live.tell('products'));
    });

  bus.subscribe(BasketChanged, { order: 'latest', from: 'beginning' }, async (basket, ctx) => {
    await saveBasket(ctx.tx, basket, ctx.message.time.toISOString());
    ctx.afterCommit(() => live.tell('basket', basket.visitorId));
  });
}
