/** The saga of a torture run: an order's stock is reserved and its payment authorized, or whatever was done is taken back. */
import { defineSaga } from 'waybill';
import * as z from 'zod';
import { AuthorizePayment, byOrder, OrderSubmitted, ReleaseStock, ReserveStock, StockConfirmed, StockRejected, VoidPayment } from './contracts.ts';
import { monotonicMs } from './history.ts';
import { graceMs, takesGraceBack } from './role.ts';

const State = z.object({ orderId: z.string(), setMs: z.number(), firedMs: z.number().nullable(), takenBack: z.boolean(), steps: z.array(z.string()) });

export function orderProcess(mishap: () => void) {
  return defineSaga('order-process', {
    state: State,
    initial: (orderId) => ({ orderId, setMs: 0, firedMs: null, takenBack: false, steps: [] }),
    timeouts: { grace: graceMs },
    steps: ['stock', 'payment'],
  })
    .startedBy(OrderSubmitted, byOrder, async ({ orderId }, saga) => {
      saga.state.steps.push('submitted');
      saga.state.setMs = monotonicMs();
      saga.timeout('grace');
      saga.done('stock'); // it may be, from now on
      await saga.send(ReserveStock, { orderId });
      mishap();
    })
    .on(StockConfirmed, byOrder, async ({ orderId }, saga) => {
      saga.state.steps.push('confirmed');
      saga.done('payment');
      if (takesGraceBack(orderId)) {
        saga.cancelTimeout('grace');
        saga.state.takenBack = true;
      }
      await saga.send(AuthorizePayment, { orderId });
      mishap();
    })
    .on(StockRejected, byOrder, (_, saga) => {
      saga.state.steps.push('rejected');
      saga.undo();
      mishap();
    })
    .onReply(
      AuthorizePayment,
      ({ approved }, saga) => {
        saga.state.steps.push(approved ? 'approved' : 'declined');
        mishap();
        if (approved) saga.complete();
        else saga.undo();
      },
      ({ code }, saga) => {
        saga.state.steps.push(code);
        saga.undo();
        mishap();
      },
    )
    .onTimeout('grace', (saga) => {
      saga.state.firedMs = monotonicMs();
      saga.undo();
      mishap();
    })
    .compensate('stock', async (saga) => {
      mishap();
      saga.state.steps.push('undo stock');
      await saga.send(ReleaseStock, { orderId: saga.key });
    })
    .compensate('payment', async (saga) => {
      saga.state.steps.push('undo payment');
      await saga.send(VoidPayment, { orderId: saga.key });
      mishap();
    });
}
