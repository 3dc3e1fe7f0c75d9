import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { WaitingEntry, WaitingRow } from '../../contract/store.ts';
import { failure, openStore, testHost, waitingEntry, wire } from '../../../test/sqlite/support.ts';
import type { TestHost } from '../../../test/sqlite/support.ts';
import type { SqliteStoreSession } from './port.ts';

const subscription = 'basket.prices';

interface World {
  readonly host: TestHost;
  readonly store: SqliteStoreSession;
  add(...entries: Partial<WaitingEntry>[]): Promise<void>;
  /** In the line of key k. */
  line(...ids: string[]): Promise<void>;
  due(nowMs?: number, max?: number): Promise<string[]>;
  row(id: string): Promise<WaitingRow>;
  settle(id: string, next?: Partial<WaitingEntry>): Promise<boolean>;
}

async function world(t: TestContext): Promise<World> {
  const host = testHost();
  const store = await openStore(t, ':memory:', host);
  const { waiting, inspect } = store.ports;
  const self: World = {
    host,
    store,
    add: (...entries) => store.transaction((tx) => waiting.add(tx, entries.map((entry) => waitingEntry(entry)))),
    line: (...ids) => self.add(...ids.map((id) => ({ message: wire({ id, key: 'k' }), inOrder: true, reason: 'behind' as const }))),
    due: async (nowMs = 100, max = 10) => (await waiting.due(subscription, nowMs, max)).rows.map((row) => row.message.id),
    row: async (id) => (await inspect.waiting({ id }))[0]!,
    settle: async (id, next) => {
      const row = await self.row(id);
      return store.transaction((tx) => waiting.settle(tx, row, next));
    },
  };
  return self;
}

/** Runs out at once, so that what follows needs no owner. */
const claim = { owner: 'me', claimMs: 0 };

describe('what waits', () => {
  it('is kept as it was given', async (t) => {
    const { host, store } = await world(t);
    host.nowMs = 77;
    const entry = waitingEntry({
      message: wire({ id: 'm', kind: 'command', recipient: 'basket', key: 'k', headers: { a: 'b' }, body: new Uint8Array([0, 9]) }),
      dueMs: 5,
      attempt: 2,
      attempts: 4,
      firstFailedMs: 3,
      error: { code: 'X', message: 'no', stack: undefined },
      inOrder: true,
    });
    await store.transaction((tx) => store.ports.waiting.add(tx, [entry]));
    const { rows } = await store.ports.waiting.due(subscription, 5, 1);
    assert.deepEqual(rows, [{ ...entry, row: 1, starts: 2, createdMs: 77 }]);
  });

  it('comes when it is due, the longest due first, and says when the next one will be', async (t) => {
    const { store, add } = await world(t);
    const { waiting } = store.ports;
    await add({ message: wire({ id: 'b' }), dueMs: 20 }, { message: wire({ id: 'a' }), dueMs: 10 }, { message: wire({ id: 'b2' }), dueMs: 20 });
    await add({ subscription: 'other', dueMs: 1 }, { subscription: undefined, dueMs: 2, reason: 'delayed' });
    const at = async (nowMs: number, max: number): Promise<unknown> => {
      const { rows, nextDueMs } = await waiting.due(subscription, nowMs, max);
      return [rows.map((row) => row.message.id), nextDueMs];
    };
    assert.deepEqual(await at(9, 10), [[], 10]);
    assert.deepEqual(await at(10, 10), [['a'], 20]);
    assert.deepEqual(await at(20, 10), [['a', 'b', 'b2'], undefined]);
    assert.deepEqual(await at(20, 2), [['a', 'b'], 20]);
    assert.deepEqual(await at(9.9, 10), [[], 10]);
    assert.equal((await waiting.due(undefined, 5, 10)).rows.length, 1);
  });

  it('counts its runs as they begin, in a commit of its own', async (t) => {
    const { store, add, row } = await world(t);
    await add({ message: wire({ id: 'm' }), attempt: 1 });
    const found = await row('m');
    assert.deepEqual(await store.ports.waiting.start([found], claim), [2]);
    assert.deepEqual(await store.ports.waiting.start([{ ...found, row: 99 }, { ...found, starts: 2 }], claim), [undefined, 3]);
    assert.deepEqual([(await row('m')).attempt, (await row('m')).starts], [1, 3]); // two runs ended without a verdict
  });

  it('is settled: gone, or set to what is next, with its starts counted from there', async (t) => {
    const { store, add, row, settle } = await world(t);
    await add({ message: wire({ id: 'm' }) });
    await store.ports.waiting.start([await row('m')], claim);
    const error = { code: 'X', message: 'no', stack: 'at' };
    assert.equal(await settle('m', { attempt: 1, dueMs: 50, reason: 'retry', error, firstFailedMs: 9 }), true);
    const after = await row('m');
    assert.deepEqual([after.attempt, after.starts, after.dueMs, after.error, after.firstFailedMs], [1, 1, 50, error, 9]);
    assert.equal(await settle('m', { message: wire({ id: 'm', body: new Uint8Array([1]) }) }), true);
    assert.deepEqual((await row('m')).message.body, new Uint8Array([1]));
    const last = await row('m');
    assert.equal(await settle('m'), true);
    assert.equal(await store.transaction((tx) => store.ports.waiting.settle(tx, last)), false);
    assert.equal(await store.transaction((tx) => store.ports.waiting.settle(tx, last, { dueMs: 1 })), false);
    assert.deepEqual(await store.ports.waiting.start([last], claim), [undefined]);
  });

  it('is taken back while it is delayed at the sender, and only then', async (t) => {
    const { store, add } = await world(t);
    const cancel = (id: string): Promise<boolean> => store.transaction((tx) => store.ports.waiting.cancel(tx, id));
    await add({ subscription: undefined, reason: 'delayed', message: wire({ id: 'mine' }) }, { message: wire({ id: 'received' }) });
    await add({ subscription: undefined, reason: 'retry', message: wire({ id: 'sent' }) }, { reason: 'delayed', message: wire({ id: 'received' }) });
    assert.equal(await cancel('received'), false);
    assert.equal(await cancel('sent'), false);
    assert.equal(await cancel('mine'), true);
    assert.equal(await cancel('mine'), false);
  });
});

