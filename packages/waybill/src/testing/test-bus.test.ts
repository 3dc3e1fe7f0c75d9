import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defineCommand, defineEvent } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import type { StandardSchema } from '../contract/schema.ts';
import { memory } from '../transports/memory/index.ts';
import { sqlite } from '../stores/sqlite/index.ts';
import { virtualClock } from './clock.ts';
import { crashPoints } from './crash-points.ts';
import { createTestBus } from './test-bus.ts';
import { NotSettled } from './world.ts';

const schemaOf = <T>(validate: (value: any) => any = (value) => ({ value })): StandardSchema<T, T> => ({ '~standard': { version: 1, vendor: 'test', validate } });
const Asked = defineEvent('desk.asked', { schema: schemaOf<{ n: number }>() });
const Answered = defineEvent('desk.answered', { schema: schemaOf<{ n: number }>((value) => ({ value: { n: value.n * 2 } })) });
const Do = defineCommand('desk.do', { schema: schemaOf<{ n: number }>() });
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe('createTestBus', () => {
  it('starts by its first use, and works without any option', async () => {
    await using bus = createTestBus();
    const seen: number[] = [];
    bus.subscribe(Asked, (event) => void seen.push(event.n));
    await bus.publish(Asked, { n: 1 });
    await bus.settled();
    assert.deepEqual(seen, [1]);
    assert.equal(bus.service, 'test');
  });

  it('gives what was published as a handler would get it, and what was sent', async () => {
    await using bus = createTestBus({ service: 'desk' });
    bus.handle(Do, (command, ctx) => void ctx.publish(Answered, { n: command.n }));
    await bus.send(Do, { n: 3 });
    await bus.settled();
    assert.deepEqual(bus.sent(Do), [{ n: 3 }]);
    assert.deepEqual(bus.published(Answered), [{ n: 6 }]);
    assert.deepEqual(bus.published(Asked), []);
    assert.deepEqual(bus.messages().map(({ type }) => type), ['desk.do.v1', 'desk.answered.v1']);
  });

  it('says that an asynchronous schema has no output at once', async () => {
    const Slow = defineEvent('desk.slow', { schema: schemaOf<object>(async (value) => ({ value })) });
    await using bus = createTestBus();
    await bus.publish(Slow, {});
    await bus.settled();
    assert.throws(() => bus.published(Slow), (error) => WaybillError.is(error, 'CAPABILITY_MISSING'));
  });

  it('has time stand still while it settles', async () => {
    await using bus = createTestBus();
    bus.subscribe(Asked, (_, ctx) => {
      if (ctx.attempt < 4) throw new Error('later');
    });
    await bus.publish(Asked, { n: 1 });
    await bus.settled();
    assert.equal(bus.clock.monotonic(), 0);
    await bus.advance(5_000);
    assert.equal(bus.clock.monotonic(), 5_000);
    assert.deepEqual(bus.history().map(({ signal }) => signal), ['published', 'sent', 'retrying', 'applied']);
  });

  it('waits for handlers that do real work of their own', async () => {
    await using bus = createTestBus();
    let done = false;
    bus.subscribe(Asked, { transaction: 'manual' }, async () => {
      await new Promise((resolve) => void setTimeout(resolve, 50));
      done = true;
    });
    await bus.publish(Asked, { n: 1 });
    await bus.settled();
    assert.equal(done, true);
  });

  it('lets no more time go by than it was asked for, also where a broker or a disk is slow meanwhile', async () => {
    const real = memory();
    const answers = Promise.withResolvers<void>();
    const transport = {
      kind: 'slow',
      connect: async (host: Parameters<typeof real.connect>[0]) => {
        const session = await real.connect(host);
        const { send } = session;
        session.send = async (messages) => {
          await answers.promise;
          return send(messages);
        };
        return session;
      },
    };
    await using bus = createTestBus({ transport });
    await bus.publish(Asked, { n: 1 });
    const before = bus.clock.monotonic();
    await bus.advance(1_999);
    assert.equal(bus.clock.monotonic() - before, 1_999);
    answers.resolve();
    await bus.settled();
    assert.equal(bus.history().some(({ signal }) => signal === 'sent'), true);
  });

  it('settles all that share a transport, however long they talk', async () => {
    const transport = memory();
    await using one = createTestBus({ service: 'one', transport });
    await using two = createTestBus({ service: 'two', transport });
    const seen: string[] = [];
    one.subscribe(Asked, async (event, ctx) => {
      seen.push(`one ${event.n}`);
      await ctx.publish(Answered, { n: event.n });
    });
    two.subscribe(Answered, async (event, ctx) => {
      seen.push(`two ${event.n}`);
      if (event.n < 16) await ctx.publish(Asked, { n: event.n });
    });
    await one.publish(Asked, { n: 1 });
    await two.settled();
    assert.deepEqual(seen, ['one 1', 'two 2', 'one 2', 'two 4', 'one 4', 'two 8', 'one 8', 'two 16']);
    assert.equal(one.clock, two.clock);
  });

  it('knows nothing of a bus on another transport, unless they share a clock', async () => {
    const clock = virtualClock();
    await using one = createTestBus({ service: 'one' });
    await using two = createTestBus({ service: 'two', clock, transport: memory() });
    await using three = createTestBus({ service: 'three', clock, transport: memory() });
    assert.notEqual(one.clock, two.clock);
    assert.equal(two.clock, three.clock);
    const transport = memory();
    await using four = createTestBus({ service: 'four', transport });
    assert.throws(() => createTestBus({ service: 'five', transport, clock }), (error) => WaybillError.is(error, 'INVALID_OPTION'));
    assert.ok(four);
  });

  it('says what is still going on when it cannot settle', async () => {
    const bus = createTestBus({ service: 'desk' });
    bus.subscribe(Asked, { name: 'hangs', transaction: 'manual' }, () => new Promise(() => {}));
    await bus.publish(Asked, { n: 1 });
    await bus.advance(1);
    const transport = memory();
    const away = createTestBus({ service: 'away', transport });
    await away.start();
    transport.faults.set({ away: true });
    await away.publish(Asked, { n: 1 });
    await assert.rejects(away.settled(), (error) => error instanceof NotSettled && error.open.includes('away: 1 messages of the ledger are not sent'));
    transport.faults.clear();
    await away.stop();
    await bus.stop({ drainMs: 10 });
  });

  it('lets a handler that hangs run into its time limit', async () => {
    await using bus = createTestBus();
    bus.subscribe(Asked, { timeoutMs: 5_000, retry: false }, () => new Promise(() => {}));
    await bus.publish(Asked, { n: 1 });
    await bus.advance(4_999);
    assert.deepEqual(bus.history().filter(({ signal }) => signal === 'failed'), []);
    await bus.advance(1);
    await bus.settled();
    assert.equal((await bus.failures())[0]!.error.code, 'HANDLER_TIMEOUT');
  });

  it('delivers again to every subscription that took it, on every bus, and refuses an id that none did', async () => {
    const transport = memory();
    await using one = createTestBus({ service: 'one', transport });
    await using two = createTestBus({ service: 'two', transport });
    one.subscribe(Asked, () => {});
    two.subscribe(Asked, { name: 'a' }, () => {});
    two.subscribe(Asked, { name: 'b' }, () => {});
    const { id } = await one.publish(Asked, { n: 1 });
    await one.settled();
    await one.redeliver(id);
    const duplicates = [one, two].map((bus) => bus.history().filter(({ signal }) => signal === 'duplicate').length);
    assert.deepEqual(duplicates, [1, 2]);
    await assert.rejects(one.redeliver('unknown'), (error) => WaybillError.is(error, 'INVALID_ID'));
  });

  it('does not look at the environment', async () => {
    process.env.WAYBILL_STORE = 'nonsense';
    try {
      await using bus = createTestBus();
      await bus.publish(Asked, { n: 1 });
    } finally {
      delete process.env.WAYBILL_STORE;
    }
  });
});

