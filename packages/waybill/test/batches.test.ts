/**
 * Seeded batches of good and bad messages: whatever a batch is made of, each message ends once, as if it had been alone.
 * Runs on the stores' own way (savepoints once a handler has thrown); `as-server.test.ts` runs it on the way for servers.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defineCommand, defineEvent, Reject } from 'waybill';
import { createTestBus, type TestBus } from 'waybill/testing';
import * as z from 'zod';
import { asServer } from './support/stores.ts';

/** How a message behaves: it throws in its first `throws` runs, for good when `rejects`. */
const behaviour = z.object({ n: z.number(), entity: z.string(), revision: z.number(), throws: z.number(), rejects: z.boolean() });
const Moved = defineEvent('lab.moved', { schema: behaviour, key: (e) => e.entity, sequence: (e) => e.revision });
const Told = defineEvent('lab.told', { schema: z.object({ n: z.number() }) });
const Do = defineCommand('lab.do', { schema: behaviour, reply: z.object({ n: z.number() }), to: 'lab' });
type Behaviour = z.infer<typeof behaviour>;

const retry = { immediate: 1, delayed: 2, delayMs: 100, delayMaxMs: 400 };
const attemptsMax = 1 + retry.immediate + retry.delayed;

/** Mulberry32: small, seeded, good enough to mix. */
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function mixed(seed: number, count: number): Behaviour[] {
  const chance = random(seed);
  const bad = chance() * 0.5;
  const revisions = new Map<string, number>();
  return Array.from({ length: count }, (_, n) => {
    const entity = `e${Math.floor(chance() * 6)}`;
    const revision = (revisions.get(entity) ?? 0) + 1;
    revisions.set(entity, revision);
    const throws = chance() < bad ? 1 + Math.floor(chance() * (attemptsMax + 1)) : 0;
    return { n, entity, revision, throws, rejects: chance() < bad / 4 };
  });
}

const endsWell = ({ throws, rejects }: Behaviour): boolean => !rejects && throws < attemptsMax;

/** Counts runs outside any transaction: as often as the handler was really called. */
function handlerOf(runs: Map<number, number>, ran: (event: Behaviour, ctx: any) => Promise<void>) {
  return async (event: Behaviour, ctx: any): Promise<{ n: number }> => {
    const run = (runs.get(event.n) ?? 0) + 1;
    runs.set(event.n, run);
    await ran(event, ctx); // its writes come first: they have to be undone
    if (event.rejects) throw new Reject('never');
    // By its attempt: a run that was undone for a neighbour's sake is none.
    if (ctx.attempt <= event.throws) throw new Error('not yet');
    return { n: event.n };
  };
}

async function effects(bus: TestBus<any>): Promise<{ n: number; entity: string; revision: number }[]> {
  const { rows } = await bus.transaction<{ rows: any[] }>((tx) => tx.query('select n, entity, revision from effect order by rowid'));
  return rows.map((row) => ({ ...row }));
}

async function over(bus: TestBus<any>): Promise<void> {
  await bus.settled();
  for (let i = 0; i < 6; i++) await bus.advance(2_000);
  await bus.settled();
}

const write = (event: Behaviour, ctx: any): Promise<void> =>
  ctx.tx.query('insert into effect (n, entity, revision) values ($1, $2, $3)', [event.n, event.entity, event.revision]);
const makeTable = (bus: TestBus<any>): Promise<unknown> =>
  bus.transaction((tx) => tx.query('create table effect (n integer, entity text, revision integer)'));

