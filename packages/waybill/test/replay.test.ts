/** What was published before, once more to one subscription; whether everything was applied; and published again. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Reject, WaybillError, defineSaga } from 'waybill';
import { operations } from 'waybill/operations';
import { sqlite as sqliteStore } from 'waybill/stores/sqlite';
import { type TestBus, createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import { sqlite as sqliteTransport } from 'waybill/transports/sqlite';
import * as z from 'zod';
import { internalsOf } from '../src/contract/internals.ts';
import type { Host } from '../src/contract/store.ts';
import { readReplay, replayMessage, replaysOf } from '../src/contract/replay.ts';
import { transact } from '../src/contract/transact.ts';
import { memory as memoryStore } from '../src/stores/memory/index.ts';
import { Noted, Priced } from './support/contracts.ts';

type Open = (service: string) => TestBus<any>;
const transports: Record<string, (t: TestContext) => Promise<Open>> = {
  'a broker': async () => {
    const transport = memory();
    return (service) => createTestBus({ service, transport });
  },
  'ledger files': async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'waybill-replay-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const transport = sqliteTransport(folder);
    return (service) => createTestBus({ service, store: sqliteStore(join(folder, `${service}.db`)), transport });
  },
};
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
const priced = (id: string, revision: number) => Priced.of({ id, price: 1, revision }, { id: `${id}${revision}` });

/** Forgets that messages were taken on, as a bug or a restore of one table would. */
async function plantLoss(bus: TestBus<any>, ids: readonly string[]): Promise<void> {
  await bus.transaction(async (tx) => {
    for (const id of ids) assert.equal((await tx.query('delete from waybill_inbox where id = $1', [id])).rowCount, 1);
  });
}

