/** Start, stop, pause, unsubscribe, rename; what a process leaves to the next one. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createBus, type HandlerContext, WaybillError } from 'waybill';
import type { Transport } from 'waybill';
import { operations } from 'waybill/operations';
import { sqlite } from 'waybill/stores/sqlite';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import { memory as memoryStore } from '../src/stores/memory/index.ts';
import { CreateOrder, Noted, Priced, Seen, Ship } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

const code = (expected: string) => (error: unknown) => WaybillError.is(error, expected as never) || assert.fail(`${String(error)}, not ${expected}`);

/** A transport that can declare no subscription. */
function unable(): Transport {
  const transport = memory();
  const declare = async (declaration: { readonly bindings: readonly { readonly type: string }[] }): Promise<void> => {
    if (declaration.bindings.some(({ type }) => type === 'desk.noted.v1')) throw new WaybillError('CAPABILITY_MISSING', 'not here');
  };
  return { ...transport, connect: async (host) => ({ ...(await transport.connect(host)), declare }) };
}

overStores('stop', (store) => {
  it('waits for the handler that runs, and takes no more', async () => {
    const bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    const running = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    bus.subscribe(Noted, { transaction: 'manual', concurrency: 1 }, async (event) => {
      running.resolve();
      await gate.promise;
      seen.push(event.text);
    });
    await bus.publishAll(['a', 'b', 'c'].map((text) => Noted.of({ text })));
    await running.promise;
    const stopped = bus.stop();
    gate.resolve();
    await stopped;
    assert.deepEqual(seen, ['a']);
    assert.equal(bus.history().filter(({ signal }) => signal === 'applied').length, 1);
  });

  it('gives back what it did not get to, for the next instance', async () => {
    const transport = memory();
    const first = createTestBus({ service: 'desk', store, transport });
    const seen: string[] = [];
    const running = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    first.subscribe(Noted, { transaction: 'manual', concurrency: 1 }, async (event) => {
      running.resolve();
      await gate.promise;
      seen.push(`1${event.text}`);
    });
    await first.publishAll(['a', 'b', 'c'].map((text) => Noted.of({ text })));
    await running.promise;
    const stopped = first.stop();
    gate.resolve();
    await stopped;
    await using second = createTestBus({ service: 'desk', store, transport });
    second.subscribe(Noted, (event) => void seen.push(`2${event.text}`));
    await second.settled();
    assert.deepEqual(seen, ['1a', '2b', '2c']);
  });

  it('redelivers nothing that finished', async () => {
    const transport = memory();
    const first = createTestBus({ service: 'desk', store, transport });
    const seen: string[] = [];
    first.subscribe(Noted, (event) => void seen.push(event.text));
    await first.publishAll(Array.from({ length: 200 }, (_, i) => Noted.of({ text: String(i) })));
    await first.stop();
    const finished = first.history().filter(({ signal }) => signal === 'applied').length;
    await using second = createTestBus({ service: 'desk', store, transport });
    second.subscribe(Noted, (event) => void seen.push(event.text));
    await second.settled();
    assert.equal(second.history().filter(({ signal }) => signal === 'applied').length, 200 - finished);
    assert.deepEqual(seen.map(Number).toSorted((a, b) => a - b), Array.from({ length: 200 }, (_, i) => i));
  });

  for (const transaction of ['shared', 'own', 'manual'] as const) {
    it(`abandons a '${transaction}' handler at the end of the drain: no attempt, no failure, it runs again elsewhere`, async () => {
      const transport = memory();
      const first = createTestBus({ service: 'desk', store, transport });
      let signal: AbortSignal | undefined;
      first.subscribe(Noted, { transaction, retry: false }, async (_, ctx) => {
        signal = ctx.signal;
        await new Promise((_, reject) => ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason as Error)));
      });
      const running = first.publish(Noted, { text: 'a' });
      await running;
      await first.advance(10);
      const began = first.clock.monotonic();
      await first.stop({ drainMs: 2_000 });
      assert.equal(first.clock.monotonic() - began, 2_000);
      assert.equal(signal?.aborted, true);
      assert.deepEqual(first.history().filter((entry) => entry.signal === 'failed' || entry.signal === 'retrying'), []);
      await using second = createTestBus({ service: 'desk', store, transport });
      const attempts: number[] = [];
      second.subscribe(Noted, { retry: false }, (_, ctx) => void attempts.push(ctx.attempt));
      await second.settled();
      assert.deepEqual(attempts, [1]);
    });
  }

  it('undoes a hanging transaction block of a manual handler', async () => {
    const bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, { transaction: 'manual' }, (_, ctx) => ctx.transaction(() => new Promise<void>(() => {})));
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(10);
    await bus.stop({ drainMs: 1_000 });
    assert.equal(bus.history().filter(({ signal }) => signal === 'applied').length, 0);
  });

  it('sends what was committed', async () => {
    const transport = memory();
    const first = createTestBus({ service: 'desk', store, transport });
    await first.start();
    await using other = createTestBus({ service: 'other', store, transport });
    const seen: string[] = [];
    other.subscribe(Noted, (event) => void seen.push(event.text));
    await other.start();
    await Promise.all(Array.from({ length: 100 }, (_, i) => first.publish(Noted, { text: String(i) })));
    await first.stop();
    await other.settled();
    assert.equal(seen.length, 100);
  });

  it('is bounded while the broker is away, and the next start sends the rest', async () => {
    const transport = memory();
    const shared = store === 'memory:' ? memoryStore() : undefined;
    const first = createTestBus({ service: 'desk', store: shared ?? store, transport });
    await first.start();
    transport.faults.set({ away: true });
    await first.publish(Noted, { text: 'a' });
    await first.stop({ drainMs: 5_000 });
    transport.faults.clear();
    if (!shared) return; // a database in memory is gone with its bus
    await using second = createTestBus({ service: 'desk', store: shared, transport });
    const seen: string[] = [];
    second.subscribe(Noted, (event) => void seen.push(event.text));
    await second.settled();
    assert.deepEqual(seen, ['a']);
  });

  it('may be called twice, before start, and at the same time', async () => {
    const unused = createTestBus({ service: 'desk', store });
    await unused.stop();
    await unused.stop();
    const bus = createTestBus({ service: 'desk', store });
    await bus.publish(Noted, { text: 'a' });
    await Promise.all([bus.stop(), bus.stop()]);
  });

  it('waits for a block of bus.transaction that runs', async () => {
    const bus = createTestBus({ service: 'desk', store });
    await bus.start();
    const gate = Promise.withResolvers<void>();
    const order: string[] = [];
    const block = bus
      .transaction(async (tx) => {
        await gate.promise;
        await bus.publish(Noted, { text: 'a' }, { tx });
        order.push('block');
      })
      .then(() => order.push('committed'));
    await new Promise((resolve) => void setImmediate(resolve));
    const stopped = bus.stop().then(() => order.push('stopped'));
    gate.resolve();
    await Promise.all([block, stopped]);
    assert.deepEqual(order, ['block', 'committed', 'stopped']);
    assert.equal(bus.published(Noted).length, 1);
  });

  it('closes the bus for everything', async () => {
    const bus = createTestBus({ service: 'desk', store });
    await bus.start();
    await bus.stop();
    await assert.rejects(bus.publish(Noted, { text: 'a' }), code('STOPPED'));
    await assert.rejects(bus.send(Ship, { orderId: 'o' }), code('STOPPED'));
    await assert.rejects(bus.publishAll([]), code('STOPPED'));
    await assert.rejects(bus.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 1 }), code('STOPPED'));
    await assert.rejects(bus.transaction(async () => {}), code('STOPPED'));
    await assert.rejects(bus.once('a', 'b', async () => {}), code('STOPPED'));
    await assert.rejects(bus.cancel('id'), code('STOPPED'));
    await assert.rejects(bus.start(), code('STOPPED'));
    assert.throws(() => bus.subscribe(Noted, () => {}), code('STOPPED'));
    assert.throws(() => bus.subscription('late'), code('STOPPED'));
  });
});

