/** What happens later. */
import assert from 'node:assert/strict';
import { type Claim, type FailureRow, type StoreSession, type WaitingEntry, type WaitingRow, readBytesMax } from '../../../contract/store.ts';
import { due, entry, failure, label, message, prices, undone, type StoreCase } from './world.ts';

export const waitingCases: readonly StoreCase[] = [
  {
    name: 'a row is due at its time and not before, and what is next is said',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a', { dueMs: 1_000 }), entry('b', { dueMs: 2_000 }));
      const at = async (nowMs: number): Promise<unknown> => {
        const { names, nextDueMs } = await due(session, nowMs);
        return { names, nextDueMs };
      };
      assert.deepEqual(await at(999), { names: [], nextDueMs: 1_000 });
      assert.deepEqual(await at(1_000), { names: ['a'], nextDueMs: 2_000 });
      assert.deepEqual(await at(2_000), { names: ['a', 'b'], nextDueMs: undefined });
    },
  },
  {
    name: 'of all subscriptions it is said at once when each has something to do',
    async run(world) {
      const session = await world.open();
      assert.deepEqual([...(await session.ports.waiting.nextDue())], []);
      const inOrder = (name: string, dueMs: number): WaitingEntry => entry(name, { message: message(name, { key: 'k' }), inOrder: true, dueMs });
      await add(session, inOrder('first', 3_000), inOrder('behind it', 1_000));
      await add(session, entry('b', { subscription: 'basket.b', dueMs: 5_000 }), entry('c', { subscription: 'basket.b', dueMs: 4_000 }), entry('sent later', { subscription: undefined, dueMs: 1_000 }));
      const [one, claimed] = (await due(session, 3_000)).rows;
      await session.ports.waiting.start([one!], { owner: 'me', claimMs: 60_000 });
      assert.equal(claimed, undefined);
      const found = await session.ports.waiting.nextDue();
      assert.deepEqual([...found.keys()].toSorted(), ['basket.b', prices].toSorted());
      assert.equal(Math.round(found.get('basket.b')! - found.get(prices)!), 1_000);
      assert.ok(found.get(prices)! < 0, 'long overdue');
    },
  },
  {
    name: 'what is due now is due by the store’s clock, which says so',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      const beforeMs = Math.floor(world.clock.now());
      await add(session, entry('a', { dueMs: 'now' }));
      const nowMs = await session.transaction((tx) => waiting.nowMs(tx));
      const first = await waiting.due(prices, 'now', 100);
      assert.equal(first.rows.length, 1);
      const times = [first.rows[0]!.dueMs, nowMs, first.nowMs, world.clock.now()].map(Math.floor);
      assert.deepEqual(times, times.toSorted((one, other) => one - other), `from ${beforeMs} on`);
      assert.ok(times[0]! >= beforeMs, 'nothing of it lies before');

      await settle(session, first.rows[0]!, { dueMs: nowMs + 60_000 });
      const later = await waiting.due(prices, 'now', 100);
      assert.deepEqual([later.rows, later.nextDueMs], [[], Math.ceil(nowMs + 60_000)]);
      const [there] = await session.ports.inspect.waiting({});
      await settle(session, there!, { dueMs: 'now' });
      assert.equal((await waiting.due(prices, 'now', 100)).rows.length, 1);
    },
  },
  {
    name: 'rows that are due come oldest first, no more than was asked for',
    async run(world) {
      const session = await world.open();
      await add(session, ...['a', 'b', 'c'].map((name, i) => entry(name, { dueMs: 1_000 + i })));
      await add(session, entry('d', { dueMs: 1_002 }));
      assert.deepEqual((await due(session, 5_000)).names, ['a', 'b', 'c', 'd']);
      const { names, nextDueMs } = await due(session, 5_000, { max: 2 });
      assert.deepEqual(names, ['a', 'b']);
      assert.ok(nextDueMs !== undefined && nextDueMs <= 5_000, 'there is more, now');
    },
  },
  {
    name: 'a row comes back as it was added, to the byte',
    async run(world) {
      const session = await world.open();
      const full = entry('full', {
        message: message('full', { key: 'käse', kind: 'command', recipient: 'basket', headers: { a: '世界' }, body: Uint8Array.of(0, 255, 128) }),
        dueMs: 1_767_225_600_123,
        attempt: 3,
        attempts: 11,
        firstFailedMs: 1_767_225_600_001,
        error: { code: 'HANDLER_FAILED', message: 'käse "aus"', stack: 'Error: käse\n    at shop.ts:1' },
        reason: 'retry',
        inOrder: true,
      });
      const bare = entry('bare', { attempt: 0, firstFailedMs: undefined, reason: 'suspect' });
      const before = Math.floor(world.clock.now());
      await add(session, full, bare);
      const { rows } = await due(session, 2_000_000_000_000);
      for (const [added, name] of [[full, 'full'], [bare, 'bare']] as const) {
        const { row, starts, createdMs, ...rest } = rows.find(({ message: { id } }) => id === `id of ${name}`)!;
        assert.deepEqual(comparable(rest), comparable(added), name);
        assert.deepEqual([typeof row, starts], ['number', added.attempt], name);
        assert.ok(createdMs >= before && createdMs <= world.clock.now(), `${name}: created at ${createdMs}`);
      }
    },
  },
  {
    name: 'each subscription has rows of its own, and so has the sender',
    async run(world) {
      const session = await world.open();
      await add(
        session,
        entry('mine'),
        entry("another's", { subscription: 'basket.other' }),
        entry('to be sent', { subscription: undefined, reason: 'delayed' }),
      );
      assert.deepEqual((await due(session, 1)).names, ['mine']);
      assert.deepEqual((await due(session, 1, { subscription: 'basket.other' })).names, ["another's"]);
      assert.deepEqual((await due(session, 1, { subscription: null })).names, ['to be sent']);
      assert.deepEqual((await due(session, 1, { subscription: 'basket' })).names, []);
    },
  },
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
  {
    name: 'start counts each run that begins, in a commit of its own',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      await add(session, entry('a', { attempt: 2 }), entry('b', { attempt: 0 }));
      const { rows } = await due(session, 1);
      assert.deepEqual(rows.map(({ starts }) => starts), [2, 0]);
      assert.deepEqual(await waiting.start(rows, me), [3, 1]);
      await undone(session, () => {}); // the run died
      assert.deepEqual(await waiting.start((await due(session, 1, { owner: me.owner })).rows.slice(0, 1), me), [4]);
      const { rows: again } = await due(session, 1, { owner: me.owner });
      assert.deepEqual(again.map(({ starts, attempt }) => [starts, attempt]), [[4, 2], [1, 0]]);
    },
  },
  {
    name: 'start says which rows are gone',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a'), entry('b', { attempt: 0 }));
      const { rows } = await due(session, 1);
      await settle(session, rows[0]!);
      assert.deepEqual(await session.ports.waiting.start(rows, me), [undefined, 1]);
      assert.deepEqual(await session.ports.waiting.start([], me), []);
    },
  },
  {
    name: 'what one has started is not due for another, who can neither start nor settle it',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      await add(session, entry('a'), entry('b'));
      const { rows } = await due(session, 1);
      const [a] = rows;
      assert.deepEqual(await waiting.start([a!], me), [2]);
      for (const owner of [undefined, other.owner]) assert.deepEqual((await due(session, 1, { owner })).names, ['b'], `for ${owner}`);
      const seen = { ...a!, starts: 2 };
      assert.deepEqual(await waiting.start([seen], other), [undefined]);
      for (const owner of [undefined, other.owner]) {
        assert.equal(await settle(session, { ...seen, ...(owner !== undefined && { owner }) }), false, `${owner} removes it`);
        assert.equal(await settle(session, { ...seen, ...(owner !== undefined && { owner }) }, { dueMs: 0 }), false, `${owner} moves it`);
      }
      assert.equal(await settle(session, { ...seen, owner: me.owner }), true);
    },
  },
  {
    name: 'of many that start a row at once one gets it',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a'));
      const { rows } = await due(session, 1);
      const found = await Promise.all(Array.from({ length: 10 }, (_, i) => session.ports.waiting.start(rows, { ...me, owner: `instance ${i}` })));
      assert.equal(found.flat().filter((starts) => starts !== undefined).length, 1);
    },
  },
  {
    name: 'an owner sees and takes over at once what its name has started',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a'));
      await session.ports.waiting.start((await due(session, 1)).rows, me);
      const { rows } = await due(session, 1, { owner: me.owner });
      assert.deepEqual(rows.map(({ starts }) => starts), [2], 'a run without an end shows');
      assert.deepEqual(await session.ports.waiting.start(rows, me), [3]);
    },
  },
  {
    name: 'a claim runs out: then another takes the row over, and who was late cannot settle it',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      await add(session, entry('a'));
      const { rows } = await due(session, 1);
      await waiting.start(rows, me);
      await world.pass(me.claimMs + 100);
      const { rows: found } = await due(session, 1, { owner: other.owner });
      assert.deepEqual(found.map(({ starts }) => starts), [2]);
      assert.deepEqual(await waiting.start(found, other), [3]);
      const late = { ...rows[0]!, owner: me.owner };
      assert.equal(await settle(session, late), false);
      assert.equal(await settle(session, late, { attempt: 2, dueMs: 9_000 }), false);
      assert.equal(await settle(session, { ...found[0]!, owner: other.owner }, { attempt: 2, dueMs: 0 }), true);
      assert.equal(await settle(session, late), false, 'it was another run that ended');
      assert.deepEqual((await due(session, 1)).names, ['a']);
    },
  },
  {
    name: 'who was late may settle as long as nobody has taken the row over',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a'));
      const { rows } = await due(session, 1);
      await session.ports.waiting.start(rows, me);
      await world.pass(me.claimMs + 100);
      assert.equal(await settle(session, { ...rows[0]!, owner: me.owner }), true);
    },
  },
  {
    name: 'a claim is prolonged while it is held, and no run is counted',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      await add(session, entry('a'), entry('b'));
      const { rows } = await due(session, 1);
      await waiting.start(rows.slice(0, 1), me);
      assert.deepEqual(await waiting.start(rows, { ...me, claimMs: 60_000, renew: true }), [2, undefined]);
      await world.pass(me.claimMs + 100);
      assert.deepEqual((await due(session, 1, { owner: other.owner })).names, ['b']);
      assert.deepEqual(await waiting.start(rows.slice(0, 1), { ...other, renew: true }), [undefined]);
    },
  },
  {
    name: 'a row that has changed since it was read is not started',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a'));
      const { rows } = await due(session, 1);
      await session.ports.waiting.start(rows, me);
      await settle(session, { ...rows[0]!, owner: me.owner }, { attempt: 2, dueMs: 0 });
      assert.deepEqual(await session.ports.waiting.start(rows, other), [undefined]);
    },
  },
  {
    name: 'a row that was started since it was read is not started as if it had not been',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a'));
      const { rows } = await due(session, 1);
      await session.ports.waiting.start(rows, me);
      await world.pass(me.claimMs + 100);
      assert.deepEqual(await session.ports.waiting.start(rows, other), [undefined]);
    },
  },
  {
    name: 'its owner may set a row and then remove it in one transaction; once set it is free for all',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      await add(session, entry('a'), entry('b'));
      const { rows } = await due(session, 1);
      await waiting.start(rows, me);
      const [a, b] = rows.map((row) => ({ ...row, owner: me.owner }));
      await session.transaction(async (tx) => {
        assert.equal(await waiting.settle(tx, a!, {}), true);
        assert.equal(await waiting.settle(tx, a!), true);
      });
      assert.equal(await settle(session, b!, { dueMs: 0 }), true);
      const { rows: free, names } = await due(session, 1, { owner: other.owner });
      assert.deepEqual(names, ['b']);
      assert.deepEqual(await waiting.start(free, other), [2]);
    },
  },
  {
    name: 'settle removes the row, and says when it was gone',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a'), entry('b'));
      const [a] = (await due(session, 1)).rows;
      assert.equal(await settle(session, a!), true);
      assert.equal(await settle(session, a!), false);
      assert.equal(await settle(session, a!, { dueMs: 5 }), false);
      assert.deepEqual((await due(session, 1)).names, ['b']);
    },
  },
  {
    name: 'settle sets the row to what comes next, and counts its runs from there',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a', { key: 'x', attempt: 1 }), entry('behind', { key: 'x', reason: 'behind' }));
      const [row] = (await due(session, 1)).rows;
      await session.ports.waiting.start([row!], me);
      const next = { attempt: 2, dueMs: 7_000, error: { code: 'HANDLER_FAILED', message: 'again', stack: undefined }, firstFailedMs: 6_000 };
      assert.equal(await settle(session, { ...row!, owner: me.owner }, next), true);
      assert.deepEqual((await due(session, 6_999)).names, [], 'and the one behind it still stands behind it');
      const [moved] = (await due(session, 7_000)).rows;
      const { starts, ...rest } = moved!;
      const { starts: _before, ...was } = row!;
      assert.equal(starts, 2);
      assert.deepEqual(comparable(rest), comparable({ ...was, ...next }));
    },
  },
  {
    name: 'a settle that is undone leaves the row where it was',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a'));
      const [row] = (await due(session, 1)).rows;
      assert.equal(await undone(session, (tx) => session.ports.waiting.settle(tx, row!)), true);
      assert.equal(await undone(session, (tx) => session.ports.waiting.settle(tx, row!, { dueMs: 9_000 })), true);
      assert.deepEqual((await due(session, 1)).names, ['a']);
    },
  },
  {
    name: 'cancel takes back a delayed message that has not left, and says when there is none',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      await add(session, entry('a', { subscription: undefined, reason: 'delayed', dueMs: 9_000 }));
      assert.equal(await undone(session, (tx) => waiting.cancel(tx, 'id of a')), true);
      assert.equal(await session.transaction((tx) => waiting.cancel(tx, 'id of A')), false);
      assert.equal(await session.transaction((tx) => waiting.cancel(tx, 'id of a')), true);
      assert.equal(await session.transaction((tx) => waiting.cancel(tx, 'id of a')), false);
      assert.deepEqual((await due(session, 9_000, { subscription: null })).names, []);
    },
  },
  {
    name: 'cancel takes nothing from a subscription',
    async run(world) {
      const session = await world.open();
      await add(session, entry('a', { key: 'x' }));
      assert.equal(await session.transaction((tx) => session.ports.waiting.cancel(tx, 'id of a')), false);
      assert.deepEqual((await due(session, 1)).names, ['a']);
    },
  },
  {
    name: 'cancel with a subscription takes what waits there under the id, for whatever reason, and nothing else',
    async run(world) {
      const session = await world.open();
      const other = message('a');
      await add(session, entry('a', { reason: 'timeout' }), entry('b', { reason: 'timeout' }));
      await add(session, entry('a', { subscription: 'basket.other', message: other }), entry('a', { subscription: undefined, message: other, reason: 'delayed' }));
      const cancel = (id: string): Promise<boolean> => session.transaction((tx) => session.ports.waiting.cancel(tx, id, prices));
      assert.deepEqual([await cancel('id of a'), await cancel('id of a'), await cancel('id of none')], [true, false, false]);
      assert.deepEqual((await due(session, 1)).names, ['b']);
      assert.deepEqual((await due(session, 1, { subscription: 'basket.other' })).names, ['a']);
      assert.deepEqual((await due(session, 1, { subscription: null })).names, ['a']);
      await add(session, entry('c', { reason: 'retry', key: 'k' }), entry('d', { reason: 'behind', key: 'k' }));
      assert.equal(await cancel('id of c'), true);
      assert.deepEqual((await due(session, 1)).names, ['b', 'd']);
    },
  },
  {
    name: 'a schedule is there once, however often it is added, and goes on by settling it',
    async run(world) {
      const session = await world.open();
      const { waiting } = session.ports;
      const plan = entry('s', { subscription: 'basket.schedules', reason: 'schedule', dueMs: 5, attempt: 0 });
      await add(session, plan);
      await add(session, { ...plan, dueMs: 9 }, entry('other', { subscription: 'basket.schedules', reason: 'schedule', dueMs: 7 }));
      const { rows, names } = await due(session, 100, { subscription: 'basket.schedules' });
      assert.deepEqual(names, ['s', 'other']);
      assert.equal(rows[0]!.dueMs, 5);
      assert.equal(await session.transaction((tx) => waiting.settle(tx, rows[0]!, { dueMs: 200 })), true);
      assert.deepEqual((await due(session, 100, { subscription: 'basket.schedules' })).names, ['other']);
      assert.equal((await due(session, 200, { subscription: 'basket.schedules' })).rows.length, 2);
    },
  },
];

