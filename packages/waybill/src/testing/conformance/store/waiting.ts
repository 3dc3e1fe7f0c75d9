/** What happens later. */
import assert from 'node:assert/strict';
import type { StoreSession, WaitingEntry, WaitingRow } from '../../../contract/store.ts';
import { add, due, entry, label, me, message, other, prices, undone, type StoreCase } from './world.ts';

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

function settle(session: StoreSession, row: WaitingRow, next?: Partial<WaitingEntry>): Promise<boolean> {
  return session.transaction((tx) => session.ports.waiting.settle(tx, row, next));
}

/** Plain objects: drivers may use objects without prototype. */
function comparable<Row extends { readonly message: WaitingEntry['message']; readonly error: WaitingEntry['error'] }>(row: Row): unknown {
  const { message: wire, error, ...rest } = row;
  const { body, headers, ...envelope } = wire;
  return { ...rest, error: error && { ...error }, ...envelope, headers: { ...headers }, body: [...body], label: label(wire) };
}