for (const order of ['any', 'by-key'] as const) {
  describe(`a batch of good and bad messages, order '${order}'`, () => {
    for (let seed = 1; seed <= 8; seed++) {
      it(`each ends once, by its own doing (seed ${seed})`, async () => {
        await using bus = createTestBus({ service: 'lab' });
        await makeTable(bus);
        const runs = new Map<number, number>();
        const handler = handlerOf(runs, async (event, ctx) => {
          await write(event, ctx);
          await ctx.publish(Told, { n: event.n });
        });
        bus.subscribe(Moved, { order, retry, batch: 1 + seed * 5 }, async (event, ctx) => void (await handler(event, ctx)));
        const all = mixed(seed, 60);
        const { length } = all;
        await bus.publishAll(all.map((event) => Moved.of(event)));
        await over(bus);

        const good = all.filter(endsWell).map(({ n }) => n);
        const applied = await effects(bus);
        assert.deepEqual(applied.map(({ n }) => n).toSorted((a, b) => a - b), good);
        assert.deepEqual(bus.published(Told).map(({ n }) => n).toSorted((a, b) => a - b), good, 'what was published with them');
        const failed = (await bus.failures()).map(({ attempts, message: { id } }) => ({ attempts, id }));
        assert.equal(failed.length, length - good.length);
        assert.deepEqual([...new Set(failed.map(({ attempts }) => attempts))].filter((n) => n !== 1 && n !== attemptsMax), []);
        for (const { n, throws, rejects } of all) {
          const own = rejects ? 1 : Math.min(throws + 1, attemptsMax);
          // Once more at most, when it threw behind others; an innocent as often as a neighbour undid it.
          if (asServer && endsWell(all[n]!)) assert.ok(runs.get(n)! >= own, `${n} ran ${runs.get(n)} times`);
          else if (asServer) assert.ok(runs.get(n)! <= own + 1 + length, `${n} ran ${runs.get(n)} times`);
          else assert.ok(runs.get(n)! >= own && runs.get(n)! <= own + 1, `${n} ran ${runs.get(n)} times`); // once with the batch that was undone
        }
        if (order === 'any') return;
        for (const entity of new Set(applied.map((effect) => effect.entity))) {
          const revisions = applied.filter((effect) => effect.entity === entity).map(({ revision }) => revision);
          assert.deepEqual(revisions, revisions.toSorted((a, b) => a - b), `order of ${entity}`);
        }
      });
    }
  });
}

describe("a batch of good and bad messages, order 'latest'", () => {
  for (let seed = 1; seed <= 4; seed++) {
    it(`what is applied rises, and ends with the newest that can be (seed ${seed})`, async () => {
      await using bus = createTestBus({ service: 'lab' });
      await makeTable(bus);
      const handler = handlerOf(new Map(), write);
      bus.subscribe(Moved, { order: 'latest', retry }, async (event, ctx) => void (await handler(event, ctx)));
      const all = mixed(seed, 60);
      await bus.publishAll(all.map((event) => Moved.of(event)));
      await over(bus);
      const applied = await effects(bus);
      for (const entity of new Set(all.map((event) => event.entity))) {
        const revisions = applied.filter((effect) => effect.entity === entity).map(({ revision }) => revision);
        assert.deepEqual(revisions, [...new Set(revisions)].toSorted((a, b) => a - b), `order of ${entity}`);
        const newest = Math.max(...all.filter((event) => event.entity === entity && endsWell(event)).map(({ revision }) => revision));
        assert.equal(revisions.at(-1), newest, `newest of ${entity}`);
      }
    });
  }
});

describe('a batch of good and bad messages for a set-based handler', () => {
  for (let seed = 1; seed <= 4; seed++) {
    it(`the bad ones are found, the others applied together (seed ${seed})`, async () => {
      await using bus = createTestBus({ service: 'lab' });
      await makeTable(bus);
      bus.subscribeBatch(Moved, { batch: 32, retry: { immediate: 1, delayed: 1 } }, async (events, ctx) => {
        for (const event of events) await write(event, ctx);
        const bad = events.find((event) => event.throws > 0 || event.rejects);
        if (bad) throw bad.rejects ? new Reject('never') : new Error('no');
      });
      const all = mixed(seed, 64);
      await bus.publishAll(all.map((event) => Moved.of(event)));
      await over(bus);
      const good = all.filter((event) => event.throws === 0 && !event.rejects).map(({ n }) => n);
      assert.deepEqual((await effects(bus)).map(({ n }) => n).toSorted((a, b) => a - b), good);
      const failures = await bus.failures();
      assert.equal(failures.length, all.length - good.length);
      assert.deepEqual(failures.filter(({ attempts }) => attempts !== 1 && attempts !== 3), []); // rejected, or out of runs
    });
  }
});

