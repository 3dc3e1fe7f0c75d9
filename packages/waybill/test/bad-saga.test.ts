/** Sagas that contradict themselves: refused where they are defined, or where a bus is to run them, with the next step. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError, defineSaga } from 'waybill';
import { createTestBus } from 'waybill/testing';
import * as z from 'zod';
import { AuthorizePayment, OrderState, OrderSubmitted, StockConfirmed, VoidPayment, orderProcess } from './support/order-process.ts';

const fine = { state: z.object({ orderId: z.string() }), initial: (orderId: string) => ({ orderId }) };
const define = (definition: object, name: unknown = 'process') => defineSaga(name as string, { ...fine, ...definition } as never) as any;
const byOrder = (event: { orderId: string }): string => event.orderId;
const step = (): void => {};

const isRefusal = (says: RegExp) => (error: unknown) => {
  assert.ok(WaybillError.is(error, 'INVALID_SAGA'), String(error));
  assert.match(error.message, says);
  return true;
};

describe('defineSaga refuses', () => {
  const bad: [what: string, make: () => unknown, says: RegExp][] = [
    ['an upper-case name', () => define({}, 'Process'), /lower-case letters/],
    ['a name with a dot', () => define({}, 'order.process'), /lower-case letters/],
    ['a name past 80 characters', () => define({}, 'p'.repeat(81)), /up to 80/],
    ['__proto__ as name', () => define({}, '__proto__'), /lower-case letters/],
    ['a name that is none', () => define({}, 7), /lower-case letters/],
    ['no definition', () => defineSaga('process', undefined as never), /\{ state, initial \}/],
    ['a word that it does not know', () => define({ timeout: 5 }), /"timeout" is no part/],
    ['a state that is no schema', () => define({ state: { parse: step } }), /Standard Schema/],
    ['a version that is no whole number from 1', () => define({ version: 0.5 }), /version/],
    ['an initial that is no function', () => define({ initial: {} }), /\(key\) => state/],
    ['timeouts that are no object', () => define({ timeouts: 5 }), /names and milliseconds/],
    ['a timeout of no time', () => define({ timeouts: { grace: '1m' } }), /grace must be a number of milliseconds/],
    ['a timeout past a hundred years', () => define({ timeouts: { grace: 1e15 } }), /grace must be a number of milliseconds/],
    ['__proto__ as timeout', () => define({ timeouts: JSON.parse('{"__proto__": 5}') as object }), /1 to 80 characters/],
    ['a step that is no text', () => define({ steps: [7] }), /1 to 80 characters/],
    ['a step twice', () => define({ steps: ['stock', 'stock'] }), /each once/],
    ['steps without end', () => define({ steps: Array.from({ length: 65 }, (_, i) => `s${i}`) }), /at most 64/],
    ['a late that it does not know', () => define({ late: 'retry' }), /'drop' or 'fail'/],
    ['a migrate that is no function', () => define({ version: 2, migrate: {} }), /migrate must be a function/],
    ['a previous that is no saga', () => define({ version: 2, previous: {} }), /defineSaga/],
    ['a previous of the same version', () => define({ previous: define({}) }), /older version of the same saga/],
    ['a previous of another name', () => define({ version: 2, previous: define({}, 'other') }), /older version of the same saga/],
    ['a command where an event is due', () => define({}).on(AuthorizePayment, byOrder, step), /onReply/],
    ['an event without key', () => define({}).startedBy(OrderSubmitted, undefined, step), /key/],
    ['a step that is no function', () => define({}).startedBy(OrderSubmitted, byOrder, 'reserve'), /must be a function/],
    ['two steps of one event', () => define({}).startedBy(OrderSubmitted, byOrder, step).on(OrderSubmitted, byOrder, step), /has a step already/],
    ['a reply to an event', () => define({}).onReply(OrderSubmitted, step), /nobody replies/],
    ['two steps of one reply', () => define({}).onReply(AuthorizePayment, step).onReply(AuthorizePayment, step), /has a step already/],
    ['what takes a failed command and is no function', () => define({}).onReply(VoidPayment, step, 'give up'), /must be a function/],
    ['a timeout that is not named', () => define({ timeouts: { grace: 1 } }).onTimeout('grave', step), /"grave": name it in timeouts/],
    ['a timeout from the prototype', () => define({}).onTimeout('constructor', step), /"constructor": name it in timeouts/],
    ['two steps of one timeout', () => define({ timeouts: { grace: 1 } }).onTimeout('grace', step).onTimeout('grace', step), /has a step already/],
    ['a compensation of what is no step', () => define({ steps: ['stock'] }).compensate('stick', step), /"stick": name it in steps/],
    ['two compensations of one step', () => define({ steps: ['stock'] }).compensate('stock', step).compensate('stock', step), /compensated already/],
  ];
  for (const [what, make, says] of bad) {
    it(what, () => {
      assert.throws(make, isRefusal(says));
    });
  }

  it('nothing of a saga that is whole', () => {
    assert.equal(orderProcess().name, 'order-process');
  });
});

describe('bus.run refuses', () => {
  const bus = createTestBus({ service: 'ordering' });
  const bad: [what: string, saga: () => unknown, says: RegExp][] = [
    ['what is no saga', () => ({ name: 'process' }), /defineSaga/],
    ['one that nothing starts', () => define({}).on(StockConfirmed, byOrder, step), /startedBy/],
    ['a timeout that nobody takes', () => define({ timeouts: { grace: 1 } }).startedBy(OrderSubmitted, byOrder, step), /grace has no onTimeout/],
    ['a step that nothing undoes', () => define({ steps: ['stock'] }).startedBy(OrderSubmitted, byOrder, step), /stock has no compensate/],
  ];
  for (const [what, saga, says] of bad) {
    it(`${what}, and keeps nothing of it`, () => {
      assert.throws(() => bus.run(saga() as never), isRefusal(says));
      assert.doesNotThrow(() => createTestBus({ service: 'ordering' }).run(define({}).startedBy(OrderSubmitted, byOrder, step)));
    });
  }

  it('a step that is added to one that a bus runs', () => {
    const saga = define({ state: OrderState, initial: (orderId: string) => ({ orderId }) }).startedBy(OrderSubmitted, byOrder, step);
    bus.run(saga);
    assert.throws(() => saga.on(StockConfirmed, byOrder, step), isRefusal(/a bus runs it already/));
  });
});