for (const [name, make] of Object.entries(transports)) {
  describe(`over ${name}, replay`, () => {
    it('leaves out what was applied: from the beginning it changes nothing', async (t) => {
      const open = await make(t);
      await using catalog = open('catalog');
      await using desk = open('desk');
      let runs = 0;
      desk.subscribe(Priced, { name: 'prices', order: 'by-key' }, () => void runs++);
      desk.subscribe(Priced, { name: 'other' }, () => {});
      await desk.start();
      await catalog.publishAll(upTo(250).map((n) => priced('a', n)));
      await desk.settled();
      assert.equal(runs, 250);
      const replay = await operations(desk).subscriptions.replay('prices', { from: 'beginning' });
      await desk.advance(5_000);
      const { state, read, added, known } = await replay.done;
      assert.deepEqual([state, read, added, known], ['done', 250, 0, 250]);
      assert.equal(runs, 250);
    });

    it('brings back what was lost, to one subscription alone, in the order of its key and beside live traffic', async (t) => {
      const open = await make(t);
      await using catalog = open('catalog');
      await using desk = open('desk');
      const seen: string[] = [];
      let others = 0;
      desk.subscribe(Priced, { name: 'prices', order: 'by-key' }, (event, ctx) => ctx.afterCommit(() => void seen.push(`${event.id}${event.revision}`)));
      desk.subscribe(Priced, { name: 'other' }, () => void others++);
      await desk.start();
      await catalog.publishAll(upTo(100).flatMap((n) => [priced('a', n), priced('b', n)]));
      await desk.settled();
      seen.length = 0;
      const lost = upTo(100).filter((n) => n % 3 === 0).flatMap((n) => [`a${n}`, `b${n}`]);
      await desk.transaction((tx) => tx.query(`delete from waybill_inbox where subscription = 'desk.prices' and cast(substr(id, 2) as integer) % 3 = 0`));
      const replay = await operations(desk).subscriptions.replay('desk.prices', { from: 'beginning' });
      void catalog.publishAll(upTo(20).map((n) => priced('c', n)));
      await desk.advance(10_000);
      assert.equal((await replay.done).added, lost.length);
      await desk.settled();
      for (const key of ['a', 'b']) {
        assert.deepEqual(seen.filter((one) => one.startsWith(key)), lost.filter((one) => one.startsWith(key)), key);
      }
      assert.equal(seen.filter((one) => one.startsWith('c')).length, 20);
      assert.equal(others, 220, 'the other subscription got nothing twice');
    });

    it('takes a range of time, runs it again when asked, at its pace, and can be aborted and gone on with', async (t) => {
      const open = await make(t);
      await using catalog = open('catalog');
      await using desk = open('desk');
      const seen: number[] = [];
      desk.subscribe(Priced, { name: 'prices', order: 'by-key' }, (event) => void seen.push(event.revision));
      await desk.start();
      const times: number[] = [];
      for (const n of upTo(10)) {
        times.push(desk.clock.now());
        await catalog.publishAll([priced('a', n)]);
        await desk.advance(1_000);
      }
      seen.length = 0;
      const { subscriptions } = operations(desk);
      const range = await subscriptions.replay('prices', { from: new Date(times[3]!), to: new Date(times[6]!), again: true });
      await desk.advance(5_000);
      assert.equal((await range.done).added, 3);
      assert.deepEqual(seen, [4, 5, 6]);

      await desk.advance(1_000);
      await catalog.publishAll(upTo(1_000).map((n) => priced('b', n)));
      await desk.settled();
      const first = await subscriptions.replay('prices', { from: new Date(times[9]! + 500), perSecond: 100 });
      await desk.advance(3_000);
      await first.abort();
      await desk.advance(1_000);
      const at = await first.done;
      assert.equal(at.state, 'aborted');
      assert.ok(at.read >= 200 && at.read < 800, String(at.read));
      const rest = await subscriptions.replay('prices', { from: new Date(times[9]! + 500), after: at.next });
      await desk.advance(10_000);
      assert.equal((await rest.done).read, 1_000 - at.read);
      const listed = await subscriptions.replays();
      assert.deepEqual(listed.map(({ id, subscription, state }) => [id, subscription, state]), [
        [range.id, 'desk.prices', 'done'],
        [first.id, 'desk.prices', 'aborted'],
        [rest.id, 'desk.prices', 'done'],
      ]);
      assert.equal(await subscriptions.abortReplay(first.id), false);
      const { waiting, status } = operations(desk);
      assert.deepEqual([await waiting.list(), (await status()).waiting], [[], 0], 'a replay is not among what waits');
      const store = await internalsOf(desk).store();
      for (const row of await store.ports.inspect.waiting({})) {
        assert.equal(await waiting.cancel(row.row), false);
        await transact(store, desk.clock, (tx) => store.ports.waiting.settle(tx, row, { dueMs: 'now' })); // as after a week
      }
      await desk.advance(5_000);
      await desk.settled();
      assert.deepEqual(await subscriptions.replays(), []);
    });

    it('goes on after the process died, each message once although it is to run again, and the order of each key kept', async (t) => {
      const open = await make(t);
      await using catalog = open('catalog');
      await using desk = open('desk');
      const seen: string[] = [];
      desk.subscribe(Priced, { name: 'prices', order: 'by-key' }, (event, ctx) => ctx.afterCommit(() => void seen.push(`${event.id}${event.revision}`)));
      await desk.start();
      await catalog.publishAll(upTo(300).flatMap((n) => [priced('a', n), priced('b', n)]));
      await desk.settled();
      seen.length = 0;
      const { id } = await operations(desk).subscriptions.replay('prices', { from: 'beginning', again: true, perSecond: 100 });
      for (let i = 0; i < 3; i++) {
        await desk.advance(700);
        desk.crash();
      }
      assert.ok(seen.length < 600, 'it was not over');
      await desk.advance(15_000);
      const [stored] = await operations(desk).subscriptions.replays(); // of the life after the last crash
      assert.deepEqual([stored!.id, stored!.state, stored!.read, stored!.added], [id, 'done', 600, 600]);
      for (const key of ['a', 'b']) {
        assert.deepEqual(seen.filter((one) => one.startsWith(key)), upTo(300).map((n) => `${key}${n}`), key);
      }
    });

    it('refuses what makes no sense', async (t) => {
      const open = await make(t);
      await using desk = open('desk');
      desk.subscribe(Priced, { name: 'prices' }, () => {});
      await desk.start();
      const { replay } = operations(desk).subscriptions;
      const refused = (error: unknown) => WaybillError.is(error, 'INVALID_OPTION');
      await assert.rejects(replay('nobody', { from: 'beginning' }), refused);
      await assert.rejects(replay('prices', { from: new Date(Number.NaN) }), refused);
      await assert.rejects(replay('prices', { from: 'beginning', perSecond: 0 }), refused);
    });
  });

  describe(`over ${name}, audit`, () => {
    it('tells applied, pending, waiting, failed and lost apart, per subscription and source', async (t) => {
      const open = await make(t);
      await using catalog = open('catalog');
      await using depot = open('depot');
      await using desk = open('desk');
      const retry = { immediate: 0, delayed: 5, delayMs: 3_600_000 };
      const prices = desk.subscribe(Priced, { name: 'prices', retry }, (event) => {
        if (event.revision === 7) throw new Reject('no');
        if (event.revision === 8) throw new Error('later');
      });
      desk.subscribe(Noted, { name: 'notes' }, () => {});
      await desk.start();
      await catalog.publishAll(upTo(40).map((n) => priced('a', n)));
      await depot.publishAll(upTo(5).map((n) => priced('d', n)));
      await desk.settled();
      await desk.advance(3_000);
      await plantLoss(desk, ['a11', 'a12']);
      await prices.pause();
      await catalog.publishAll(upTo(3).map((n) => priced('z', n)));
      await catalog.advance(1_000);
      // Over a broker nobody can tell what lies before a subscription that is behind: then nothing is called lost yet.
      const early = (await operations(desk).audit()).find(({ source }) => source === 'catalog')!;
      assert.deepEqual([early.published, early.applied, early.waiting, early.failed, early.lost + early.pending], [43, 36, 1, 1, 5]);
      await prices.resume();
      await desk.settled();
      await desk.advance(3_000);
      const entries = await operations(desk).audit();
      const of = (source: string) => entries.find((one) => one.subscription === 'desk.prices' && one.source === source)!;
      const { published, applied, pending, waiting, failed, lost, oldestGap, lostMessages, trimmed } = of('catalog');
      assert.deepEqual({ published, applied, pending, waiting, failed, lost, trimmed }, { published: 43, applied: 39, pending: 0, waiting: 1, failed: 1, lost: 2, trimmed: false });
      assert.equal(oldestGap!.id, 'a7');
      assert.deepEqual(lostMessages.map(({ id }) => id), ['a11', 'a12']);
      assert.deepEqual([of('depot').published, of('depot').applied, of('depot').oldestGap], [5, 5, undefined]);
      assert.ok(entries.every(({ subscription }) => subscription === 'desk.prices'), 'nothing was published for the other');

      const replay = await operations(desk).subscriptions.replay('prices', { from: 'beginning' });
      await desk.advance(3_000);
      assert.equal((await replay.done).added, 2);
      assert.equal((await operations(desk).audit({ subscription: 'prices', sources: ['catalog'] }))[0]!.lost, 0);
    });

    it('asks for pages, not for each message', async (t) => {
      const open = await make(t);
      await using catalog = open('catalog');
      await using desk = open('desk');
      desk.subscribe(Priced, { name: 'prices' }, () => {});
      await desk.start();
      await catalog.publishAll(upTo(1_200).map((n) => priced('a', n)));
      await desk.settled();
      const { inspect } = (await internalsOf(desk).store()).ports;
      const { standing } = inspect;
      const asked: number[] = [];
      Object.assign(inspect, {
        standing(subscription: string, keys: readonly never[]) {
          asked.push(keys.length);
          return standing(subscription, keys);
        },
      });
      const [entry] = await operations(desk).audit({ sources: ['catalog'] });
      assert.deepEqual([entry!.published, entry!.applied], [1_200, 1_200]);
      assert.ok(asked.length <= 8 && Math.max(...asked) <= 500, asked.join());
    });

    it('keeps to its range, and to what the subscription was there for', async (t) => {
      const open = await make(t);
      await using catalog = open('catalog');
      await catalog.publishAll(upTo(4).map((n) => priced('a', n)));
      await catalog.advance(2_000);
      await using desk = open('desk');
      desk.subscribe(Priced, { name: 'prices' }, () => {});
      await desk.start();
      await desk.advance(2_000);
      const middle = desk.clock.now();
      await catalog.publishAll(upTo(6).map((n) => priced('b', n)));
      await desk.settled();
      await desk.advance(2_000);
      await catalog.publishAll(upTo(3).map((n) => priced('c', n)));
      await desk.settled();
      const published = async (range: object): Promise<number | undefined> => (await operations(desk).audit(range)).find(({ source }) => source === 'catalog')?.published;
      assert.equal(await published({}), 9, 'not the four from before it');
      assert.equal(await published({ from: new Date(middle), to: new Date(middle + 1_000) }), 6);
      assert.equal(await published({ from: new Date(middle + 1_000) }), 3);
    });
  });

  it(`over ${name}, republish sends again under the same ids, and receivers drop what they have`, async (t) => {
    const open = await make(t);
    await using catalog = open('catalog');
    await using desk = open('desk');
    let runs = 0;
    desk.subscribe(Priced, { name: 'prices' }, () => void runs++);
    await desk.start();
    await catalog.publishAll(upTo(300).map((n) => priced('a', n)));
    await desk.settled();
    await plantLoss(desk, ['a5']);
    await catalog.advance(10);
    assert.equal(await operations(catalog).outbox.republish({ types: [Priced.type] }), 300);
    await desk.settled();
    assert.equal(runs, 301);
    assert.equal((await operations(desk).audit())[0]!.duplicates, 299);
    assert.equal(internalsOf(desk).duplicates('desk.prices'), 299);
    await assert.rejects(operations(catalog).outbox.republish({ types: [] }), (error) => WaybillError.is(error, 'INVALID_OPTION'));
  });
}