/** One instance, and another. */
const me: Claim = { owner: 'me', claimMs: 1_000 };
const other: Claim = { owner: 'another', claimMs: 1_000 };

/** Whether rows of a line can be taken together, as they must where a statement is a round trip. */
function takes({ capabilities, ports: { waiting } }: StoreSession): boolean {
  if (!capabilities.cheapSavepoints) assert.ok(waiting.take && waiting.behind);
  assert.equal(waiting.take === undefined, waiting.behind === undefined, 'both or none');
  return waiting.take !== undefined;
}

async function add(session: StoreSession, ...entries: readonly WaitingEntry[]): Promise<void> {
  await session.transaction((tx) => session.ports.waiting.add(tx, entries));
}

async function fail(session: StoreSession, ...rows: readonly FailureRow[]): Promise<void> {
  await session.transaction((tx) => session.ports.failures.add(tx, rows));
}

function settle(session: StoreSession, row: WaitingRow, next?: Partial<WaitingEntry>): Promise<boolean> {
  return session.transaction((tx) => session.ports.waiting.settle(tx, row, next));
}

function blocked(session: StoreSession, keys: readonly string[]): Promise<ReadonlySet<string>> {
  return session.transaction((tx) => session.ports.waiting.blocked(tx, prices, keys));
}

/** Plain objects: drivers may use objects without prototype. */
function comparable<Row extends { readonly message: WaitingEntry['message']; readonly error: WaitingEntry['error'] }>(row: Row): unknown {
  const { message: wire, error, ...rest } = row;
  const { body, headers, ...envelope } = wire;
  return { ...rest, error: error && { ...error }, ...envelope, headers: { ...headers }, body: [...body], label: label(wire) };
}
