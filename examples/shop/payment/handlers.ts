import type { Bus, SqlTransaction } from 'waybill';
import {
  AuthorizePayment,
  OrderPaymentFailed,
  OrderPaymentRefunded,
  OrderPaymentSucceeded,
  RefundPayment,
} from '../contracts/payment.ts';
import type { Gateway } from './gateway.ts';
import { saveCharge, saveRefund } from './payments.ts';

/** Milliseconds before a gateway that is away is asked again, at first; after about ten seconds somebody should look. */
const RETRY_MS = 500;

/**
 * Money is taken outside of any database: no transaction can undo it. So the handlers are `manual`: the call carries the
 * message's idempotency key, which is the same however often the message is tried, and what came of it is committed afterwards,
 * together with the note that the message is done. Whenever we die, the gateway is asked again under the same key.
 */
export function subscribe(bus: Bus<SqlTransaction>, gateway: Gateway, retryMs = RETRY_MS): void {
  const retry = { immediate: 0, delayed: 5, delayMs: retryMs, delayMaxMs: 10 * retryMs };

  bus.handle(
    AuthorizePayment,
    { name: 'ordering.authorize-payment', transaction: 'manual', retry },
    async ({ orderId, amountCents, paymentToken }, ctx) => {
      const call = { key: ctx.idempotencyKey, signal: ctx.signal };
      const charged = await gateway.charge({ orderId, amountCents, token: paymentToken }, call);
      await ctx.transaction(async (tx) => {
        if ('declined' in charged) {
          await saveCharge(tx, { orderId, amountCents, chargeId: undefined });
          await ctx.publish(OrderPaymentFailed, { orderId, reason: charged.declined });
        } else {
          await saveCharge(tx, { orderId, amountCents, chargeId: charged.chargeId });
          await ctx.publish(OrderPaymentSucceeded, { orderId, amountCents, chargeId: charged.chargeId });
        }
      });
    },
  );

  bus.handle(
    RefundPayment,
    { name: 'ordering.refund-payment', transaction: 'manual', retry },
    async ({ orderId, amountCents, chargeId }, ctx) => {
      await gateway.refund({ orderId, amountCents, chargeId }, { key: ctx.idempotencyKey, signal: ctx.signal });
      await ctx.transaction(async (tx) => {
        await saveRefund(tx, orderId);
        await ctx.publish(OrderPaymentRefunded, { orderId, amountCents });
      });
    },
  );
}
