import { createBus, defineCommand, defineEvent, defineSaga, type ReplyFailure } from 'waybill';
import * as z from 'zod';
import { same } from './equal.ts';

const Submitted = defineEvent('ordering.submitted', { schema: z.object({ orderId: z.string(), at: z.string().transform((text) => new Date(text)) }) });
const Pay = defineCommand('payment.pay', { schema: z.object({ amount: z.number() }), reply: z.object({ paidAt: z.string().transform((text) => new Date(text)) }) });
const Ship = defineCommand('shipping.ship', { schema: z.object({ orderId: z.string() }) });
const State = z.object({ orderId: z.string(), lines: z.array(z.string()).default([]), note: z.string().optional() });
const bus = createBus({ service: 'ordering' });

const definition = { state: State, initial: (orderId: string) => ({ orderId }), timeouts: { grace: 1, payment: 2 }, steps: ['stock', 'money'] } as const;

export const process_ = defineSaga('order-process', { ...definition, late: 'fail', version: 2, migrate: (old: { id: string }, from) => ({ orderId: `${old.id}${from}` }) })
  .startedBy(Submitted, (event) => event.orderId, async (event, saga) => {
    same<typeof event, { orderId: string; at: Date }>(true);
    same<typeof saga.state, { orderId: string; lines: string[]; note?: string | undefined }>(true);
    saga.state.lines.push('x');
    saga.state = { orderId: saga.key, lines: [] };
    saga.timeout('grace');
    saga.timeout('payment', 5_000);
    saga.done('stock');
    await saga.send(Pay, { amount: 1 });
    await saga.publish(Submitted, { orderId: saga.message.id, at: '2026-01-01' });
    // @ts-expect-error an unknown timeout
    saga.timeout('graze');
    // @ts-expect-error an unknown timeout
    saga.cancelTimeout('stock');
    // @ts-expect-error an unknown step
    saga.done('grace');
    // @ts-expect-error the state's schema has no such field
    saga.state.other = 1;
    // @ts-expect-error wrong data
    await saga.send(Pay, { amount: '1' });
    // @ts-expect-error an event is not sent
    await saga.send(Submitted, { orderId: '', at: '' });
    // @ts-expect-error a saga has no transaction
    saga.tx satisfies unknown;
  })
  .onReply(
    Pay,
    (reply, saga) => {
      same<typeof reply, { paidAt: Date }>(true);
      saga.complete();
    },
    (failure, saga) => {
      same<typeof failure, ReplyFailure>(true);
      saga.undo();
    },
  )
  .onReply(Ship, (reply) => same<typeof reply, void>(true))
  .onTimeout('grace', (saga) => saga.undo())
  .onTimeout('payment', async (saga) => saga.undo())
  .compensate('stock', async (saga) => void (await saga.send(Ship, { orderId: saga.key })))
  .compensate('money', () => {});
bus.run(process_);
bus.run(process_, { retry: false, concurrency: 4, afterFailure: 'pass' });

const saga = defineSaga('s', definition);
// @ts-expect-error an unknown timeout
saga.onTimeout('graze', () => {});
// @ts-expect-error an unknown step
saga.compensate('grace', () => {});
// @ts-expect-error a command starts nothing
saga.startedBy(Pay, () => '', () => {});
// @ts-expect-error the key is a string
saga.on(Submitted, (event) => event.at, () => {});
// @ts-expect-error an event has no reply
saga.onReply(Submitted, () => {});
// @ts-expect-error the initial state misses a field
defineSaga('s', { state: State, initial: () => ({}) });
// @ts-expect-error a timeout is a number of milliseconds
defineSaga('s', { state: State, initial: (orderId) => ({ orderId }), timeouts: { grace: '1 s' } });
const none = defineSaga('none', { state: State, initial: (orderId) => ({ orderId }) });
none.on(Submitted, (event) => event.orderId, (_, one) => {
  // @ts-expect-error it has no timeouts
  one.timeout('grace');
  // @ts-expect-error it has no steps
  one.done('stock');
});
// @ts-expect-error what is no saga cannot be run
bus.run(Submitted);
// @ts-expect-error a saga's queue is named after it
bus.run(process_, { name: 'other' });
// @ts-expect-error a saga keeps the order of its key
bus.run(process_, { order: 'any' });
