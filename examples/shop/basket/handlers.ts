import type { Bus, SqlTransaction } from 'waybill';
import { BasketChanged } from '../contracts/basket.ts';
import { ProductAdded, ProductPriceChanged } from '../contracts/catalog.ts';
import { OrderStarted } from '../contracts/ordering.ts';
import { begin } from '../service/begin.ts';
import { endCheckout } from './checkout.ts';
import { learnPrice, learnProduct, linesOf, removePieces, reprice, touchBasket } from './tables.ts';

/**
 * What the basket does when it hears of something. Each handler's writes, what it publishes, and the note that this message
 * is done are one transaction. Order `latest`: whoever comes with an older revision than the one applied is skipped.
 */
export function subscribe(bus: Bus<SqlTransaction>): void {
  bus.subscribe(ProductAdded, { order: 'latest', from: begin }, async ({ productId, name, priceCents, revision }, ctx) => {
    await learnProduct(ctx.tx, { productId, name, priceCents, revision, asOf: ctx.message.time.toISOString() });
  });

  bus.subscribe(
    ProductPriceChanged,
    { order: 'latest', from: begin },
    async ({ productId, newPriceCents, revision }, ctx) => {
      const price = { productId, priceCents: newPriceCents, revision, asOf: ctx.message.time.toISOString() };
      await learnPrice(ctx.tx, price);
      const changed = await reprice(ctx.tx, price);
      await ctx.publishAll(changed.map((basket) => BasketChanged.of(basket)));
    },
  );

  // What was ordered leaves the basket (G24); what was put in since then stays.
  bus.subscribe(OrderStarted, { order: 'by-key', from: begin }, async ({ orderId, visitorId, items }, ctx) => {
    await endCheckout(ctx.tx, visitorId, orderId);
    const revision = await touchBasket(ctx.tx, visitorId);
    for (const { productId, quantity } of items) await removePieces(ctx.tx, { visitorId, productId, quantity });
    await ctx.publish(BasketChanged, { visitorId, revision, lines: await linesOf(ctx.tx, visitorId) });
  });
}
