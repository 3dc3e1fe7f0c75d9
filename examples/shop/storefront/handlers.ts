import type { Bus, HandlerContext, SqlTransaction } from 'waybill';
import { BasketChanged, UserCheckoutAccepted } from '../contracts/basket.ts';
import { ProductAdded, ProductPriceChanged, ProductStockChanged } from '../contracts/catalog.ts';
import { begin } from '../service/begin.ts';
import {
  GracePeriodConfirmed,
  OrderCancelRequested,
  OrderStatusChangedToAwaitingValidation,
  OrderStatusChangedToCancelled,
  OrderStatusChangedToPaid,
  OrderStatusChangedToShipped,
  OrderStatusChangedToStockConfirmed,
  OrderStatusChangedToSubmitted,
} from '../contracts/ordering.ts';
import type { Live } from './live.ts';
import { addStep, insertOrder, type Step } from './orders.ts';
import { saveBasket, savePrice, saveProduct, saveStock } from './read-model.ts';

/**
 * Feeds the read model, and tells open pages of it once it is committed: what a page is told, it can read.
 *
 * Products come in two events that build on each other, so one subscription takes both, in the order of each product's key.
 * A basket comes whole in each event, so only the latest counts.
 */
export function subscribe(bus: Bus<SqlTransaction>, live: Live): void {
  bus
    .subscription('catalog.product-view', { order: 'by-key', from: begin })
    .on(ProductAdded, async (product, ctx) => {
      await saveProduct(ctx.tx, { ...product, asOf: ctx.message.time.toISOString() });
      ctx.afterCommit(() => live.tell('products'));
    })
    .on(ProductPriceChanged, async ({ productId, newPriceCents, revision }, ctx) => {
      await savePrice(ctx.tx, { productId, priceCents: newPriceCents, revision, asOf: ctx.message.time.toISOString() });
      ctx.afterCommit(() => live.tell('products'));
    })
    .on(ProductStockChanged, async (stock, ctx) => {
      await saveStock(ctx.tx, stock);
      ctx.afterCommit(() => live.tell('products'));
    });

  const step = async (event: About, ctx: HandlerContext<SqlTransaction>, said: Omit<Step, 'at'>): Promise<void> => {
    await addStep(ctx.tx, event.orderId, { ...said, at: ctx.message.time.toISOString() });
    ctx.afterCommit(() => live.tell('orders', event.visitorId));
  };
  bus
    .subscription('ordering.order-view', { order: 'by-key', from: begin })
    .on(OrderStatusChangedToSubmitted, async (order, ctx) => {
      await insertOrder(ctx.tx, order, ctx.message.time.toISOString());
      await step(order, ctx, { status: 'Submitted', text: 'Taken on. It can be cancelled for free for a moment.' });
    })
    .on(OrderCancelRequested, (event, ctx) => step(event, ctx, { text: 'You asked to cancel it.' }))
    .on(GracePeriodConfirmed, (event, ctx) => step(event, ctx, { text: 'The time to cancel for free is over.' }))
    .on(OrderStatusChangedToAwaitingValidation, (event, ctx) =>
      step(event, ctx, { status: 'AwaitingValidation', text: 'Catalog is asked to put the pieces aside.' }),
    )
    .on(OrderStatusChangedToStockConfirmed, (event, ctx) =>
      step(event, ctx, { status: 'StockConfirmed', text: 'Every piece is put aside. Payment is asked to charge.' }),
    )
    .on(OrderStatusChangedToPaid, (event, ctx) => step(event, ctx, { status: 'Paid', text: 'The card was charged. It is being packed.' }))
    .on(OrderStatusChangedToShipped, (event, ctx) => step(event, ctx, { status: 'Shipped', text: 'It has left.' }))
    .on(OrderStatusChangedToCancelled, (event, ctx) => step(event, ctx, { status: 'Cancelled', text: whyCancelled(event) }));

  bus.subscribe(UserCheckoutAccepted, { from: begin }, async (order, ctx) => {
    await insertOrder(ctx.tx, order, ctx.message.time.toISOString());
    ctx.afterCommit(() => live.tell('orders', order.visitorId));
  });

  bus.subscribe(BasketChanged, { order: 'latest', from: begin }, async (basket, ctx) => {
    await saveBasket(ctx.tx, basket, ctx.message.time.toISOString());
    ctx.afterCommit(() => live.tell('basket', basket.visitorId));
  });
}

interface About {
  readonly orderId: string;
  readonly visitorId: string;
}

function whyCancelled({ reason, refunded, missing }: OrderStatusChangedToCancelled): string {
  switch (reason) {
    case 'by-visitor':
      return refunded ? 'Cancelled as you asked. What was charged is paid back.' : 'Cancelled as you asked. Nothing was charged.';
    case 'out-of-stock':
      return `Not enough in stock (${missing.join(', ')}), so it was cancelled. Nothing was charged.`;
    case 'payment-declined':
      return 'The card was declined, so it was cancelled. Nothing was charged.';
  }
}
