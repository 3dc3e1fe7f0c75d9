/** Long conversations. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Reject, RetryLater, type SagaOptions, type WaybillError, defineCommand, defineSaga } from 'waybill';
import { createTestBus } from 'waybill/testing';
import { operations } from 'waybill/operations';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { memory as memoryStore } from '../src/stores/memory/index.ts';
import { AuthorizePayment, OrderCancelled, OrderPaid, OrderState, OrderSubmitted, ReleaseStock, ReserveStock, StockConfirmed, StockRejected, VoidPayment, orderProcess } from './support/order-process.ts';
import { overStores } from './support/stores.ts';

const o1 = { orderId: 'o1' };

/** Ordering with its saga, and the services that it speaks to. */
function world(store: string, saga = orderProcess(), options: SagaOptions = {}) {
  const transport = memory();
  const ordering = createTestBus({ service: 'ordering', store, transport });
  const stock = createTestBus({ service: 'stock', store, transport });
  const payment = createTestBus({ service: 'payment', store, transport });
  const seen: string[] = [];
  const takes = (what: string) => (command: { orderId: string }): void => void seen.push(`${what} ${command.orderId}`);
  stock.handle(ReserveStock, takes('reserve'));
  stock.handle(ReleaseStock, takes('release'));
  payment.handle(VoidPayment, takes('void'));
  let pay: () => { approved: boolean } = () => ({ approved: true });
  payment.handle(AuthorizePayment, { retry: { immediate: 0, delayed: 1 } }, () => pay());
  ordering.run(saga, options);
  const history = (signal: string) => ordering.history().filter((entry) => entry.signal === signal).map(({ detail }) => detail as any);
  return {
    ordering, stock, payment, seen,
    pays: (how: typeof pay) => void (pay = how),
    statuses: () => history('saga').map(({ key, status }) => `${key} ${status}`),
    ignored: () => history('saga-ignored').map(({ reason }) => reason as string),
    async [Symbol.asyncDispose]() {
      for (const bus of [ordering, stock, payment]) await bus.stop();
    },
  }; // prettier-ignore
}

