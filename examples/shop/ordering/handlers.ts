import type { Bus, SqlTransaction } from 'waybill';
import { UserCheckoutAccepted } from '../contracts/basket.ts';
import {
  CreateOrder,
  OrderStarted,
  OrderStatusChangedToAwaitingValidation,
  OrderStatusChangedToCancelled,
  OrderStatusChangedToPaid,
  OrderStatusChangedToShipped,
  OrderStatusChangedToStockConfirmed,
  OrderStatusChangedToSubmitted,
} from '../contracts/ordering.ts';
import { insertOrder, setStatus } from './orders.ts';

/** How orders come in, and how their rows follow what the process decides. */
export function subscribe(bus: Bus<SqlTransaction>): void {
  bus.subscribe(UserCheckoutAccepted, async (checkout, ctx) => {
    await ctx.send(CreateOrder, checkout);
  });

  // Row and events are one transaction: no order without its events, and no event without its order (case 7).
  bus.handle(CreateOrder, { name: 'ordering.create-order' }, async ({ requestId, ...order }, ctx) => {
    if (!(await insertOrder(ctx.tx, { requestId, ...order }))) return;
    const { orderId, visitorId } = order;
    const items = order.items.map(({ productId, quantity }) => ({ productId, quantity }));
    await ctx.publish(OrderStarted, { orderId, visitorId, items });
    await ctx.publish(OrderStatusChangedToSubmitted, order);
  });

  bus
    .subscription('ordering.order-rows', { order: 'by-key' })
    .on(OrderStatusChangedToAwaitingValidation, async ({ orderId }, { tx }) => setStatus(tx, orderId, 'AwaitingValidation'))
    .on(OrderStatusChangedToStockConfirmed, async ({ orderId }, { tx }) => setStatus(tx, orderId, 'StockConfirmed'))
    .on(OrderStatusChangedToPaid, async ({ orderId }, { tx }) => setStatus(tx, orderId, 'Paid'))
    .on(OrderStatusChangedToShipped, async ({ orderId }, { tx }) => setStatus(tx, orderId, 'Shipped'))
    .on(OrderStatusChangedToCancelled, async ({ orderId }, { tx }) => setStatus(tx, orderId, 'Cancelled'));
}
