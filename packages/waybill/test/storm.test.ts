/**
 * Everything at once: random messages, handlers that fail now and then, a broker that goes away, stores a message twice
 * and loses its answers, and a process that dies at random points. Afterwards the invariants are counted on a business
 * table. The store is SQLite, in memory; the simulation of `waybill/testing` goes further, over fakes. The same seed gives the same storm: `STORM_SEED=7` runs one, `STORM_SEEDS=1000` that many.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { operations } from 'waybill/operations';
import { crashPoints, createTestBus, virtualClock } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import { defineEvent } from 'waybill';
import * as z from 'zod';

const Step = defineEvent('storm.step', {
  schema: z.object({ key: z.string(), n: z.number(), text: z.string() }),
  key: (event) => event.key,
  sequence: (event) => event.n,
});
const Echo = defineEvent('storm.echo', { schema: z.object({ key: z.string(), n: z.number() }), key: (event) => event.key });

const seeds = process.env.STORM_SEED
  ? [Number(process.env.STORM_SEED)]
  : Array.from({ length: Number(process.env.STORM_SEEDS ?? 8) }, (_, i) => i + 1);

describe('a storm', () => {
  for (const seed of seeds) {
    it(`of seed ${seed} leaves each message with its effect once, in order, or in failures`, async () => {
      const clock = virtualClock({ seed });
      const chance = virtualClock({ seed: seed * 7919 }); // of its own, so that the bus's draws do not shift it
      const one = (): number => chance.random();
      const pick = <T>(list: readonly T[]): T => list[Math.floor(one() * list.length)]!;
      const transport = memory();
      await using bus = createTestBus({ service: 'storm', transport, clock, rerun: one() < 0.3 });
      const transaction = pick(['shared', 'own', 'manual'] as const);
      const order = pick(['any', 'by-key', 'by-key', 'latest'] as const);
      const hold = order === 'by-key' && one() < 0.3;
      /** Messages that no run can handle. */
      const doomed = new Set<string>();

      const handler = (name: string) => async (event: { key: string; n: number; text: string }, ctx: any) => {
        const work = async (tx: any): Promise<void> => {
          await tx.query('insert into effect (name, key, n) values ($1, $2, $3)', [name, event.key, event.n]);
          await ctx.publish(Echo, { key: event.key, n: event.n });
          if (doomed.has(`${event.key}${event.n}`) || one() < 0.15) throw new Error('bad luck');
        };
        if (one() < 0.1) await new Promise((resolve) => void setImmediate(resolve));
        await (ctx.transaction ? (transaction === 'manual' && name === 'steps' ? ctx.transaction(work) : work(ctx.tx)) : work(ctx.tx));
      };
      bus.subscribe(
        Step,
        {
          name: 'steps',
          order,
          transaction: transaction as 'shared',
          concurrency: pick([1, 4, 16]),
          batch: pick([1, 3, 100]),
          retry: { immediate: 1, delayed: 30, delayMs: 200, delayMaxMs: 2_000 },
          ...(hold ? { afterFailure: 'hold' as const } : {}),
        },
        handler('steps'),
      );
      bus.subscribeBatch(Step, { name: 'sets', batch: pick([2, 10]), retry: { immediate: 0, delayed: 50, delayMs: 100, delayMaxMs: 1_000 } }, async (events, ctx: any) => {
        for (const event of events) await ctx.tx.query("insert into effect (name, key, n) values ('sets', $1, $2)", [event.key, event.n]);
        if (one() < 0.1) throw new Error('bad luck');
      });
      bus.subscribe(Echo, { name: 'echoes' }, async (event, ctx: any) => {
        await ctx.tx.query("insert into effect (name, key, n) values ('echo', $1, $2)", [event.key, event.n]);
      });
      await bus.transaction(async (tx) => {
        await tx.query('create table effect (id integer primary key autoincrement, name text, key text, n integer)');
        await tx.query('create table wanted (id integer primary key autoincrement, key text, n integer)');
      });

      // Each key has a row, which is written before the event that tells of it.
      const keys = ['a', 'b', 'c', 'd'];
      const next = new Map(keys.map((key) => [key, 0]));
      if (one() < 0.5) transport.faults.set({ duplicate: () => one() < 0.1 });
      for (let round = 0; round < 25; round++) {
        if (one() < 0.25) bus.crashAfter(pick(crashPoints), 1 + Math.floor(one() * 4));
        if (one() < 0.1) transport.faults.set({ away: pick([true, 'after-storing'] as const) });
        else if (one() < 0.5) transport.faults.set({ away: false });
        if (one() < 0.03) bus.crash();
        for (let i = 0; i < 1 + Math.floor(one() * 4); i++) {
          const key = pick(keys);
          const n = next.get(key)! + 1;
          next.set(key, n);
          if (order !== 'latest' && one() < 0.02) doomed.add(`${key}${n}`);
          void bus
            .once('step', `${key}${n}`, async (tx) => {
              await tx.query('insert into wanted (key, n) values ($1, $2)', [key, n]);
              await bus.publish(Step, { key, n, text: 'x'.repeat(Math.floor(one() * 100)) }, { tx });
            })
            .catch(() => {});
        }
        await bus.advance(Math.floor(one() * 300));
      }
      transport.faults.clear();
      // The client asks again for what it never heard of: a dead process answers nobody. In order, as a client would.
      for (const key of keys) {
        for (let n = 1; n <= next.get(key)!; n++) {
          for (let tries = 0; tries < 4; tries++) {
            const done = await Promise.race([
              bus
                .once('step', `${key}${n}`, async (tx) => {
                  await tx.query('insert into wanted (key, n) values ($1, $2)', [key, n]);
                  await bus.publish(Step, { key, n, text: '' }, { tx });
                })
                .then(() => true),
              bus.advance(50).then(() => false),
            ]);
            if (done) break;
          }
        }
      }
      for (let i = 0; i < 10; i++) await bus.advance(20_000);
      if (hold) {
        doomed.clear(); // mended: what waits behind them may go on
        // It may be this call that an armed crash ends.
        for (let tries = 0; tries < 4; tries++) {
          const asked = operations(bus).failures.retry({}).then(() => true);
          if (await Promise.race([asked, bus.advance(50).then(() => false)])) break;
        }
        for (let i = 0; i < 5; i++) await bus.advance(20_000);
      }
      await bus.settled();

      const rows = async <R>(sql: string): Promise<R[]> => (await bus.transaction<{ rows: R[] }>((tx) => tx.query(sql))).rows;
      const wanted = await rows<{ key: string; n: number }>('select key, n from wanted order by id');
      const effects = await rows<{ name: string; key: string; n: number }>('select name, key, n from effect order by id');
      const failures = await bus.failures();
      const told = ({ key, n }: { key: string; n: number }): string => `${key}${n}`;

      // I4: the row is there exactly when its message is in the ledger.
      assert.deepEqual(bus.published(Step).map(told), wanted.map(told));
      // I3: no effect twice.
      const each = effects.map((effect) => `${effect.name} ${told(effect)}`);
      assert.deepEqual(each, [...new Set(each)]);
      const of = (name: string): string[] => effects.filter((effect) => effect.name === name).map(told);
      const failed = failures.map((failure) => told(JSON.parse(Buffer.from(failure.message.body).toString()) as never));
      const stale = new Set(bus.history().flatMap((entry) => (entry.signal === 'stale' ? [entry.detail.id] : [])));
      const staleSteps = bus.messages().filter((message) => stale.has(message.id)).map((message) => told(JSON.parse(Buffer.from(message.body).toString()) as never));
      // I1: each has its effect, or was overtaken, or is in failures; the sets and echoes all have theirs.
      const missing = wanted.map(told).filter((step) => !of('steps').includes(step));
      assert.deepEqual(missing.filter((step) => !failed.includes(step) && !(order === 'latest' && staleSteps.includes(step))), []);
      assert.deepEqual(of('sets').toSorted(), wanted.map(told).toSorted());
      assert.deepEqual(of('echo').toSorted(), of('steps').toSorted());
      // Only what is doomed fails for good.
      for (const step of failed) assert.ok(doomed.has(step), `${step} is in failures: ${failures[0]!.error.code} ${failures[0]!.error.message}`);
      // I5, I6: per key in order of commit.
      if (order !== 'any') {
        for (const key of keys) {
          const seen = effects.filter((effect) => effect.name === 'steps' && effect.key === key).map(({ n }) => n);
          const committed = wanted.filter((row) => row.key === key).map(({ n }) => n);
          if (order === 'latest') assert.deepEqual(seen, seen.toSorted((x, y) => x - y));
          else assert.deepEqual(seen, committed.filter((n) => seen.includes(n)));
        }
      }
      // I12, I18: nothing is left over.
      assert.deepEqual(await operations(bus).waiting.list(), []);
      assert.equal((await operations(bus).status()).ready, 0);
    });
  }
});
