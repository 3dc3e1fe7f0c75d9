import { defineCommand, defineEvent, type EventOf } from 'waybill';
import * as z from 'zod';
import { PriceCents } from './money.ts';
import { OrderId } from './order-id.ts';
import { Quantity } from './quantity.ts';

const Item = z.object({
  productId: z.string(),
  name: z.string(),
  quantity: Quantity,
  /** What the page showed when it was ordered: nothing else is ever charged. */
  unitPriceCents: PriceCents,
});
export type OrderItem = z.output<typeof Item>;

/** An order as its visitor placed it: everything later refers to it by id. */
const Placed = z.object({
  orderId: OrderId,
  visitorId: z.string(),
  items: z.array(Item).min(1),
  totalCents: z.int().min(1),
  /** Stands for a card at the payment gateway. The card's number never comes this far. */
  paymentToken: z.string().max(80),
});
export type PlacedOrder = z.output<typeof Placed>;

/** Number of pieces by product, as a warehouse needs it. */
const Pieces = z.object({ productId: z.string(), quantity: z.int().min(1) });

const About = z.object({ orderId: OrderId, visitorId: z.string() });
const AboutItems = z.object({ ...About.shape, items: z.array(Pieces) });

export const CANCEL_REASONS = ['by-visitor', 'out-of-stock', 'payment-declined'] as const;
export type CancelReason = (typeof CANCEL_REASONS)[number];
const AboutEnd = z.object({ ...About.shape, reason: z.enum(CANCEL_REASONS), refunded: z.boolean(), missing: z.array(z.string()) });

// --- what ordering is told to do ---

export const CreateOrder = defineCommand('ordering.create-order', {
  description: 'Take on an order. One request of one visitor makes one order, however often it is asked.',
  schema: z.object({ requestId: z.string(), ...Placed.shape }),
  key: ({ orderId }) => orderId,
});

// --- what happens to an order: all of it has the order as its key, so that it is heard in the order in which it happened ---

export const OrderStarted = orderEvent('ordering.order-started', AboutItems, 'An order was taken on. Its visitor’s basket has done its duty.');

export const OrderStatusChangedToSubmitted = orderEvent(
  'ordering.order-status-changed-to-submitted',
  Placed,
  'An order was taken on. For a grace period nothing is done yet, so that it can be cancelled for free.',
);

export const OrderCancelRequested = orderEvent(
  'ordering.order-cancel-requested',
  About,
  'Its visitor wants an order no more. What becomes of it is decided where the order is.',
);

export const GracePeriodConfirmed = orderEvent(
  'ordering.grace-period-confirmed',
  About,
  'The time in which an order could be cancelled for free is over.',
);

export const OrderStatusChangedToAwaitingValidation = orderEvent(
  'ordering.order-status-changed-to-awaiting-validation',
  AboutItems,
  'The catalogue is to put the pieces of an order aside.',
);

export const OrderStatusChangedToStockConfirmed = orderEvent(
  'ordering.order-status-changed-to-stock-confirmed',
  About,
  'Every piece of an order was put aside. It is about to be paid.',
);

export const OrderStatusChangedToPaid = orderEvent(
  'ordering.order-status-changed-to-paid',
  About,
  'An order was paid. The catalogue gives out what it had put aside.',
);

export const OrderStatusChangedToShipped = orderEvent('ordering.order-status-changed-to-shipped', About, 'An order has left.');

export const OrderStatusChangedToCancelled = orderEvent(
  'ordering.order-status-changed-to-cancelled',
  AboutEnd,
  'An order will not be fulfilled. What was put aside for it is free again; what was paid is paid back.',
);
export type OrderStatusChangedToCancelled = EventOf<typeof OrderStatusChangedToCancelled>;

function orderEvent<const Name extends string, Output extends { orderId: string }, Input>(
  name: Name,
  schema: z.ZodType<Output, Input>,
  description: string,
) {
  return defineEvent(name, { description, schema, key: ({ orderId }) => orderId });
}