describe('a crash', () => {
  it('is in the history, and the bus lives again with its subscriptions, middleware and listeners', async () => {
    await using bus = createTestBus();
    const seen: number[] = [];
    let layers = 0;
    let heard = 0;
    bus.use({
      handle(_, next) {
        layers++;
        return next();
      },
    });
    bus.on('applied', () => heard++);
    bus.subscription('numbers').on(Asked, (event) => void seen.push(event.n));
    await bus.publish(Asked, { n: 1 });
    await bus.settled();
    bus.crash();
    await bus.publish(Asked, { n: 2 });
    await bus.settled();
    assert.deepEqual([seen, layers, heard], [[1, 2], 2, 2]);
    const signals = bus.history().map(({ signal }) => signal);
    const at = signals.indexOf('crashed');
    for (const life of [signals.slice(0, at), signals.slice(at + 1)]) {
      assert.equal(life[0], 'published');
      assert.deepEqual(life.slice(1).sort(), ['applied', 'sent'], 'the relay writes down that it sent while the receiver works');
    }
  });

  it('keeps from going on what was under way: a call, a handler, a timer', async () => {
    await using bus = createTestBus();
    const after: string[] = [];
    bus.subscribe(Asked, { transaction: 'manual' }, async () => {
      bus.crash();
      await turn();
      await bus.publish(Answered, { n: 1 }).then(() => after.push('the handler published'));
    });
    void bus.request(Do, { n: 1 }, { timeoutMs: 100 }).then(() => after.push('a reply'), () => after.push('a timeout'));
    await bus.publish(Asked, { n: 1 });
    bus.crashAfter('outbox.commit', 1);
    await bus.advance(1_000);
    assert.deepEqual(after, []);
    assert.deepEqual(bus.published(Answered), []);
  });

  it('cannot be armed at a point that does not exist', async () => {
    await using bus = createTestBus();
    assert.throws(() => bus.crashAfter('outbox.comit' as never), { code: 'INVALID_OPTION', message: /points are outbox\.commit/ });
    assert.throws(() => bus.crashAfter('outbox.commit', 0), { code: 'INVALID_OPTION' });
    bus.crashAfter('before stream.commit');
  });

  it('happens at the nth time, once', async () => {
    await using bus = createTestBus();
    bus.crashAfter('outbox.commit', 3);
    await bus.publish(Asked, { n: 1 });
    await bus.publish(Asked, { n: 2 });
    void bus.publish(Asked, { n: 3 });
    await bus.settled();
    await bus.publish(Asked, { n: 4 });
    await bus.settled();
    assert.equal(bus.history().filter(({ signal }) => signal === 'crashed').length, 1);
    assert.deepEqual(bus.published(Asked).map(({ n }) => n), [1, 2, 3, 4]);
  });

  for (const point of crashPoints) {
    it(`can happen at '${point}'`, async () => {
      await using bus = createTestBus({ service: 'desk' });
      bus.subscribe(Asked, { retry: { immediate: 0, delayed: 1 } }, () => {
        throw new Error('no');
      });
      await bus.start();
      bus.crashAfter(point);
      void bus.publish(Asked, { n: 1 });
      await bus.advance(10_000);
      void bus.once('a', 'b', async () => 1);
      await bus.advance(1_000);
      const crashed = bus.history().filter((entry) => entry.signal === 'crashed');
      assert.deepEqual(crashed.map(({ detail }) => detail), [{ point }]);
    });
  }

  it('while the broker is away is got over when it is back: a start that waits for it gets the time it needs', async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', transport });
    const seen: number[] = [];
    bus.subscribe(Asked, (event) => void seen.push(event.n));
    await bus.start();
    transport.faults.set({ away: true });
    bus.crash();
    void bus.publish(Asked, { n: 1 });
    await bus.advance(5_000);
    assert.deepEqual(seen, []);
    transport.faults.clear();
    await bus.advance(60_000);
    assert.deepEqual(seen, [1]);
  });

  it('of a bus on a store and transport of files is got over too', async (t) => {
    const { mkdtemp, rm } = await import('node:fs/promises');
    const { tmpdir } = await import('node:os');
    const path = await import('node:path');
    const directory = await mkdtemp(path.join(tmpdir(), 'waybill-'));
    t.after(() => rm(directory, { recursive: true, force: true }));
    await using bus = createTestBus({ service: 'desk', store: sqlite(path.join(directory, 'desk.db')), transport: `sqlite:${directory}` });
    const seen: number[] = [];
    bus.subscribe(Asked, (event, ctx) => ctx.afterCommit(() => void seen.push(event.n)));
    await bus.publish(Asked, { n: 1 });
    await bus.advance(1_000);
    bus.crash();
    void bus.publish(Asked, { n: 2 });
    await bus.advance(10_000);
    assert.deepEqual(seen, [1, 2]);
  });
});