describe('the line of a key', () => {
  it('lets its oldest row through alone, whatever its due time; other keys go their own way', async (t) => {
    const { add, due, line, settle } = await world(t);
    await line('first', 'second', 'third');
    await add({ message: wire({ id: 'unordered', key: 'k' }) }, { message: wire({ id: 'other', key: 'l' }), inOrder: true });
    assert.deepEqual(await due(), ['first', 'unordered', 'other']);
    await settle('first', { dueMs: 500, attempt: 1 }); // it waits for its retry, and the others behind it
    assert.deepEqual(await due(), ['unordered', 'other']);
    await settle('first');
    assert.deepEqual(await due(), ['second', 'unordered', 'other']);
    await settle('second');
    assert.deepEqual(await due(), ['third', 'unordered', 'other']); // the oldest of those that are due
  });

  it('blocks later messages of its key as long as one waits', async (t) => {
    const { store, line, settle } = await world(t);
    const blocked = (...keys: string[]): Promise<string[]> =>
      store.transaction(async (tx) => [...(await store.ports.waiting.blocked(tx, subscription, keys))]);
    assert.deepEqual(await blocked('k', 'l'), []);
    await line('first');
    assert.deepEqual(await blocked('k', 'l'), ['k']);
    assert.deepEqual(await store.transaction(async (tx) => [...(await store.ports.waiting.blocked(tx, 'other', ['k']))]), []);
    await settle('first');
    assert.deepEqual(await blocked('k', 'l'), []);
  });

  it('does not block for rows that are not in order', async (t) => {
    const { store, add } = await world(t);
    await add({ message: wire({ key: 'k' }) });
    assert.equal((await store.transaction(async (tx) => store.ports.waiting.blocked(tx, subscription, ['k']))).size, 0);
  });

  it('stands still while a failure holds its key, and goes on when that is taken', async (t) => {
    const { store, due, line, settle } = await world(t);
    const { failures, waiting, inspect } = store.ports;
    await line('bad', 'next', 'last');
    const bad = (await inspect.waiting({ id: 'bad' }))[0]!;
    await store.transaction(async (tx) => {
      await failures.add(tx, [failure({ message: bad.message, holds: true })]);
      await waiting.settle(tx, bad);
    });
    assert.deepEqual(await due(), []);
    assert.deepEqual([...(await store.transaction(async (tx) => waiting.blocked(tx, subscription, ['k'])))], ['k']);
    await line('later');
    assert.deepEqual(await due(), []);
    const [held] = await inspect.failures({});
    await store.transaction((tx) => failures.take(tx, [held!.row]));
    assert.deepEqual(await due(), ['next']);
    await settle('next');
    assert.deepEqual(await due(), ['last']);
  });

  it('stands still as soon as a failure holds its key, whoever stood at its head', async (t) => {
    const { store, due, line } = await world(t);
    await line('head', 'next');
    await store.transaction((tx) => store.ports.failures.add(tx, [failure({ message: wire({ key: 'k' }), holds: true })]));
    assert.deepEqual(await due(), []);
    await store.transaction((tx) => store.ports.failures.add(tx, [failure({ message: wire({ key: 'k' }), holds: true })]));
    await store.transaction((tx) => store.ports.failures.take(tx, [1]));
    assert.deepEqual(await due(), []); // the other one holds it still
    await store.transaction((tx) => store.ports.failures.take(tx, [2]));
    assert.deepEqual(await due(), ['head']);
  });

  it('takes a failure that held it and is retried at its front again', async (t) => {
    const { store, add, due, line, settle } = await world(t);
    await store.transaction((tx) => store.ports.failures.add(tx, [failure({ message: wire({ id: 'bad', key: 'k' }), holds: true })]));
    await line('next');
    await store.transaction(async (tx) => {
      const [taken] = await store.ports.failures.take(tx, [1]);
      await store.ports.waiting.add(tx, [waitingEntry({ message: taken!.message, reason: 'asked', inOrder: true })]);
    });
    assert.deepEqual(await due(), ['bad']);
    await settle('bad', { reason: 'retry', dueMs: 900 }); // it keeps its place
    assert.deepEqual(await due(), []);
    await add({ message: wire({ id: 'asked later', key: 'k' }), reason: 'asked', inOrder: true });
    assert.deepEqual(await due(1_000), ['bad']);
    await settle('bad');
    assert.deepEqual(await due(1_000), ['asked later']);
    await settle('asked later');
    assert.deepEqual(await due(1_000), ['next']);
  });

  it('may be left and joined by a row', async (t) => {
    const { due, line, settle } = await world(t);
    await line('a', 'b');
    await settle('a', { inOrder: false });
    assert.deepEqual(await due(), ['a', 'b']);
    await settle('a', { inOrder: true });
    assert.deepEqual(await due(), ['a']);
  });

  it('is undone with the transaction', async (t) => {
    const { store, due, line } = await world(t);
    await line('a', 'b');
    const [a] = await store.ports.inspect.waiting({ id: 'a' });
    await store.transaction(async (tx) => {
      await assert.rejects(tx.savepoint(async () => (await store.ports.waiting.settle(tx, a!), assert.fail('no'))));
    });
    assert.deepEqual(await due(), ['a']);
  });
});