overStores('pause', (store) => {
  it('keeps this process from handling, while the queue fills; resume goes on', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    const subscription = bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    await subscription.pause();
    await bus.publish(Noted, { text: 'b' });
    await bus.advance(60_000);
    assert.deepEqual(seen, ['a']);
    await subscription.resume();
    await bus.settled();
    assert.deepEqual(seen, ['a', 'b']);
    assert.deepEqual(bus.history().map(({ signal }) => signal).filter((signal) => signal === 'paused' || signal === 'resumed'), ['paused', 'resumed']);
  });

  it('before start begins paused; twice is once', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    const subscription = bus.subscribe(Noted, (event) => void seen.push(event.text));
    await subscription.pause();
    await subscription.pause();
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(5_000);
    assert.deepEqual(seen, []);
    await subscription.resume();
    await subscription.resume();
    await bus.settled();
    assert.deepEqual(seen, ['a']);
  });

  it('leaves the work to the other instance', async () => {
    const transport = memory();
    const shared = memoryStore();
    await using one = createTestBus({ service: 'desk', store: shared, transport });
    await using two = createTestBus({ service: 'desk', store: shared, transport });
    const seen: string[] = [];
    const mine = one.subscribe(Noted, () => void seen.push('one'));
    two.subscribe(Noted, () => void seen.push('two'));
    await one.start();
    await mine.pause();
    await one.publishAll(['a', 'b', 'c'].map((text) => Noted.of({ text })));
    await one.settled();
    assert.deepEqual(seen, ['two', 'two', 'two']);
  });

  it('holds back retries too', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    const subscription = bus.subscribe(Noted, () => {
      runs++;
      throw new Error('no');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(runs, 3);
    await subscription.pause();
    await bus.advance(600_000);
    assert.equal(runs, 3);
    await subscription.resume();
    await bus.settled();
    assert.equal(runs, 4);
  });
});

