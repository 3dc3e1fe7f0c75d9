/** What is due is told by the server's clock, whatever the processes take the time to be. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { type Bus, defineEvent, defineSaga, RetryLater } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { assembleBus } from '../../src/bus.ts';
import { type Clock, systemClock } from '../../src/contract/clock.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { server as startServer, skip } from './support.ts';

const hoursMs = 5 * 3_600_000;
const shortMs = 400;
const Delayed = defineEvent('desk.delayed', { schema: z.object({}) });
const Failing = defineEvent('desk.failing', { schema: z.object({}) });
const Began = defineEvent('desk.began', { schema: z.object({ id: z.string() }) });
const Ticked = defineEvent('desk.ticked', { schema: z.object({}) });
const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** What was put off, and when it ran. */
type Happened = Map<'delayed' | 'retry' | 'timeout' | 'schedule', number>;

describe('a process whose clock is hours off', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.close());

  /** Puts everything off by the same pause on one process, which then stops; another, whose clock is right, does the rest. */
  const handOver = async (first: Partial<Clock>, until: (happened: Happened) => boolean, pauseMs = shortMs): Promise<{ startedMs: number; happened: Happened }> => {
    const url = server.url(await server.createDatabase());
    const transport = memory();
    const happened: Happened = new Map();
    const failed = Promise.withResolvers<void>();
    const heard = Promise.withResolvers<void>();
    const note = (what: Parameters<Happened['set']>[0]): void => {
      happened.set(what, happened.get(what) ?? performance.now());
      if (until(happened)) heard.resolve();
    };
    const join = (clock: Clock, relay: 'inline' | 'off', fails: boolean): Bus<any> => {
      const bus: Bus<any> = assembleBus({ service: 'desk', store: postgres(url), transport, relay, logger: silent }, { clock });
      bus.subscribe(Delayed, () => note('delayed'));
      bus.subscribe(Ticked, () => note('schedule'));
      bus.subscribe(Failing, { retry: { immediate: 0, delayed: 100 } }, () => {
        if (!fails) return note('retry');
        throw new RetryLater(pauseMs);
      });
      bus.on('retrying', () => failed.resolve());
      const saga = defineSaga('waiting', { state: z.object({}), initial: () => ({}), timeouts: { soon: pauseMs } })
        .startedBy(Began, (event) => event.id, (_, instance) => instance.timeout('soon'))
        .onTimeout('soon', (instance) => {
          note('timeout');
          instance.complete();
        });
      bus.run(saga);
      return bus;
    };

    const off = join({ ...systemClock(), ...first }, 'off', true);
    const right = join(systemClock(), 'inline', false);
    await off.start();
    const began = new Promise((resolve) => off.on('saga', resolve));
    const startedMs = performance.now();
    await off.publish(Delayed, {}, { delayMs: pauseMs });
    await off.schedule('tick', { everyMs: pauseMs }, Ticked.of({}));
    // No relay here: what is not delayed is brought by hand.
    const relay = assembleBus({ service: 'desk', store: postgres(url), transport, logger: silent }, {});
    await relay.start();
    await relay.publishAll([Failing.of({}), Began.of({ id: 'a' })]);
    await Promise.all([failed.promise, began]);
    await relay.stop();
    await off.stop();
    await right.start();
    await right.schedule('tick', { everyMs: pauseMs }, Ticked.of({}));
    const patience = globalThis.setTimeout(() => heard.reject(new Error(`only ${[...happened.keys()].join()} within 60 s`)), 60_000);
    await heard.promise.finally(() => clearTimeout(patience));
    assert.deepEqual(await operations(right).failures.list(), []);
    await right.stop();
    return { startedMs, happened };
  };

  for (const [what, skewMs] of [['ahead', hoursMs], ['behind', -hoursMs]] as const) {
    it(`${what}: what it put off runs elsewhere, never early`, async () => {
      const { startedMs, happened } = await handOver({ now: () => Date.now() + skewMs }, ({ size }) => size === 4);
      for (const [name, atMs] of happened) assert.ok(atMs - startedMs >= shortMs, `${name} after ${atMs - startedMs} ms`);
    });
  }

  for (const [what, skewMs] of [['ahead', hoursMs], ['behind', -hoursMs]] as const) {
    it(`${what}: what it answered once is kept for as long as it said`, async (t) => {
      const url = server.url(await server.createDatabase());
      const join = (clock: Clock): Bus<any> => {
        const bus = assembleBus({ service: 'desk', store: postgres(url), transport: memory(), logger: silent }, { clock });
        t.after(() => bus.stop());
        return bus;
      };
      const [off, right] = [join({ ...systemClock(), now: () => Date.now() + skewMs }), join(systemClock())];
      const ask = (bus: Bus<any>, key: string, retainMs: number): Promise<unknown> => bus.once('order', key, async () => 1, { retainMs }).then(({ duplicate }) => duplicate);
      for (const [first, second] of [[off, right], [right, off]] as const) {
        assert.equal(await ask(first, `hour ${skewMs}${first === off}`, 3_600_000), false);
        assert.equal(await ask(second, `hour ${skewMs}${first === off}`, 3_600_000), true, 'an hour has not gone by');
        assert.equal(await ask(first, `no time ${first === off}`, 1), false);
        await setTimeout(20);
        assert.equal(await ask(second, `no time ${first === off}`, 1), false, 'a millisecond has');
      }
    });
  }

  it('is noticed, were its clock to count', async () => {
    const anHour = 3_600_000; // a busy machine may be late for less
    const { happened } = await handOver({ now: () => Date.now() - hoursMs, simulated: true }, (some) => some.has('delayed') || some.has('timeout'), anHour);
    assert.ok(happened.size > 0);
  });

  it('matters nothing to a test bus, which moves time on for what waits in the database', async () => {
    await using bus = createTestBus({ service: 'desk', store: postgres(server.url(await server.createDatabase())) });
    let heard = 0;
    bus.subscribe(Delayed, () => void heard++);
    await bus.publish(Delayed, {}, { delayMs: 2_000 });
    await bus.advance(1_999);
    assert.equal(heard, 0);
    await bus.advance(1);
    await bus.settled();
    assert.equal(heard, 1);
  });
});