overStores('a saga', (store) => {
  it('goes from message to message, and completes', async () => {
    await using w = world(store);
    await w.ordering.publish(OrderSubmitted, o1);
    await w.ordering.settled();
    assert.deepEqual(w.seen, ['reserve o1']);
    await w.stock.publish(StockConfirmed, o1);
    await w.ordering.settled();
    assert.deepEqual(w.ordering.published(OrderPaid), [o1]);
    assert.deepEqual(w.statuses(), ['o1 running', 'o1 completed']);
    await w.ordering.advance(100_000);
    assert.deepEqual(w.seen, ['reserve o1'], 'no timeout comes after the end');
    assert.deepEqual(await w.ordering.failures(), []);
  });

  it('undoes what is done, in reverse, when a timeout comes, and not before', async () => {
    await using w = world(store);
    await w.payment.start();
    w.pays(() => { throw new Error('never'); });
    await w.ordering.publish(OrderSubmitted, o1);
    await w.ordering.settled();
    await w.ordering.advance(59_999);
    assert.deepEqual(w.statuses(), ['o1 running']);
    await w.ordering.advance(1);
    await w.ordering.settled();
    assert.deepEqual(w.seen, ['reserve o1', 'release o1']);
    assert.deepEqual(w.statuses(), ['o1 running', 'o1 undoing', 'o1 compensated']);
    assert.deepEqual(w.ordering.published(OrderCancelled), [o1]);
  });

  it('undoes several steps, each in a transaction of its own', async () => {
    await using w = world(store);
    w.pays(() => ({ approved: false }));
    await w.ordering.publish(OrderSubmitted, o1);
    await w.stock.publish(StockConfirmed, o1);
    await w.ordering.settled();
    assert.deepEqual(w.seen, ['reserve o1', 'void o1', 'release o1']);
    assert.deepEqual(w.statuses(), ['o1 running', 'o1 undoing', 'o1 compensated']);
  });

  it('takes the code of a handler that gave up', async () => {
    await using w = world(store);
    w.pays(() => { throw new Reject('no money', { code: 'BROKE' }); });
    await w.ordering.publish(OrderSubmitted, o1);
    await w.stock.publish(StockConfirmed, o1);
    await w.ordering.settled();
    assert.deepEqual(w.statuses().at(-1), 'o1 compensated');
    assert.deepEqual(await w.ordering.failures(), []);
  });

  it('takes a message that came before it', async () => {
    await using w = world(store);
    await w.stock.publish(StockConfirmed, o1);
    await w.ordering.settled();
    await w.ordering.publish(OrderSubmitted, o1);
    await w.ordering.settled();
    assert.deepEqual(w.ordering.published(OrderPaid), [o1]);
  });

  it('is not begun by what starts none: that is a failure in the end, which holds nobody up', async () => {
    await using w = world(store, orderProcess(), { retry: { delayed: 3 } });
    await w.stock.publish(StockConfirmed, o1);
    await w.ordering.settled();
    await w.ordering.advance(60_000);
    const [failure] = await w.ordering.failures();
    assert.equal(failure!.error.code, 'SAGA_NOT_FOUND');
    await w.ordering.publish(OrderSubmitted, o1);
    await w.ordering.settled();
    assert.deepEqual(w.seen, ['reserve o1']);
  });

  it('drops and counts what comes after its end', async () => {
    await using w = world(store);
    await w.ordering.publish(OrderSubmitted, o1);
    await w.stock.publish(StockRejected, o1);
    await w.ordering.settled();
    await w.stock.publish(StockConfirmed, o1);
    await w.ordering.publish(OrderSubmitted, o1);
    await w.ordering.settled();
    assert.deepEqual(w.ignored(), ['late', 'late']);
    assert.deepEqual(w.statuses(), ['o1 running', 'o1 undoing', 'o1 compensated']);
    assert.deepEqual(w.ordering.sent(AuthorizePayment), []);
  });

  it("parks what comes after its end with late: 'fail'", async () => {
    await using w = world(store, orderProcess({ late: 'fail' }));
    await w.ordering.publish(OrderSubmitted, o1);
    await w.stock.publish(StockRejected, o1);
    await w.ordering.settled();
    await w.stock.publish(StockConfirmed, o1);
    await w.ordering.settled();
    assert.deepEqual((await w.ordering.failures()).map(({ error, holds }) => [error.code, holds]), [['SAGA_ENDED', false]]);
  });

  it('is parked when a step fails for good, holds its later messages, and goes on when that is retried', async () => {
    let broken = true;
    const saga = defineSaga('fragile', { state: OrderState, initial: (orderId) => ({ orderId, paid: false, steps: [] }) })
      .startedBy(OrderSubmitted, (e) => e.orderId, (_, s) => void s.state.steps.push('submitted'))
      .on(StockConfirmed, (e) => e.orderId, (_, s) => {
        if (broken) throw new Error('a bug');
        s.state.steps.push('stock');
      })
      .on(OrderPaid, (e) => e.orderId, async (_, s) => {
        await s.publish(OrderCancelled, { orderId: s.state.steps.join() });
        s.complete();
      });
    await using bus = createTestBus({ service: 'ordering', store });
    bus.run(saga, { retry: false });
    for (const event of [OrderSubmitted, StockConfirmed, OrderPaid]) await bus.publish(event, o1);
    await bus.publish(OrderSubmitted, { orderId: 'o2' });
    await bus.settled();
    const list = async () => (await operations(bus).sagas.list()).map(({ key, status }) => `${key} ${status}`);
    assert.deepEqual(await list(), ['o1 parked', 'o2 running']);
    const [shown] = await operations(bus).sagas.list({ status: 'parked' });
    assert.deepEqual([shown!.saga, shown!.parked?.code, shown!.parked?.message], ['ordering.fragile', 'HANDLER_FAILED', 'a bug']);
    assert.deepEqual(bus.published(OrderCancelled), []);
    broken = false;
    await operations(bus).failures.retry({ type: StockConfirmed.type });
    await bus.settled();
    assert.deepEqual(await list(), ['o1 completed', 'o2 running']);
    assert.deepEqual(bus.published(OrderCancelled), [{ orderId: 'submitted,stock' }]);
  });

  it('resumes a compensation at the step that failed', async () => {
    let broken = true;
    const undone: string[] = [];
    const saga = defineSaga('undoing', { state: OrderState, initial: (orderId) => ({ orderId, paid: false, steps: [] }), steps: ['a', 'b', 'c'] })
      .startedBy(OrderSubmitted, (e) => e.orderId, (_, s) => {
        for (const step of ['a', 'b', 'c', 'a'] as const) s.done(step);
        s.undo();
      })
      .compensate('a', () => void undone.push('a'))
      .compensate('b', () => {
        if (broken) throw new Error('not now');
        undone.push('b');
      })
      .compensate('c', () => void undone.push('c'));
    await using bus = createTestBus({ service: 'ordering', store });
    bus.run(saga, { retry: false });
    await bus.publish(OrderSubmitted, o1);
    await bus.settled();
    assert.deepEqual(undone, ['c']);
    const [parked] = await operations(bus).sagas.list();
    assert.deepEqual([parked!.status, parked!.steps], ['parked', [{ step: 'a', undone: false }, { step: 'b', undone: false }, { step: 'c', undone: true }]]);
    broken = false;
    await operations(bus).failures.retry({});
    await bus.settled();
    assert.deepEqual(undone, ['c', 'b', 'a']);
    assert.equal((await operations(bus).sagas.list())[0]!.status, 'compensated');
  });

  it('is parked too when a message of it kills the process, again and again', async () => {
    let deadly = true;
    await using bus = createTestBus({ service: 'ordering', store });
    const saga = defineSaga('deadly', { state: z.object({}), initial: () => ({}) })
      .startedBy(OrderSubmitted, (e) => e.orderId, () => {})
      .on(StockConfirmed, (e) => e.orderId, async (_, s) => {
        if (deadly) {
          bus.crash();
          await new Promise(() => {});
        }
        s.complete();
      });
    bus.run(saga);
    await bus.publish(OrderSubmitted, o1);
    await bus.settled();
    await bus.publish(StockConfirmed, o1);
    for (let i = 0; i < 10; i++) await bus.advance(2_000);
    assert.deepEqual((await bus.failures()).map(({ error }) => error.code), ['HANDLER_CRASHED']);
    const [shown] = await operations(bus).sagas.list();
    assert.deepEqual([shown!.status, shown!.parked?.code], ['parked', 'HANDLER_CRASHED']);
    deadly = false;
    await operations(bus).failures.retry({});
    await bus.settled();
    assert.equal((await operations(bus).sagas.list())[0]!.status, 'completed');
  });

  it('goes on when its failure was deleted and it is resumed, at the step where it stood', async () => {
    const undone: string[] = [];
    const saga = defineSaga('undoing', { state: z.object({}), initial: () => ({}), steps: ['a', 'b'] })
      .startedBy(OrderSubmitted, (e) => e.orderId, (_, s) => {
        s.done('a');
        s.done('b');
        s.undo();
      })
      .compensate('a', () => void undone.push('a'))
      .compensate('b', () => {
        if (undone.length === 0 && !mended) throw new Error('not now');
        undone.push('b');
      });
    let mended = false;
    await using bus = createTestBus({ service: 'ordering', store });
    bus.run(saga, { retry: false });
    await bus.publish(OrderSubmitted, o1);
    await bus.settled();
    const { sagas, failures } = operations(bus);
    assert.equal((await sagas.list())[0]!.status, 'parked');
    assert.equal(await failures.delete({}), 1);
    mended = true;
    assert.equal(await sagas.resume('undoing', 'o1'), true);
    assert.equal(await sagas.resume('undoing', 'o1'), true, 'twice: the second finds nothing to do');
    await bus.settled();
    assert.deepEqual(undone, ['b', 'a']);
    assert.equal((await sagas.list())[0]!.status, 'compensated');
    assert.equal(await sagas.resume('undoing', 'o1'), false);
    assert.equal(await sagas.resume('undoing', 'o2'), false);
    await assert.rejects(sagas.resume('other', 'o1'), (error) => (error as WaybillError).code === 'INVALID_OPTION');
  });

  it('knows the reply to a command whose send it did not await', async () => {
    const saga = defineSaga('hasty', { state: z.object({}), initial: () => ({}) })
      .startedBy(OrderSubmitted, (e) => e.orderId, (e, s) => void s.send(AuthorizePayment, e))
      .onReply(AuthorizePayment, (_, s) => s.complete());
    const transport = memory();
    await using payment = createTestBus({ service: 'payment', store, transport });
    payment.handle(AuthorizePayment, () => ({ approved: true }));
    await using bus = createTestBus({ service: 'ordering', store, transport });
    bus.run(saga);
    await bus.publish(OrderSubmitted, o1);
    await bus.settled();
    assert.equal((await operations(bus).sagas.list())[0]!.status, 'completed');
  });

  it('keeps a timeout over a crash; setting it again replaces it, taking it back removes it', async () => {
    const fired: string[] = [];
    const saga = defineSaga('timers', { state: z.object({}), initial: () => ({}), timeouts: { one: 10_000, two: 10_000, three: 10_000 } })
      .startedBy(OrderSubmitted, (e) => e.orderId, (_, s) => {
        s.timeout('one');
        s.timeout('two', 5_000);
        s.timeout('three');
      })
      .on(StockConfirmed, (e) => e.orderId, (_, s) => {
        s.timeout('two', 20_000);
        s.cancelTimeout('three');
      })
      .onTimeout('one', () => void fired.push('one'))
      .onTimeout('two', () => void fired.push('two'))
      .onTimeout('three', () => void fired.push('three'));
    await using bus = createTestBus({ service: 'ordering', store });
    bus.run(saga);
    await bus.publish(OrderSubmitted, o1);
    await bus.settled();
    await bus.advance(4_000);
    await bus.publish(StockConfirmed, o1);
    await bus.settled();
    bus.crash();
    await bus.settled();
    assert.deepEqual((await operations(bus).waiting.list()).map(({ reason }) => reason), ['timeout', 'timeout']);
    await bus.advance(5_999);
    assert.deepEqual(fired, []);
    await bus.advance(1);
    assert.deepEqual(fired, ['one']);
    await bus.advance(13_999);
    assert.deepEqual(fired, ['one']);
    await bus.advance(1);
    assert.deepEqual(fired, ['one', 'two']);
    await bus.advance(60_000);
    assert.deepEqual(fired, ['one', 'two']);
  });

  it('does nothing, and says so, when a timeout that was taken back comes all the same', async () => {
    let broken = true;
    const saga = defineSaga('timers', { state: z.object({}), initial: () => ({}), timeouts: { one: 1_000 } })
      .startedBy(OrderSubmitted, (e) => e.orderId, (_, s) => s.timeout('one'))
      .on(StockConfirmed, (e) => e.orderId, (_, s) => s.cancelTimeout('one'))
      .onTimeout('one', () => {
        if (broken) throw new Error('a bug');
        throw new Error('must not run');
      });
    await using bus = createTestBus({ service: 'ordering', store });
    bus.run(saga, { retry: false, afterFailure: 'pass' });
    await bus.publish(OrderSubmitted, o1);
    await bus.settled();
    await bus.advance(1_000); // now it is in failures, where nobody can take it back
    assert.equal((await bus.failures()).length, 1);
    await bus.publish(StockConfirmed, o1);
    await bus.settled();
    broken = false;
    await operations(bus).failures.retry({});
    await bus.settled();
    assert.deepEqual(await bus.failures(), []);
    assert.deepEqual(bus.history().filter(({ signal }) => signal === 'saga-ignored').map(({ detail }) => (detail as any).reason), ['timeout']);
  });

  it('refuses a state that does not fit: nothing of the step happens', async () => {
    const saga = defineSaga('typed', { state: OrderState, initial: (orderId) => ({ orderId, paid: false, steps: [] }) }).startedBy(OrderSubmitted, (e) => e.orderId, async (_, s) => {
      await s.send(ReserveStock, o1);
      s.state.paid = 'yes' as never;
    });
    await using bus = createTestBus({ service: 'ordering', store });
    bus.run(saga);
    await bus.publish(OrderSubmitted, o1);
    await bus.settled();
    assert.deepEqual((await bus.failures()).map(({ error, attempts }) => [error.code, attempts]), [['CONTRACT_VIOLATION', 1]]);
    assert.deepEqual(bus.sent(ReserveStock), []);
    assert.deepEqual(await operations(bus).sagas.list(), []);
  });

  it('lets nothing begin after its end, also in the step that ends it', async () => {
    const codes: string[] = [];
    const attempt = (work: () => void): void => {
      try {
        work();
      } catch (error) {
        codes.push((error as WaybillError).code);
      }
    };
    const saga = defineSaga('strict', { state: z.object({}), initial: () => ({}), timeouts: { t: 1 }, steps: ['s'] })
      .startedBy(OrderSubmitted, (e) => e.orderId, async (_, s) => {
        s.done('s');
        s.undo();
        for (const call of [() => s.done('s'), () => s.timeout('t'), () => s.undo(), () => s.complete()]) attempt(call);
        await s.publish(OrderCancelled, o1); // but it may tell of it
      })
      .onTimeout('t', () => {})
      .compensate('s', (s) => attempt(() => s.timeout('t')));
    await using bus = createTestBus({ service: 'ordering', store });
    bus.run(saga);
    await bus.publish(OrderSubmitted, o1);
    await bus.settled();
    assert.deepEqual(codes, Array.from({ length: 5 }, () => 'SAGA_ENDED'));
    assert.deepEqual(bus.published(OrderCancelled), [o1]);
    assert.equal((await operations(bus).sagas.list())[0]!.status, 'compensated');
  });

  it('drops a reply that comes again, that it never asked for, or that another service gives', async () => {
    await using w = world(store);
    const Forged = defineCommand('waybill.reply.order-process', { to: 'ordering', schema: z.any(), key: () => 'o1' });
    w.pays(() => { throw new RetryLater(5_000); });
    await w.ordering.publish(OrderSubmitted, o1);
    await w.stock.publish(StockConfirmed, o1);
    await w.ordering.settled();
    const asked = w.ordering.messages().find(({ type }) => type === AuthorizePayment.type)!;
    const approved = { ok: true, data: { approved: true } };
    await w.stock.send(Forged, approved, { causationId: asked.id });
    await w.payment.send(Forged, approved, { causationId: 'never sent' });
    await w.ordering.settled();
    assert.deepEqual(w.ignored(), ['foreign-reply', 'reply']);
    assert.deepEqual(w.ordering.published(OrderPaid), []);
    w.pays(() => ({ approved: true }));
    await w.ordering.advance(6_000);
    assert.equal(w.ordering.published(OrderPaid).length, 1);
    const reply = w.payment.messages().findLast(({ type }) => type.startsWith('waybill.reply.'))!;
    assert.deepEqual([reply.kind, reply.recipient, reply.key], ['command', 'ordering', 'o1']);
    await w.ordering.redeliver(reply.id);
    await w.payment.send(Forged, approved, { causationId: asked.id });
    await w.ordering.settled();
    assert.equal(w.ordering.published(OrderPaid).length, 1);
    assert.ok(w.ordering.history().some(({ signal, detail }) => signal === 'duplicate' && (detail as any).id === reply.id));
    assert.deepEqual(w.ignored(), ['foreign-reply', 'reply', 'late']);
  });

  it('gets its reply although both sides were down meanwhile', async () => {
    const transport = memory();
    const [orders, money] = [memoryStore(), memoryStore()];
    const ordering = () => {
      const bus = createTestBus({ service: 'ordering', store: orders, transport });
      bus.run(orderProcess());
      return bus;
    };
    const payment = () => {
      const bus = createTestBus({ service: 'payment', store: money, transport });
      bus.handle(AuthorizePayment, () => ({ approved: true }));
      return bus;
    };
    await using stock = createTestBus({ service: 'stock', store, transport });
    stock.handle(ReserveStock, () => {});
    const first = ordering();
    const firstPayment = payment();
    await first.settled(); // both are known to the broker
    await firstPayment.stop();
    await first.publish(OrderSubmitted, o1);
    await stock.publish(StockConfirmed, o1);
    await stock.settled();
    assert.equal(first.sent(AuthorizePayment).length, 1);
    await first.stop();
    const replier = payment();
    await replier.settled();
    await replier.stop();
    await using again = ordering();
    await again.settled();
    assert.deepEqual(again.published(OrderPaid), [o1]);
  });

  it('takes its instances, timeouts and replies along when it is renamed', async () => {
    const transport = memory();
    const disk = memoryStore();
    const saga = (name: string) =>
      defineSaga(name, { state: z.object({}), initial: () => ({}), timeouts: { t: 60_000 } })
        .startedBy(OrderSubmitted, (e) => e.orderId, async (e, s) => {
          s.timeout('t');
          await s.send(AuthorizePayment, e);
        })
        .onReply(AuthorizePayment, async (_, s) => void (await s.publish(OrderPaid, { orderId: s.key })))
        .onTimeout('t', (s) => s.complete());
    await using payment = createTestBus({ service: 'payment', store, transport });
    let open = false;
    payment.handle(AuthorizePayment, () => {
      if (!open) throw new RetryLater(1_000);
      return { approved: true };
    });
    await using before = createTestBus({ service: 'ordering', store: disk, transport });
    before.run(saga('old-name'));
    await before.publish(OrderSubmitted, o1);
    await before.settled();
    await before.stop();
    await using after = createTestBus({ service: 'ordering', store: disk, transport });
    after.run(saga('new-name'), { formerly: ['old-name'] });
    await after.settled();
    open = true;
    await after.advance(5_000);
    assert.deepEqual(after.published(OrderPaid), [o1]);
    await after.advance(60_000);
    assert.deepEqual((await operations(after).sagas.list()).map(({ saga: of, status }) => [of, status]), [['ordering.new-name', 'completed']]);
  });

  it('goes on with the version that began it, or is migrated', async () => {
    const seen: string[] = [];
    const v1 = defineSaga('growing', { state: z.object({ n: z.number() }), initial: () => ({ n: 1 }) })
      .startedBy(OrderSubmitted, (e) => e.orderId, () => {})
      .on(StockConfirmed, (e) => e.orderId, (_, s) => void seen.push(`v1 ${s.key} ${s.state.n}`));
    const next = (how: object) =>
      defineSaga('growing', { version: 2, state: z.object({ total: z.number() }), initial: () => ({ total: 10 }), ...how })
        .startedBy(OrderSubmitted, (e) => e.orderId, () => {})
        .on(StockConfirmed, (e) => e.orderId, (_, s) => void seen.push(`v2 ${s.key} ${s.state.total}`));
    for (const [how, expected] of [
      [{ previous: v1 }, ['v1 a 1', 'v2 b 10']],
      [{ migrate: ({ n }: { n: number }, from: number) => ({ total: n * 100 + from }) }, ['v2 a 101', 'v2 b 10']],
    ] as const) {
      seen.length = 0;
      const disk = memoryStore();
      const transport = memory();
      await using before = createTestBus({ service: 'ordering', store: disk, transport });
      before.run(v1);
      await before.publish(OrderSubmitted, { orderId: 'a' });
      await before.settled();
      await before.stop();
      await using after = createTestBus({ service: 'ordering', store: disk, transport });
      after.run(next(how));
      assert.deepEqual(await operations(after).sagas.check(), []);
      await after.publish(OrderSubmitted, { orderId: 'b' });
      for (const orderId of ['a', 'b']) await after.publish(StockConfirmed, { orderId });
      await after.settled();
      assert.deepEqual(seen, expected);
    }
  });

  it('names instances that no definition can serve, and keeps their messages', async () => {
    const definition = (version: number) =>
      defineSaga('growing', { version, state: z.object({}), initial: () => ({}) })
        .startedBy(OrderSubmitted, (e) => e.orderId, () => {})
        .on(StockConfirmed, (e) => e.orderId, (_, s) => s.complete());
    const disk = memoryStore();
    const transport = memory();
    await using before = createTestBus({ service: 'ordering', store: disk, transport });
    before.run(definition(1));
    await before.publish(OrderSubmitted, o1);
    await before.settled();
    await before.stop();
    await using after = createTestBus({ service: 'ordering', store: disk, transport });
    after.run(definition(2), { retry: false });
    assert.deepEqual(await operations(after).sagas.check(), [
      { saga: 'ordering.growing', version: 1, instances: 1, why: 'the newest definition here is version 2, and neither `migrate` nor `previous` reaches version 1' },
    ]);
    await after.publish(StockConfirmed, o1);
    await after.settled();
    assert.deepEqual((await after.failures()).map(({ error }) => error.code), ['SAGA_UNSERVED']);
  });
});