overStores('unsubscribe', (store) => {
  it('applies what is queued, then takes no more, for the whole service', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    const subscription = bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.start();
    await subscription.pause();
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    const gone = subscription.unsubscribe();
    await subscription.resume();
    await gone;
    await bus.publish(Noted, { text: 'b' });
    await bus.settled();
    assert.deepEqual(seen, ['a']);
  });

  it('drops what is queued when asked to', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    const subscription = bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.start();
    await subscription.pause();
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    await subscription.unsubscribe({ queued: 'drop' });
    await bus.advance(5_000);
    assert.deepEqual(seen, []);
    await subscription.unsubscribe();
  });

  it('frees the name for another subscription', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    const first = bus.subscribe(Noted, () => void seen.push('first'));
    await bus.start();
    await first.unsubscribe();
    const second = bus.subscribe(Noted, () => void seen.push('second'));
    await second.ready();
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(seen, ['second']);
  });

  it('refuses a word that it does not know, and a bus that has not started', async () => {
    await using bus = createTestBus({ service: 'desk', store, autoStart: false });
    const subscription = bus.subscribe(Noted, () => {});
    await assert.rejects(subscription.unsubscribe({ queued: 'keep' as never }), code('INVALID_OPTION'));
    await assert.rejects(subscription.unsubscribe(), code('NOT_STARTED'));
  });
});

