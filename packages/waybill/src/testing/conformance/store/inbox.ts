/** What was taken on, and the watermarks. */
import assert from 'node:assert/strict';
import type { InboxKey, StoreSession, Watermark } from '../../../contract/store.ts';
import { due, entry, failure, held, prices, undone, type StoreCase } from './world.ts';

const a = { source: 'catalog', id: 'a' };
const b = { source: 'catalog', id: 'b' };
const c = { source: 'catalog', id: 'c' };

const mark = (sequence: bigint, of: Partial<Watermark> = {}): Watermark => ({
  subscription: prices,
  source: 'catalog',
  event: 'catalog.price-changed',
  key: 'p1',
  sequence,
  ...of,
});

export const inboxCases: readonly StoreCase[] = [
  {
    name: 'insert tells for each key whether it was new',
    async run(world) {
      const session = await world.open();
      assert.deepEqual(await insert(session, a, b), [true, true]);
      assert.deepEqual(await insert(session, b, c, a), [false, true, false]);
      assert.deepEqual(await insert(session), []);
    },
  },
  {
    name: 'a key that stands twice in one call is new once',
    async run(world) {
      assert.deepEqual(await insert(await world.open(), a, b, a), [true, true, false]);
    },
  },
  {
    name: 'a key is known to its own transaction',
    async run(world) {
      const session = await world.open();
      await session.transaction(async (tx) => {
        assert.deepEqual(await session.ports.inbox.insert(tx, prices, [a]), [true]);
        assert.deepEqual(await session.ports.inbox.insert(tx, prices, [a]), [false]);
      });
    },
  },
  {
    name: 'a key is its subscription, source and id, exactly',
    async run(world) {
      const session = await world.open();
      const others: readonly (readonly [string, InboxKey])[] = [
        [prices, { source: 'catalog', id: 'A' }],
        [prices, { source: 'catalog', id: 'a ' }],
        [prices, { source: 'catalog', id: ' a' }],
        [prices, { source: 'catalog', id: 'ä' }],
        [prices, { source: 'catalog', id: 'a\u0308' }], // the same letter in two characters
        [prices, { source: 'catalog', id: 'a\u200b' }],
        [prices, { source: 'Catalog', id: 'a' }],
        [prices, { source: 'catalog ', id: 'a' }],
        [prices, { source: 'a', id: 'catalog' }],
        [`${prices} `, a],
        ['basket.Prices', a],
        ['basket', { source: 'prices.catalog', id: 'a' }],
      ];
      await insert(session, a);
      for (const [subscription, key] of others) {
        const what = JSON.stringify([subscription, key]);
        assert.equal(await session.ports.inbox.has(subscription, key), false, what);
        const inserted = await session.transaction((tx) => session.ports.inbox.insert(tx, subscription, [key]));
        assert.deepEqual(inserted, [true], what);
      }
    },
  },
  {
    name: 'has knows what is committed',
    async run(world) {
      const session = await world.open();
      assert.equal(await session.ports.inbox.has(prices, a), false);
      await insert(session, a);
      assert.equal(await session.ports.inbox.has(prices, a), true);
      await undone(session, (tx) => session.ports.inbox.insert(tx, prices, [b]));
      assert.equal(await session.ports.inbox.has(prices, b), false);
    },
  },
  {
    name: 'sources names each from whom the subscription has taken something on, once',
    async run(world) {
      const session = await world.open();
      assert.deepEqual(await session.ports.inbox.sources(prices, 10), []);
      await insert(session, a, b, { source: 'stock', id: 'a' }, { source: 'Stock', id: 'a' });
      await session.transaction((tx) => session.ports.inbox.insert(tx, `${prices}2`, [{ source: 'ordering', id: 'a' }]));
      await undone(session, (tx) => session.ports.inbox.insert(tx, prices, [{ source: 'nobody', id: 'a' }]));
      assert.deepEqual((await session.ports.inbox.sources(prices, 10)).toSorted(), ['Stock', 'catalog', 'stock']);
      assert.equal((await session.ports.inbox.sources(prices, 2)).length, 2);
    },
  },
  {
    name: 'an insert waits for another that is under way: new if that one is undone, else known',
    async run(world) {
      const session = await world.open();
      for (const [outcome, isNew] of [['commit', false], ['rollback', true]] as const) {
        const key = { source: 'catalog', id: outcome };
        const first = held(session, (tx) => session.ports.inbox.insert(tx, prices, [key]));
        assert.deepEqual(await first.worked, [true]);
        const second = session.transaction((tx) => session.ports.inbox.insert(tx, prices, [key]));
        for (let turn = 0; turn < 5; turn++) await world.clock.turn();
        await first.end(outcome);
        assert.deepEqual(await second, [isNew], `after ${outcome}`);
      }
    },
  },
  {
    name: 'of many inserts of one key at once, one finds it new',
    async run(world) {
      const session = await world.open();
      const found = await Promise.all(Array.from({ length: 10 }, () => insert(session, a)));
      assert.equal(found.flat().filter(Boolean).length, 1);
    },
  },
  {
    name: 'of inserts of one key from several sessions, one finds it new',
    needs: ['sessions'],
    async run(world) {
      const sessions = [await world.open(), await world.open(), await world.open()];
      const found = await Promise.all(sessions.flatMap((session) => [insert(session, a), insert(session, a)]));
      assert.equal(found.flat().filter(Boolean).length, 1);
    },
  },
  {
    name: 'a watermark rises, and says when it does not',
    async run(world) {
      const session = await world.open();
      const answers = [];
      for (const sequence of [5n, 5n, 4n, 6n, 5n, 100n, 99n]) answers.push(await advance(session, mark(sequence)));
      assert.deepEqual(answers, [true, false, false, true, false, true, false]);
      assert.equal(await advance(session, mark(0n, { key: 'from zero' })), true);
      assert.equal(await advance(session, mark(-3n, { key: 'from below' })), true);
      assert.equal(await advance(session, mark(-2n, { key: 'from below' })), true);
    },
  },
  {
    name: 'a watermark tells large numbers apart, up to 63 bits',
    async run(world) {
      const session = await world.open();
      const rising = [9n, 10n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 60n + 1n, 2n ** 63n - 2n, 2n ** 63n - 1n];
      for (const sequence of rising) {
        assert.equal(await advance(session, mark(sequence)), true, `${sequence} is new`);
        assert.equal(await advance(session, mark(sequence)), false, `${sequence} is known`);
      }
      const least = mark(-(2n ** 63n) + 1n, { key: 'least' });
      assert.deepEqual([await advance(session, least), await advance(session, least)], [true, false]);
    },
  },
  {
    name: 'there is a watermark for each subscription, source, event and key, exactly',
    async run(world) {
      const session = await world.open();
      await advance(session, mark(10n));
      const others: readonly Partial<Watermark>[] = [
        { subscription: 'basket.other' },
        { source: 'catalog-eu' },
        { event: 'catalog.price-raised' },
        { key: 'p2' },
        { key: 'P1' },
        { key: 'p1 ' },
        { key: '' },
      ];
      for (const other of others) assert.equal(await advance(session, mark(1n, other)), true, JSON.stringify(other));
      assert.equal(await advance(session, mark(1n)), false);
    },
  },
  {
    name: 'a watermark that was raised in an undone transaction stands where it stood',
    async run(world) {
      const session = await world.open();
      await advance(session, mark(1n));
      assert.equal(await undone(session, (tx) => session.ports.inbox.advance(tx, mark(9n))), true);
      assert.equal(await advance(session, mark(2n)), true);
    },
  },
  {
    name: 'a renamed subscription knows what it took on under its old name',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      await insert(session, a);
      await session.transaction((tx) => inbox.rename(tx, prices, 'basket.new'));
      assert.deepEqual([await inbox.has('basket.new', a), await inbox.has(prices, a)], [true, false]);
      assert.deepEqual(await session.transaction((tx) => inbox.insert(tx, 'basket.new', [a, b])), [false, true]);
    },
  },
  {
    name: 'a renamed subscription keeps its watermarks',
    async run(world) {
      const session = await world.open();
      await advance(session, mark(10n));
      await session.transaction((tx) => session.ports.inbox.rename(tx, prices, 'basket.new'));
      assert.equal(await advance(session, mark(10n, { subscription: 'basket.new' })), false);
      assert.equal(await advance(session, mark(11n, { subscription: 'basket.new' })), true);
      assert.equal(await advance(session, mark(1n)), true, 'the old name is free');
    },
  },
  {
    name: 'renaming onto a name that is in use keeps the rows of both, and the higher watermark',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      await insert(session, a, b);
      await session.transaction((tx) => inbox.insert(tx, 'basket.new', [b, c]));
      await advance(session, mark(10n, { key: 'old is higher' }));
      await advance(session, mark(5n, { key: 'old is higher', subscription: 'basket.new' }));
      await advance(session, mark(5n, { key: 'new is higher' }));
      await advance(session, mark(10n, { key: 'new is higher', subscription: 'basket.new' }));
      await session.transaction((tx) => inbox.rename(tx, prices, 'basket.new'));
      assert.deepEqual(await session.transaction((tx) => inbox.insert(tx, 'basket.new', [a, b, c])), [false, false, false]);
      for (const key of ['old is higher', 'new is higher']) {
        assert.equal(await advance(session, mark(10n, { key, subscription: 'basket.new' })), false, key);
      }
    },
  },
  {
    name: 'what waits and what has failed goes along with a renamed subscription',
    async run(world) {
      const session = await world.open();
      const { inbox, waiting, failures, inspect } = session.ports;
      await session.transaction(async (tx) => {
        await waiting.add(tx, [entry('waits', { key: 'p1' })]);
        await failures.add(tx, [failure('failed')]);
        await inbox.rename(tx, prices, 'basket.new');
      });
      assert.deepEqual((await due(session, 1, { subscription: 'basket.new' })).names, ['waits']);
      assert.deepEqual((await due(session, 1)).names, []);
      assert.equal((await inspect.failures({ subscription: 'basket.new' })).length, 1);
    },
  },
  {
    name: 'trim removes rows taken on before that time, but none that a waiting or failed message still needs',
    async run(world) {
      const session = await world.open();
      const { inbox, waiting, failures } = session.ports;
      const keys = ['gone', 'waits', 'failed', 'waits elsewhere'].map((name) => ({ source: 'catalog', id: `id of ${name}` }));
      await insert(session, ...keys);
      await session.transaction(async (tx) => {
        await waiting.add(tx, [entry('waits'), entry('waits elsewhere', { subscription: 'basket.other' })]);
        await failures.add(tx, [failure('failed')]);
      });
      await world.pass(10_000);
      await insert(session, a);
      assert.equal(await inbox.trim(world.clock.now() - 5_000, 100), 2);
      const left = [];
      for (const key of [...keys, a]) left.push(await inbox.has(prices, key));
      assert.deepEqual(left, [false, true, true, false, true]);
    },
  },
  {
    name: 'trim of the inbox removes no more than was asked for',
    async run(world) {
      const session = await world.open();
      await insert(session, a, b, c);
      await world.pass(1_000);
      assert.equal(await session.ports.inbox.trim(world.clock.now(), 2), 2);
      assert.equal(await session.ports.inbox.trim(world.clock.now(), 2), 1);
      assert.equal(await session.ports.inbox.trim(world.clock.now(), 2), 0);
    },
  },
];

function insert(session: StoreSession, ...keys: readonly InboxKey[]): Promise<readonly boolean[]> {
  return session.transaction((tx) => session.ports.inbox.insert(tx, prices, keys));
}

function advance(session: StoreSession, to: Watermark): Promise<boolean> {
  return session.transaction((tx) => session.ports.inbox.advance(tx, to));
}