it('of commands in one batch with a bad one, each has one reply', async () => {
  await using bus = createTestBus({ service: 'lab' });
  await makeTable(bus);
  const handler = handlerOf(new Map(), write);
  bus.handle(Do, { retry: { immediate: 0, delayed: 0 } }, handler);
  const all = mixed(3, 30).map((event) => ({ ...event, throws: event.n % 7 === 6 ? 9 : 0, rejects: false }));
  const replies = await Promise.all(all.map((command) => bus.request(Do, command, { timeoutMs: 60_000 }).then(({ n }) => n, (error: { code: string }) => error.code)));
  assert.deepEqual(replies, all.map(({ n, throws }) => (throws > 0 ? 'REPLY_FAILED' : n)));
  assert.deepEqual((await effects(bus)).map(({ n }) => n).toSorted((a, b) => a - b), all.filter(({ throws }) => throws === 0).map(({ n }) => n));
});

it('a message whose neighbours throw is not charged: with no retries it is applied all the same', async () => {
  await using bus = createTestBus({ service: 'lab' });
  await makeTable(bus);
  const attempts: number[] = [];
  bus.subscribe(Moved, { retry: false }, async (event, ctx) => {
    await write(event, ctx);
    if (event.throws > 0) throw new Error('no');
    attempts.push(ctx.attempt);
  });
  await bus.publishAll(mixed(5, 40).map((event) => Moved.of({ ...event, throws: event.n % 2, rejects: false })));
  await bus.settled();
  assert.equal((await effects(bus)).length, 20);
  assert.deepEqual([...new Set(attempts)], [1]);
  assert.deepEqual((await bus.failures()).map((failure) => failure.attempts), Array.from({ length: 20 }, () => 1));
});

it('after a batch was split, the next ones are whole again', { skip: asServer && 'several run side by side' }, async () => {
  await using bus = createTestBus({ service: 'lab' });
  const sizes: number[] = [];
  let committed = 0;
  bus.subscribe(Told, { batch: 10, retry: false }, async ({ n }, ctx) => {
    if (n === 0) throw new Error('no'); // its batch is undone; then it is parked alone
    ctx.afterCommit(() => {
      if (committed++ === 0) queueMicrotask(() => (sizes.push(committed), (committed = 0)));
    });
  });
  await bus.publishAll(Array.from({ length: 40 }, (_, n) => Told.of({ n })));
  await bus.settled();
  assert.deepEqual(sizes, [9, 10, 10, 10]);
});

describe('without a `batch`', { skip: asServer && 'transactions fit themselves to what they take' }, () => {
  const sizesOf = async (subscribe: (bus: TestBus<any>, committed: () => void) => void): Promise<number[]> => {
    await using bus = createTestBus({ service: 'lab' });
    const sizes: number[] = [];
    let committed = 0;
    subscribe(bus, () => {
      if (committed++ === 0) queueMicrotask(() => (sizes.push(committed), (committed = 0)));
    });
    await bus.publishAll(Array.from({ length: 600 }, (_, n) => Told.of({ n })));
    await bus.settled();
    return sizes;
  };

  it('a SQLite store takes 250 to a transaction, or as many as the subscription says', async () => {
    assert.deepEqual(await sizesOf((bus, committed) => bus.subscribe(Told, async (_, ctx) => ctx.afterCommit(committed))), [250, 250, 100]);
    assert.deepEqual(await sizesOf((bus, committed) => bus.subscribe(Told, { batch: 125 }, async (_, ctx) => ctx.afterCommit(committed))), [125, 125, 125, 125, 100]);
  });

  it('a handler of whole batches is given 100 at once', async () => {
    const sizes: number[] = [];
    await sizesOf((bus) => bus.subscribeBatch(Told, {}, async (events) => void sizes.push(events.length)));
    assert.deepEqual(sizes, [100, 100, 100, 100, 100, 100]);
  });
});