it('a replay is done once by two instances', async () => {
  const transport = memory();
  const shared = memoryStore();
  let asked = 0;
  const instance = (): TestBus<any> => {
    const store = {
      ...shared,
      async open(host: Host) {
        const session = await shared.open(host);
        const { standing } = session.ports.inspect;
        Object.assign(session.ports.inspect, {
          // Takes its time, so that both have read the same page before either of them writes.
          async standing(...of: Parameters<typeof standing>) {
            asked++;
            await new Promise<void>((resolve) => void host.clock.after(50, resolve));
            return standing(...of);
          },
        });
        return session;
      },
    };
    return createTestBus({ service: 'desk', transport, store });
  };
  await using catalog = createTestBus({ service: 'catalog', transport });
  await using one = instance();
  await using two = instance();
  const seen: number[] = [];
  for (const desk of [one, two]) desk.subscribe(Priced, { name: 'prices' }, (event, ctx) => ctx.afterCommit(() => void seen.push(event.revision)));
  await one.start();
  await two.start();
  await catalog.publishAll(upTo(500).map((n) => priced('a', n)));
  await one.settled();
  seen.length = 0;
  const { done } = await operations(two).subscriptions.replay('prices', { from: 'beginning', again: true });
  internalsOf(one).wake();
  await one.advance(15_000);
  assert.ok(asked > 3, `they met: ${asked}`);
  assert.equal((await done).added, 500);
  assert.deepEqual(seen.toSorted((a, b) => a - b), upTo(500));
});

