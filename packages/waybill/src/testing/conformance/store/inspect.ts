/** What operations read. */
import assert from 'node:assert/strict';
import type { InboxKey, OutboxLease, StoreSession } from '../../../contract/store.ts';
import { entry, failure, message, prices, type StoreCase } from './world.ts';

export const inspectCases: readonly StoreCase[] = [
  {
    name: 'the list of what was sent tells the state of each: ready, published, failed',
    async run(world) {
      const session = await world.open();
      const lease = await acquire(session);
      const command = { kind: 'command', recipient: 'ordering', key: 'k', time: 1_767_225_600_123 } as const;
      await append(session, message('published'), message('failed', command), message('ready'));
      const rows = await lease.read(2);
      await lease.settle(rows[1]!.position, [{ ...failure('failed', { subscription: undefined }), message: rows[1]! }]);
      const found = await session.ports.inspect.outbox({});
      assert.deepEqual(found.map(({ id, state }) => [id, state]), [['id of published', 'published'], ['id of failed', 'failed'], ['id of ready', 'ready']]);
      const { position, ...rest } = found[1]!;
      assert.equal(position, rows[1]!.position);
      assert.deepEqual({ ...rest }, { id: 'id of failed', type: 'catalog.price-changed.v1', ...plain(command), state: 'failed' });
    },
  },
  {
    name: 'the list of what was sent is filtered by state and id, and paged',
    async run(world) {
      const session = await world.open();
      const lease = await acquire(session);
      await append(session, ...['a', 'b', 'c', 'd', 'e'].map((name) => message(name)));
      const rows = await lease.read(2);
      await lease.settle(rows[1]!.position, [failure('b', { subscription: undefined })]);
      const ids = async (page: Parameters<StoreSession['ports']['inspect']['outbox']>[0]): Promise<string> =>
        (await session.ports.inspect.outbox(page)).map(({ id }) => id.at(-1)).join('');
      assert.equal(await ids({ state: 'ready' }), 'cde');
      assert.equal(await ids({ state: 'published' }), 'a');
      assert.equal(await ids({ state: 'failed' }), 'b');
      assert.equal(await ids({ id: 'id of d' }), 'd');
      assert.equal(await ids({ id: 'id of d', state: 'published' }), '');
      assert.equal(await ids({ limit: 2 }), 'ab');
      assert.equal(await ids({ limit: 2, after: rows[1]!.position }), 'cd');
      assert.equal(await ids({ limit: 1, after: rows[1]!.position, state: 'ready' }), 'c');
    },
  },
  {
    name: 'a list has a hundred rows unless another limit is given, and never more than a thousand',
    async run(world) {
      const session = await world.open();
      await append(session, ...Array.from({ length: 1_001 }, (_, i) => message(`${i}`)));
      const { inspect } = session.ports;
      assert.equal((await inspect.outbox({})).length, 100);
      assert.equal((await inspect.outbox({ limit: 101 })).length, 101);
      assert.equal((await inspect.outbox({ limit: 5_000 })).length, 1_000);
    },
  },
  {
    name: 'the list of what waits is filtered by subscription and id, and paged',
    async run(world) {
      const session = await world.open();
      const { waiting, inspect } = session.ports;
      await session.transaction((tx) =>
        waiting.add(tx, [
          entry('a', { key: 'x', dueMs: 9_000 }),
          entry('b', { key: 'x' }),
          entry('c', { subscription: 'basket.other' }),
          entry('d', { subscription: undefined, reason: 'delayed' }),
        ]),
      );
      const ids = async (page: Parameters<typeof inspect.waiting>[0]): Promise<string> =>
        (await inspect.waiting(page)).map(({ message: { id } }) => id.at(-1)).join('');
      assert.equal(await ids({}), 'abcd');
      assert.equal(await ids({ subscription: prices }), 'ab');
      assert.equal(await ids({ subscription: null }), 'd');
      assert.equal(await ids({ id: 'id of c' }), 'c');
      assert.equal(await ids({ id: 'id of c', subscription: prices }), '');
      const [first] = await inspect.waiting({ limit: 1 });
      assert.equal(await ids({ after: first!.row, limit: 2 }), 'bc');
    },
  },
  {
    name: 'the list of failures is filtered by every field, and paged',
    async run(world) {
      const session = await world.open();
      const { failures, inspect } = session.ports;
      const rejected = { code: 'REJECTED', message: 'no', stack: undefined };
      await session.transaction((tx) =>
        failures.add(tx, [
          failure('a'),
          failure('b', { error: rejected }),
          failure('c', { subscription: 'basket.other' }),
          failure('d', { subscription: undefined }),
          failure('e', { type: 'catalog.added.v1' }),
        ]),
      );
      const ids = async (filter: Parameters<typeof inspect.failures>[0]): Promise<string> =>
        (await inspect.failures(filter)).map(({ message: { id } }) => id.at(-1)).join('');
      assert.equal(await ids({}), 'abcde');
      assert.equal(await ids({ subscription: prices }), 'abe');
      assert.equal(await ids({ subscription: null }), 'd');
      assert.equal(await ids({ type: 'catalog.added.v1' }), 'e');
      assert.equal(await ids({ code: 'REJECTED' }), 'b');
      assert.equal(await ids({ id: 'id of c' }), 'c');
      assert.equal(await ids({ code: 'REJECTED', subscription: null }), '');
      const [first] = await inspect.failures({ limit: 1 });
      assert.equal(await ids({ after: first!.row, limit: 2 }), 'bc');
    },
  },
  {
    name: 'failures of the same trouble are a group, which names them in a filter',
    async run(world) {
      const session = await world.open();
      const { failures, inspect } = session.ports;
      await session.transaction((tx) =>
        failures.add(tx, [
          failure('a', { firstFailedMs: 200, lastFailedMs: 300 }),
          failure('b', { firstFailedMs: 100, lastFailedMs: 250 }),
          failure('c', { error: { code: 'REJECTED', message: 'no', stack: undefined } }),
          failure('d', { subscription: 'basket.other' }),
          failure('e', { type: 'catalog.added.v1' }),
          failure('f', { subscription: undefined }),
        ]),
      );
      const groups = await inspect.failureGroups();
      assert.equal(groups.length, 5);
      assert.equal(new Set(groups.map(({ group }) => group)).size, 5);
      const { group, ...rest } = groups.find(({ count }) => count === 2)!;
      assert.deepEqual(
        { ...rest },
        { subscription: prices, type: 'catalog.price-changed.v1', code: 'HANDLER_FAILED', message: 'out of stock', count: 2, firstMs: 100, lastMs: 300 },
      );
      assert.deepEqual((await inspect.failures({ group })).map(({ message: { id } }) => id), ['id of a', 'id of b']);
    },
  },
  {
    name: 'a message stands where it is: unknown, applied, waiting, failed, by subscription, source and id',
    async run(world) {
      const session = await world.open();
      const { waiting, failures, inbox, inspect } = session.ports;
      const keyOf = (name: string, source = 'catalog'): InboxKey => ({ source, id: `id of ${name}` });
      await session.transaction(async (tx) => {
        await inbox.insert(tx, prices, ['waits', 'failed', 'applied'].map((name) => keyOf(name)));
        await inbox.insert(tx, prices, [keyOf('failed', 'ordering')]);
        await waiting.add(tx, [entry('waits'), entry('waits', { subscription: 'basket.other' })]);
        await failures.add(tx, [failure('failed')]);
      });
      const asked = [keyOf('applied'), keyOf('failed'), keyOf('none'), keyOf('waits'), keyOf('failed', 'ordering'), keyOf('waits', 'ordering'), keyOf('applied')];
      assert.deepEqual(await inspect.standing(prices, asked), ['applied', 'failed', 'unknown', 'waiting', 'applied', 'unknown', 'applied']);
      assert.deepEqual(await inspect.standing('basket.other', asked), ['unknown', 'unknown', 'unknown', 'waiting', 'unknown', 'unknown', 'unknown']);
      assert.deepEqual(await inspect.standing(prices, []), []);
      const many = Array.from({ length: 500 }, (_, i) => keyOf(i % 2 === 0 ? 'applied' : `${i}`));
      assert.deepEqual(await inspect.standing(prices, many), many.map((_, i) => (i % 2 === 0 ? 'applied' : 'unknown')));
    },
  },
  {
    name: 'counts tell what is ready, waits and has failed',
    async run(world) {
      const session = await world.open();
      const { waiting, failures, inspect } = session.ports;
      const lease = await acquire(session);
      assert.deepEqual({ ...(await inspect.counts()) }, { ready: 0, waiting: 0, failed: 0 });
      await append(session, message('a'), message('b'), message('c'));
      await lease.settle((await lease.read(1))[0]!.position, []);
      await session.transaction(async (tx) => {
        await waiting.add(tx, [entry('d'), entry('e', { key: 'x' }), entry('f', { key: 'x' })]);
        await failures.add(tx, [failure('g')]);
      });
      assert.deepEqual({ ...(await inspect.counts()) }, { ready: 2, waiting: 3, failed: 1 });
    },
  },
];

function plain({ time, ...rest }: { kind: string; recipient: string; key: string; time: number }): object {
  return { ...rest, timeMs: time };
}

async function append(session: StoreSession, ...messages: Parameters<typeof session.ports.outbox.append>[1]): Promise<void> {
  await session.transaction((tx) => session.ports.outbox.append(tx, messages));
}

async function acquire({ ports }: StoreSession): Promise<OutboxLease> {
  const lease = await ports.outbox.acquire('one', 30_000);
  assert.ok(lease, 'nobody else holds the lease');
  return lease;
}
