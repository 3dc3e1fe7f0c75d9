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

const byOrder = (event: { orderId: string }): string => event.orderId;
const aboutOrder = z.object({ orderId: OrderId, visitorId: z.string() });

/** Number of pieces by product, as a warehouse needs it. */
const Pieces = z.object({ productId: z.string(), quantity: z.int().min(1) });

// --- what ordering is told to do ---

export const CreateOrder = defineCommand('ordering.create-order', {
  description: 'Take on an order. One request of one visitor makes one order, however often it is asked.',
  schema: z.object({ requestId: z.string(), ...Placed.shape }),
  key: byOrder,
});

// --- what happens to an order ---

export const OrderStarted = defineEvent('ordering.order-started', {
  description: 'An order was taken on. Its visitor’s basket has done its duty.',
  schema: z.object({ ...aboutOrder.shape, items: z.array(Pieces) }),
  key: byOrder,
});

export const OrderStatusChangedToSubmitted = defineEvent('ordering.order-status-changed-to-submitted', {
  description: 'An order was taken on. For a grace period nothing is done yet, so that it can be cancelled for free.',
  schema: Placed,
  key: byOrder,
});

export const OrderCancelRequested = defineEvent('ordering.order-cancel-requested', {
  description: 'Its visitor wants an order no more. What becomes of it is decided where the order is.',
  schema: aboutOrder,
  key: byOrder,
});

export const GracePeriodConfirmed = defineEvent('ordering.grace-period-confirmed', {
  description: 'The time in which an order could be cancelled for free is over.',
  schema: aboutOrder,
  key: byOrder,
});

export const OrderStatusChangedToAwaitingValidation = defineEvent('ordering.order-status-changed-to-awaiting-validation', {
  description: 'The catalogue is to put the pieces of an order aside.',
  schema: z.object({ ...aboutOrder.shape, items: z.array(Pieces) }),
  key: byOrder,
});

export const OrderStatusChangedToStockConfirmed = defineEvent('ordering.order-status-changed-to-stock-confirmed', {
  description: 'Every piece of an order was put aside. It is about to be paid.',
  schema: aboutOrder,
  key: byOrder,
});

export const OrderStatusChangedToPaid = defineEvent('ordering.order-status-changed-to-paid', {
  description: 'An order was paid. The catalogue gives out what it had put aside.',
  schema: aboutOrder,
  key: byOrder,
});

export const OrderStatusChangedToShipped = defineEvent('ordering.order-status-changed-to-shipped', {
  description: 'An order has left.',
  schema: aboutOrder,
  key: byOrder,
});

export const CANCEL_REASONS = ['by-visitor', 'out-of-stock', 'payment-declined'] as const;
export type CancelReason = (typeof CANCEL_REASONS)[number];

export const OrderStatusChangedToCancelled = defineEvent('ordering.order-status-changed-to-cancelled', {
  description: 'An order will not be fulfilled. What was put aside for it is free again; what was paid is paid back.',
  schema: z.object({ ...aboutOrder.shape, reason: z.enum(CANCEL_REASONS), refunded: z.boolean(), missing: z.array(z.string()) }),
  key: byOrder,
});

export type OrderStatusChangedToCancelled = EventOf<typeof OrderStatusChangedToCancelled>;
