/** Lines of what waits: of an ordered key one after another, and taken in pieces where a statement is a round trip. */
import assert from 'node:assert/strict';
import { type StoreSession, type WaitingEntry, type WaitingRow, readBytesMax } from '../../../contract/store.ts';
import { add, due, entry, fail, failure, label, me, message, other, prices, undone, type StoreCase } from './world.ts';

export const lineCases: readonly StoreCase[] = [
  {
    name: 'of a key whose order is kept only the oldest row counts',
    async run(world) {
      const session = await world.open();
      await add(session, entry('x1', { key: 'x', dueMs: 5_000 }), entry('y1', { key: 'y', dueMs: 2_000 }));
      await add(session, entry('x2', { key: 'x', dueMs: 0, reason: 'behind' }), entry('y2', { key: 'y', dueMs: 0, reason: 'behind' }));
      const before = await due(session, 2_000);
      assert.deepEqual([before.names, before.nextDueMs], [['y1'], 5_000]);
      const later = await due(session, 5_000);
      assert.deepEqual(later.names.toSorted(), ['x1', 'y1']);
      assert.equal(later.nextDueMs, undefined, 'the others have to wait for these');
      await session.transaction((tx) => session.ports.waiting.settle(tx, later.rows.find(({ message: { key } }) => key === 'x')!));
      assert.deepEqual((await due(session, 5_000)).names.toSorted(), ['x2', 'y1']);
    },
  },
  {
    name: 'the order of a key is kept within its subscription alone',
    async run(world) {
      const session = await world.open();
      await add(session, entry('x1', { key: 'x', dueMs: 5_000 }), entry('other', { key: 'x', subscription: 'basket.other' }));
      assert.deepEqual((await due(session, 1, { subscription: 'basket.other' })).names, ['other']);
    },
  },
  {
    name: 'what does not keep the order of its key passes',
    async run(world) {
      const session = await world.open();
      await add(session, entry('x1', { key: 'x', dueMs: 5_000 }), entry('out of order', { key: 'x', inOrder: false }), entry('no key'));
      assert.deepEqual((await due(session, 1)).names, ['out of order', 'no key']);
    },
  },
  {
    name: 'while a failure holds a key nothing of it is due, and afterwards it is',
    async run(world) {
      const session = await world.open();
      await fail(session, failure('x1', { key: 'x', holds: true }), failure('y1', { key: 'y', holds: false }));
      await add(session, entry('x2', { key: 'x', reason: 'behind' }), entry('y2', { key: 'y' }));
      const whileHeld = await due(session, 1);
      assert.deepEqual([whileHeld.names, whileHeld.nextDueMs], [['y2'], undefined]);
      const [held] = await session.ports.inspect.failures({ id: 'id of x1' });
      await session.transaction((tx) => session.ports.failures.take(tx, [held!.row]));
      assert.deepEqual((await due(session, 1)).names.toSorted(), ['x2', 'y2']);
    },
  },
  {
    name: 'a failure that comes later holds what waits already',
    async run(world) {
      const session = await world.open();
      await add(session, entry('x1', { key: 'x' }), entry('x2', { key: 'x', reason: 'behind' }));
      const [x1] = (await due(session, 1)).rows;
      await session.transaction(async (tx) => {
        await session.ports.waiting.settle(tx, x1!);
        await session.ports.failures.add(tx, [failure('x1', { key: 'x', holds: true })]);
      });
      assert.deepEqual((await due(session, 1)).names, []);
    },
  },
  {
    name: 'a failure that held its key goes before what lined up behind it, when it is asked for again',
    async run(world) {
      const session = await world.open();
      await fail(session, failure('x1', { key: 'x', holds: true }));
      await add(session, entry('x2', { key: 'x', reason: 'behind' }));
      const [held] = await session.ports.inspect.failures({});
      await session.transaction(async (tx) => {
        await session.ports.failures.take(tx, [held!.row]);
        await session.ports.waiting.add(tx, [entry('x1', { key: 'x', reason: 'asked' })]);
      });
      assert.deepEqual((await due(session, 1)).names, ['x1']);
    },
  },
  {
    name: 'what stands behind in line is found, as far as it may run with the first',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      if (!takes(session)) return;
      const later = { attempt: 0, reason: 'behind' } as const;
      await add(session, entry('x1', { key: 'x', attempt: 0, reason: 'suspect' }), entry('y1', { key: 'y', attempt: 0, reason: 'suspect' }));
      await add(session, entry('x2', { key: 'x', ...later }), entry('y2', { key: 'y', ...later, dueMs: 9e12 }), entry('x3', { key: 'x', ...later }), entry('y3', { key: 'y', ...later }));
      await add(session, entry('loose', { key: 'x', inOrder: false, attempt: 0 }), entry('x4', { key: 'x', attempt: 2 }), entry('x5', { key: 'x', ...later }));
      const heads = (await due(session, 1)).rows.filter(({ message: { key }, inOrder }) => key !== undefined && inOrder);
      const names = async (max: number): Promise<string[]> => (await waiting.behind!(heads, max)).map(({ message: wire }) => label(wire));
      assert.deepEqual(heads.map(({ message: wire }) => label(wire)).toSorted(), ['x1', 'y1']);
      assert.deepEqual(await names(100), ['x2', 'x3'], 'y2 is not due, and of x4 a run has begun');
      assert.deepEqual(await names(2), ['x2'], 'as many of each line');
    },
  },
  {
    name: 'of what stands behind in line no more is read at once than a memory can hold',
    async run(world) {
      const session = await world.open();
      if (!takes(session)) return;
      const large = (name: string): WaitingEntry => entry(name, { message: message(name, { key: 'x', body: new Uint8Array(readBytesMax / 4) }), inOrder: true, attempt: 0 });
      for (const name of ['x1', 'x2', 'x3', 'x4', 'x5', 'x6', 'x7']) await add(session, large(name));
      const rows = await session.ports.waiting.behind!((await due(session, 1)).rows, 100);
      assert.deepEqual(rows.map(({ message: { id } }) => id), ['x2', 'x3', 'x4', 'x5'].map((name) => `id of ${name}`));
    },
  },
  {
    name: 'a line is taken from its first on, in its order, and by whoever claimed it',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      if (!takes(session)) return;
      const fresh = { attempt: 0, reason: 'behind' } as const;
      await add(session, ...['x1', 'x2', 'x3', 'x4'].map((name) => entry(name, { key: 'x', ...fresh })), entry('y1', { key: 'y', ...fresh }), entry('loose', { inOrder: false, ...fresh }));
      const all = [...(await session.ports.inspect.waiting({ limit: 10 }))];
      const rows = (...names: string[]): WaitingRow[] => names.map((name) => ({ ...all.find(({ message: wire }) => label(wire) === name)!, owner: 'me' }));
      const take = (...names: string[]): Promise<string[]> =>
        session.transaction(async (tx) => {
          const taken = await waiting.take!(tx, rows(...names));
          await waiting.add(tx, [], taken);
          return taken.map(({ message: wire }) => label(wire));
        });
      await waiting.start(rows('x1', 'x2', 'x3', 'y1'), me);
      await waiting.start(rows('loose'), other);
      assert.deepEqual(await take('x2', 'x3', 'loose'), [], 'x1 stands before them; the other is claimed');
      assert.equal((await undone(session, (tx) => waiting.take!(tx, rows('x1', 'x2')))).length, 2, 'undone with its transaction');
      assert.deepEqual(await take('x2', 'x1', 'y1'), ['x1', 'x2', 'y1'], 'as they stand');
      const left = await session.ports.inspect.waiting({ limit: 10 });
      const starts = new Map(left.map(({ message: wire, starts: begun }) => [label(wire), begun]));
      assert.deepEqual(['loose', 'x1', 'x2', 'x3', 'x4', 'y1'].map((name) => starts.get(name)), [1, undefined, undefined, 0, 0, undefined], 'x3 is as if its run had not begun');
      assert.deepEqual((await due(session, 1, { owner: 'me' })).names, ['x3'], 'the line goes on');
      await fail(session, failure('x0', { key: 'x', holds: true }));
      assert.deepEqual(await take('x3', 'x4'), [], 'a failure holds the key');
      await session.transaction(async (tx) => {
        const [held] = await session.ports.failures.take(tx, (await session.ports.inspect.failures({})).map(({ row }) => row));
        await waiting.add(tx, [entry('x0', { key: 'x', ...fresh, reason: 'asked', message: held!.message })]);
      });
      all.push(...(await session.ports.inspect.waiting({ limit: 10 })).filter(({ reason }) => reason === 'asked'));
      assert.deepEqual(await take('x3'), [], 'what is asked for again stands before it');
      assert.deepEqual(await take('x3', 'x0'), ['x0', 'x3']);
      assert.deepEqual((await due(session, 1)).names, ['x4']);
    },
  },
  {
    name: 'whoever comes late to take a row leaves the start on record of another that had it since',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      if (!takes(session)) return;
      await add(session, entry('x1', { key: 'x', attempt: 0 }), entry('x2', { key: 'x', attempt: 0, reason: 'behind' }));
      const second = async (): Promise<WaitingRow> => (await session.ports.inspect.waiting({ id: 'id of x2' }))[0]!;
      const late = { ...(await second()), owner: me.owner };
      await waiting.start([late], me);
      await world.pass(me.claimMs + 100);
      assert.deepEqual(await waiting.start([await second()], other), [2]);
      await world.pass(other.claimMs + 100); // it died
      assert.deepEqual(await session.transaction((tx) => waiting.take!(tx, [late])), [], 'x1 stands before it');
      assert.equal((await second()).starts, 2);
    },
  },
  {
    name: 'blocked names the keys that have an ordered row waiting or a failure that holds them',
    async run(world) {
      const session = await world.open();
      await add(session, entry('x1', { key: 'x', dueMs: 9_000 }), entry('loose', { key: 'loose', inOrder: false }));
      await add(session, entry('elsewhere', { key: 'elsewhere', subscription: 'basket.other' }));
      await fail(session, failure('y1', { key: 'y', holds: true }), failure('z1', { key: 'z', holds: false }));
      const asked = ['x', 'y', 'z', 'loose', 'elsewhere', 'unknown', 'X', 'x '];
      assert.deepEqual([...(await blocked(session, asked))].toSorted(), ['x', 'y']);
      assert.deepEqual([...(await blocked(session, []))], []);
      const looked = (keys: readonly string[]) => session.ports.waiting.blocked(undefined, prices, keys);
      assert.deepEqual([...(await looked(asked))].toSorted(), ['x', 'y'], 'without a transaction');
      assert.deepEqual([...(await looked([]))], []);
    },
  },
  {
    name: 'blocked sees what its own transaction wrote',
    async run(world) {
      const session = await world.open();
      const { waiting, failures } = session.ports;
      await session.transaction(async (tx) => {
        await waiting.add(tx, [entry('x1', { key: 'x' })]);
        await failures.add(tx, [failure('y1', { key: 'y', holds: true })]);
        assert.deepEqual([...(await waiting.blocked(tx, prices, ['x', 'y', 'z']))].toSorted(), ['x', 'y']);
      });
    },
  },
];

/** Whether rows of a line can be taken together, as they must where a statement is a round trip. */
function takes({ capabilities, ports: { waiting } }: StoreSession): boolean {
  if (!capabilities.cheapSavepoints) assert.ok(waiting.take && waiting.behind);
  assert.equal(waiting.take === undefined, waiting.behind === undefined, 'both or none');
  return waiting.take !== undefined;
}

function blocked(session: StoreSession, keys: readonly string[]): Promise<ReadonlySet<string>> {
  return session.transaction((tx) => session.ports.waiting.blocked(tx, prices, keys));
}