overStores('a renamed subscription', (store) => {
  it('goes on with queue, inbox and what waits of its old name', async () => {
    const transport = memory();
    const shared = store === 'memory:' ? memoryStore() : sqlite(':memory:');
    const first = createTestBus({ service: 'desk', store: shared, transport });
    const seen: string[] = [];
    const old = first.subscribe(Noted, { name: 'before' }, (event) => void seen.push(event.text));
    const { id } = await first.publish(Noted, { text: 'a' });
    await first.settled();
    await old.pause();
    await first.publish(Noted, { text: 'queued' });
    await first.settled();
    await first.stop();
    await using second = createTestBus({ service: 'desk', store: store === 'memory:' ? shared : sqlite(':memory:'), transport });
    second.subscribe(Noted, { name: 'after', formerly: ['before'] }, (event) => void seen.push(event.text));
    await second.start();
    await second.settled();
    assert.deepEqual(seen, ['a', 'queued']);
    if (store === 'memory:') {
      await second.publish(Noted, { text: 'a' }, { id });
      await second.settled();
      assert.deepEqual(seen, ['a', 'queued'], 'the inbox came along');
    }
  });
});

overStores('a subscription after start', (store) => {
  it('is ready when `ready` says so, and gets what comes from then on', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.start();
    const seen: string[] = [];
    const subscription = bus.subscribe(Noted, (event) => void seen.push(event.text));
    await subscription.ready();
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(seen, ['a']);
  });

  it('may have several events, added in the same turn and not later', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.start();
    const seen: string[] = [];
    const subscription = bus.subscription('both').on(Noted, () => void seen.push('noted')).on(Seen, () => void seen.push('seen'));
    await subscription.ready();
    assert.throws(() => subscription.on(Priced, () => {}), code('INVALID_OPTION'));
    await bus.publishAll([Noted.of({ text: 'a' }), Seen.of({ what: 'b' })]);
    await bus.settled();
    assert.deepEqual(seen, ['noted', 'seen']);
  });

  it('without a handler is refused: `ready` rejects', async () => {
    await using bus = createBus({ service: 'desk', store, transport: memory() });
    await bus.start();
    await assert.rejects(bus.subscription('empty').ready(), code('INVALID_OPTION'));
  });

  it('that the transport refuses is refused: `ready` rejects', async () => {
    await using bus = createBus({ service: 'desk', store, transport: unable() });
    await bus.start();
    await assert.rejects(bus.subscribe(Noted, () => {}).ready(), code('CAPABILITY_MISSING'));
  });
});

overStores('start', (store) => {
  it('is idempotent', async () => {
    await using bus = createBus({ service: 'desk', store, transport: memory() });
    await Promise.all([bus.start(), bus.start()]);
    await bus.start();
  });

  it('rejects when a subscription has no handler, and may be called again once it has', async () => {
    await using bus = createBus({ service: 'desk', store, transport: memory() });
    const empty = bus.subscription('empty');
    await assert.rejects(bus.start(), code('INVALID_OPTION'));
    empty.on(Noted, () => {});
    await bus.start();
  });

  it('rejects when the transport cannot do what a subscription asks', async () => {
    await using bus = createBus({ service: 'desk', store, transport: unable() });
    bus.subscribe(Noted, () => {});
    await assert.rejects(bus.start(), code('CAPABILITY_MISSING'));
  });

  it('is not held up by a broker that is away; publishing goes on, health says so', async () => {
    const transport = memory();
    const { connect } = transport;
    let away = true;
    const flaky = { ...transport, connect: (host: any) => (away ? Promise.reject(new WaybillError('TRANSPORT_UNREACHABLE', 'away')) : connect(host)) };
    await using bus = createTestBus({ service: 'desk', store, transport: flaky });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => void seen.push(event.text));
    void bus.start();
    await bus.clock.advance(0);
    const health = await bus.health();
    assert.equal(health.live, true);
    assert.equal(health.ready, false);
    assert.equal(health.checks.find(({ name }) => name === 'transport')!.ok, false);
    away = false;
    await bus.clock.advance(5_000);
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(seen, ['a']);
    assert.equal((await bus.health()).ready, true);
  });
});

overStores('health', (store) => {
  it('is ready between start and stop, whatever the backlog', async () => {
    const bus = createTestBus({ service: 'desk', store });
    assert.equal((await bus.health()).ready, false);
    await bus.start();
    assert.equal((await bus.health()).ready, true);
    await bus.stop();
    const { live, ready, checks } = await bus.health();
    assert.deepEqual([live, ready, checks[0]!.detail], [false, false, 'stopped']);
  });
});

