/** Sagas and schedules where transactions run side by side. */
import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Bus, createBus, defineCommand, defineEvent, defineSaga } from 'waybill';
import { operations } from 'waybill/operations';
import { postgres } from 'waybill/stores/postgres';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { needs } from '../../../../test/support/needs.ts';
import { startPostgres, type PostgresServer } from '../support/postgres-server.ts';

const program = needs('postgres');
/** No key of its own: nothing but the saga's row keeps two workers apart. */
const Hit = defineEvent('desk.hit', { schema: z.object({ saga: z.string(), n: z.number() }) });
const Ask = defineCommand('desk.ask', { schema: z.object({ n: z.number() }), reply: z.object({ doubled: z.number() }) });
const Answered = defineEvent('desk.answered', { schema: z.object({ doubled: z.number() }) });
const Ticked = defineEvent('desk.ticked', { schema: z.object({}) });
const silent = { debug() {}, info() {}, warn() {}, error() {} };

describe('a saga on PostgreSQL', { skip: program.skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startPostgres({ bin: dirname(program.path!) });
  });
  after(() => server?.close());

  /** Two instances of one service. */
  const pair = async (): Promise<{ buses: Bus[]; [Symbol.asyncDispose](): Promise<void> }> => {
    const url = server.url(await server.createDatabase());
    const transport = memory();
    const buses = [1, 2].map(() => createBus({ service: 'desk', store: postgres(url), transport, logger: silent }));
    return {
      buses,
      async [Symbol.asyncDispose]() {
        for (const bus of buses) await bus.stop();
      },
    };
  };

  it('loses no update while two workers run its steps at once', async () => {
    const hits = 40;
    const keys = ['a', 'b', 'c'];
    const counting = () =>
      defineSaga('counting', { state: z.object({ seen: z.array(z.number()) }), initial: () => ({ seen: [] }) }).startedBy(Hit, (event) => event.saga, async ({ n }, saga) => {
        await new Promise((resolve) => setImmediate(resolve));
        saga.state.seen.push(n);
        if (saga.state.seen.length === hits) saga.complete();
      });
    await using two = await pair();
    const { buses } = two;
    const runs = buses.map(() => 0);
    const done = new Promise<void>((resolve) => {
      const open = new Set(keys);
      buses.forEach((bus, i) => {
        bus.run(counting(), { batch: 1 });
        bus.on('applied', () => void runs[i]!++);
        bus.on('saga', ({ key, status }) => void (status === 'completed' && open.delete(key) && open.size === 0 && resolve()));
      });
    });
    for (const bus of buses) await bus.start();
    await buses[0]!.publishAll(Array.from({ length: hits }, (_, n) => keys.map((saga) => Hit.of({ saga, n }))).flat());
    await done;
    const sagas = await operations(buses[0]!).sagas.list();
    assert.deepEqual(sagas.map(({ key, status }) => `${key} ${status}`).toSorted(), keys.map((key) => `${key} completed`));
    for (const { state } of sagas) assert.deepEqual((state as { seen: number[] }).seen.toSorted((a, b) => a - b), Array.from({ length: hits }, (_, n) => n));
    assert.ok(runs.every((count) => count > 0), `both worked: ${runs.join()}`);
    assert.deepEqual(await operations(buses[0]!).failures.list(), []);
  });

  it('hears replies, takes its time, and takes back what was done', async () => {
    const saga = () =>
      defineSaga('asking', { state: z.object({ doubled: z.number() }), initial: () => ({ doubled: 0 }), timeouts: { soon: 50 }, steps: ['asked'] })
        .startedBy(Hit, (event) => event.saga, async ({ n }, s) => {
          s.done('asked');
          await s.send(Ask, { n });
        })
        .onReply(Ask, ({ doubled }, s) => {
          s.state.doubled = doubled;
          s.timeout('soon');
        })
        .onTimeout('soon', (s) => s.undo())
        .compensate('asked', async (s) => void (await s.publish(Answered, { doubled: s.state.doubled })));
    await using two = await pair();
    const heard = Promise.withResolvers<number>();
    for (const bus of two.buses) {
      bus.run(saga());
      bus.handle(Ask, ({ n }) => ({ doubled: 2 * n }));
      bus.subscribe(Answered, ({ doubled }) => heard.resolve(doubled));
      await bus.start();
    }
    await two.buses[0]!.publish(Hit, { saga: 'x', n: 21 });
    assert.equal(await heard.promise, 42);
    assert.equal((await operations(two.buses[1]!).sagas.list())[0]!.status, 'compensated');
  });

  it('a schedule runs once each time, whichever of two instances does it', async () => {
    await using two = await pair();
    const times: string[] = [];
    const four = Promise.withResolvers<void>();
    two.buses[0]!.subscribe(Ticked, (_, ctx) => {
      times.push(ctx.message.id);
      if (times.length === 4) four.resolve();
    });
    for (const bus of two.buses) {
      await bus.start();
      await bus.schedule('tick', { everyMs: 100 }, Ticked.of({}));
    }
    await four.promise;
    const sent = (await operations(two.buses[0]!).outbox.list()).map(({ id }) => id);
    assert.equal(new Set(sent).size, sent.length);
    assert.equal((await operations(two.buses[0]!).waiting.list()).length, 1);
  });
});
