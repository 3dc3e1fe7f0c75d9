import { defineSaga } from 'waybill';
import * as z from 'zod';
import { OrderStockConfirmed, OrderStockRejected, ReleaseStock } from '../contracts/catalog.ts';
import {
  GracePeriodConfirmed,
  OrderCancelRequested,
  OrderStatusChangedToAwaitingValidation,
  OrderStatusChangedToCancelled,
  OrderStatusChangedToPaid,
  OrderStatusChangedToShipped,
  OrderStatusChangedToStockConfirmed,
  OrderStatusChangedToSubmitted,
  type CancelReason,
} from '../contracts/ordering.ts';
import { AuthorizePayment, OrderPaymentFailed, OrderPaymentSucceeded, RefundPayment } from '../contracts/payment.ts';

const State = z.object({
  orderId: z.string(),
  visitorId: z.string(),
  pieces: z.array(z.object({ productId: z.string(), quantity: z.number() })),
  totalCents: z.number(),
  paymentToken: z.string(),
  at: z.enum(['new', 'grace', 'stock', 'payment', 'shipping', 'done']),
  /** Wanted no more while the gateway was being asked: decided once it has answered. */
  cancelRequested: z.boolean(),
  chargeId: z.string(),
});
type State = z.output<typeof State>;

export interface Pace {
  /** Milliseconds in which an order can be cancelled before anything was done for it. */
  readonly graceMs: number;
  /** Milliseconds that it takes to pack a parcel. */
  readonly packingMs: number;
}

/**
 * An order's way, from taken on to shipped or cancelled. Decides, and remembers what has to be taken back when the order comes
 * to nothing; each decision is told to the others by an event, and the rows of orders follow those events like everybody else.
 *
 *     new ─submitted─▶ grace ─time─▶ stock ─confirmed─▶ payment ─succeeded─▶ shipping ─time─▶ done
 *                        └─ cancelled, out of stock, declined: what was done is undone, last first ─▶ done
 */
export function orderProcess({ graceMs, packingMs }: Pace) {
  return defineSaga('order-process', {
    state: State,
    version: 1,
    initial: (orderId): State => ({
      orderId,
      visitorId: '',
      pieces: [],
      totalCents: 0,
      paymentToken: '',
      at: 'new',
      cancelRequested: false,
      chargeId: '',
    }),
    timeouts: { grace: graceMs, packing: packingMs },
    steps: ['stock', 'payment'],
  })
    .startedBy(OrderStatusChangedToSubmitted, byOrder, ({ visitorId, items, totalCents, paymentToken }, saga) => {
      const pieces = items.map(({ productId, quantity }) => ({ productId, quantity }));
      saga.state = { ...saga.state, visitorId, pieces, totalCents, paymentToken, at: 'grace' };
      saga.timeout('grace');
    })
    .onTimeout('grace', async (saga) => {
      const { orderId, visitorId, pieces } = saga.state;
      saga.state.at = 'stock';
      // From here on pieces may be put aside, so from here on they are to be given back.
      saga.done('stock');
      await saga.publish(GracePeriodConfirmed, { orderId, visitorId });
      await saga.publish(OrderStatusChangedToAwaitingValidation, { orderId, visitorId, items: pieces });
    })
    .on(OrderStockConfirmed, byOrder, async (_, saga) => {
      const { orderId, visitorId, totalCents, paymentToken } = saga.state;
      saga.state.at = 'payment';
      await saga.publish(OrderStatusChangedToStockConfirmed, { orderId, visitorId });
      await saga.send(AuthorizePayment, { orderId, amountCents: totalCents, paymentToken });
    })
    .on(OrderStockRejected, byOrder, async ({ items }, saga) => {
      const missing = items.filter(({ hasStock }) => !hasStock).map(({ productId }) => productId);
      await cancel(saga, 'out-of-stock', missing);
    })
    .on(OrderPaymentSucceeded, byOrder, async ({ chargeId }, saga) => {
      const { orderId, visitorId, cancelRequested } = saga.state;
      saga.state.chargeId = chargeId;
      saga.done('payment');
      if (cancelRequested) return await cancel(saga, 'by-visitor');
      saga.state.at = 'shipping';
      await saga.publish(OrderStatusChangedToPaid, { orderId, visitorId });
      saga.timeout('packing');
    })
    .on(OrderPaymentFailed, byOrder, async (_, saga) => {
      await cancel(saga, saga.state.cancelRequested ? 'by-visitor' : 'payment-declined');
    })
    .onTimeout('packing', async (saga) => {
      const { orderId, visitorId } = saga.state;
      saga.state.at = 'done';
      await saga.publish(OrderStatusChangedToShipped, { orderId, visitorId });
      saga.complete();
    })
    .on(OrderCancelRequested, byOrder, async (_, saga) => {
      // The gateway is being asked: whether there is something to pay back shows when it has answered.
      if (saga.state.at === 'payment') saga.state.cancelRequested = true;
      else await cancel(saga, 'by-visitor');
    })
    .compensate('stock', async (saga) => {
      await saga.send(ReleaseStock, { orderId: saga.state.orderId });
    })
    .compensate('payment', async (saga) => {
      const { orderId, chargeId, totalCents } = saga.state;
      await saga.send(RefundPayment, { orderId, chargeId, amountCents: totalCents });
    });
}

function byOrder(message: { orderId: string }): string {
  return message.orderId;
}

interface Ending {
  state: State;
  publish(event: typeof OrderStatusChangedToCancelled, data: OrderStatusChangedToCancelled): Promise<unknown>;
  cancelTimeout(name: 'grace' | 'packing'): void;
  undo(): void;
}

async function cancel(saga: Ending, reason: CancelReason, missing: string[] = []): Promise<void> {
  const { orderId, visitorId, chargeId } = saga.state;
  saga.state.at = 'done';
  saga.cancelTimeout('grace');
  saga.cancelTimeout('packing');
  await saga.publish(OrderStatusChangedToCancelled, { orderId, visitorId, reason, refunded: chargeId !== '', missing });
  saga.undo();
}