describe('two instances of a service', () => {
  it('share a queue, each message once, and the order of a key', async () => {
    const transport = memory();
    const shared = memoryStore();
    await using one = createTestBus({ service: 'view', store: shared, transport });
    await using two = createTestBus({ service: 'view', store: shared, transport });
    const seen: string[] = [];
    for (const bus of [one, two]) {
      bus.subscribe(Priced, { order: 'by-key', batch: 3 }, async (event) => {
        await new Promise((resolve) => void setImmediate(resolve));
        seen.push(`${event.id}${event.revision}`);
      });
    }
    await one.start();
    for (let revision = 0; revision < 20; revision++) {
      await one.publishAll(['a', 'b', 'c'].map((id) => Priced.of({ id, price: 1, revision })));
    }
    await one.settled();
    assert.equal(seen.length, 60);
    for (const id of ['a', 'b', 'c']) {
      assert.deepEqual(seen.filter((line) => line.startsWith(id)), Array.from({ length: 20 }, (_, i) => `${id}${i}`));
    }
  });

  it('of which one has no handler for a type leave it to the other', async () => {
    const transport = memory();
    const shared = memoryStore();
    await using older = createTestBus({ service: 'desk', store: shared, transport });
    const seen: string[] = [];
    older.subscription('inbox').on(Noted, (event) => void seen.push(`old ${event.text}`));
    await older.start();
    const newer = createTestBus({ service: 'desk', store: shared, transport });
    newer
      .subscription('inbox')
      .on(Noted, (event) => void seen.push(`new ${event.text}`))
      .on(Seen, (event) => void seen.push(`new ${event.what}`));
    await newer.start();
    for (let i = 0; i < 10; i++) await older.publish(Seen, { what: `s${i}` });
    await older.advance(60_000);
    assert.deepEqual(seen.toSorted(), Array.from({ length: 10 }, (_, i) => `new s${i}`));
    assert.deepEqual(await older.failures(), []);
    await newer.stop();
    await older.publish(Seen, { what: 'nobody' });
    await older.advance(9 * 60_000);
    assert.deepEqual(await older.failures(), []);
    await older.advance(2 * 60_000);
    assert.deepEqual((await older.failures()).map(({ error }) => error.code), ['HANDLER_MISSING']);
    assert.equal(Buffer.from((await older.failures())[0]!.message.body).toString(), '{"what":"nobody"}');
  });
});

describe('handlers that share a process', () => {
  it('of two subscriptions do not wait for each other', async () => {
    await using bus = createTestBus({ service: 'desk' });
    const seen: string[] = [];
    const gate = Promise.withResolvers<void>();
    bus.subscribe(Noted, { name: 'slow', transaction: 'manual' }, () => gate.promise);
    bus.subscribe(Noted, { name: 'fast' }, (event, _ctx: HandlerContext) => void seen.push(event.text));
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(100);
    assert.deepEqual(seen, ['a']);
    gate.resolve();
    await bus.settled();
  });

  it('are seen by operations(bus).subscriptions, with what they take', async () => {
    await using bus = createTestBus({ service: 'desk' });
    bus.subscription('both', { order: 'by-key' }).on(Priced, () => {});
    bus.subscribe(Noted, { transaction: 'own' }, () => {});
    await bus.start();
    const list = await operations(bus).subscriptions.list();
    assert.deepEqual(
      list.map(({ name, types, order, transaction, active }) => ({ name, types, order, transaction, active })),
      [
        { name: 'desk.both', types: ['catalog.priced.v1'], order: 'by-key', transaction: 'shared', active: true },
        { name: 'desk.desk.noted', types: ['desk.noted.v1'], order: 'any', transaction: 'own', active: true },
      ],
    );
  });
});