it('a replay of a publisher that stays away for an hour is given up, and says what it waited for', async () => {
  const transport = memory();
  const catalog = createTestBus({ service: 'catalog', transport });
  await using desk = createTestBus({ service: 'desk', transport });
  desk.subscribe(Priced, { name: 'prices' }, () => {});
  await desk.start();
  await catalog.publishAll(upTo(3).map((n) => priced('a', n)));
  await desk.settled();
  await catalog.stop();
  const { id, done } = await operations(desk).subscriptions.replay('prices', { from: 'beginning' });
  const outcome = assert.rejects(done, (error) => WaybillError.is(error, 'REPLAY_FAILED') && /gave up: .* no reply.*ask for it again/.test(error.message));
  const progress = async () => (await operations(desk).subscriptions.replays()).find((one) => one.id === id)!;
  await desk.advance(15_000);
  assert.deepEqual([(await progress()).state, (await progress()).error?.code], ['running', 'REPLY_TIMEOUT']);
  // The tries of an hour, without its polls.
  const store = await internalsOf(desk).store();
  const [row] = (await store.ports.waiting.due(replaysOf('desk'), Number.MAX_SAFE_INTEGER, 1)).rows;
  const stored = readReplay(row!).replay;
  assert.ok(stored.tries >= 1);
  await transact(store, desk.clock, (tx) => store.ports.waiting.settle(tx, row!, { attempt: row!.attempt + 1, message: replayMessage('desk', id, { ...stored, tries: 61 }) }));
  await desk.advance(75_000);
  assert.equal((await progress()).state, 'running', 'tried once more');
  await desk.advance(150_000);
  await outcome;
  assert.equal((await progress()).state, 'failed');
});

it('a replay into a saga keeps the order of its instances, whatever keys the publisher gave', async () => {
  const transport = memory();
  await using catalog = createTestBus({ service: 'catalog', transport });
  await using desk = createTestBus({ service: 'desk', transport });
  await catalog.publishAll([priced('a', 1), priced('b', 2), priced('c', 3)]);
  await catalog.settled();
  const seen: string[] = [];
  let broken = true;
  desk.run(
    defineSaga('week', { state: z.object({}), initial: () => ({}) }).startedBy(Priced, () => 'all', ({ id }) => {
      if (id === 'b' && broken) throw new Error('not yet');
      if (!seen.includes(id)) seen.push(id); // it runs again when its transaction is undone
    }),
  );
  await desk.start();
  await operations(desk).subscriptions.replay('week', { from: 'beginning', sources: ['catalog'] });
  await desk.advance(300);
  broken = false;
  await desk.advance(60_000);
  assert.deepEqual(seen, ['a', 'b', 'c']);
});
