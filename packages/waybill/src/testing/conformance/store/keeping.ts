/** What is kept: failures, and first results. */
import assert from 'node:assert/strict';
import type { FailedRow, FailureRow, StoreSession } from '../../../contract/store.ts';
import { failure, held, message, undone, type StoreCase } from './world.ts';

export const keepingCases: readonly StoreCase[] = [
  {
    name: 'a failure keeps the message to the byte, and why it was given up',
    async run(world) {
      const session = await world.open();
      const full = failure('full', {
        message: message('full', { key: 'x', headers: { a: '世界' }, body: Uint8Array.of(0, 255, 128) }),
        error: { code: 'REJECTED', message: 'käse "aus"', stack: 'Error: käse\n    at shop.ts:1' },
        holds: true,
      });
      const unsent = failure('unsent', { subscription: undefined });
      await fail(session, full, unsent);
      const found = await session.ports.inspect.failures({});
      assert.deepEqual(found.map(comparable), [full, unsent].map(comparable));
    },
  },
  {
    name: 'a failure moves: who takes it gets it, and it is gone',
    async run(world) {
      const session = await world.open();
      await fail(session, failure('a'), failure('b'), failure('c'));
      const [a, b, c] = await session.ports.inspect.failures({});
      const taken = await take(session, b!.row, a!.row);
      assert.deepEqual(new Set(taken.map(({ row }) => row)), new Set([a!.row, b!.row]));
      assert.deepEqual(comparable(taken.find(({ row }) => row === a!.row)!), comparable(failure('a')));
      assert.deepEqual(await take(session, a!.row, b!.row), []);
      assert.deepEqual((await session.ports.inspect.failures({})).map(({ row }) => row), [c!.row]);
    },
  },
  {
    name: 'a failure that is asked for twice is taken once, and rows that are not there are no error',
    async run(world) {
      const session = await world.open();
      await fail(session, failure('a'));
      const [a] = await session.ports.inspect.failures({});
      assert.equal((await take(session, a!.row, a!.row, a!.row + 1_000)).length, 1);
      assert.deepEqual(await take(session), []);
    },
  },
  {
    name: 'a failure that is taken in an undone transaction is still there',
    async run(world) {
      const session = await world.open();
      await fail(session, failure('a'));
      const [a] = await session.ports.inspect.failures({});
      assert.equal((await undone(session, (tx) => session.ports.failures.take(tx, [a!.row]))).length, 1);
      assert.deepEqual((await session.ports.inspect.failures({})).map(({ row }) => row), [a!.row]);
    },
  },
  {
    name: 'a failure that is added in an undone transaction is not there',
    async run(world) {
      const session = await world.open();
      await undone(session, (tx) => session.ports.failures.add(tx, [failure('a')]));
      assert.deepEqual(await session.ports.inspect.failures({}), []);
    },
  },
  {
    name: 'a result is found once it was saved, with its fingerprint',
    async run(world) {
      const session = await world.open();
      assert.equal(await find(session, 'a'), undefined);
      await save(session, 'a', { result: '{"käse":"世界"}', fingerprint: 'f' });
      assert.deepEqual({ ...(await find(session, 'a')) }, { result: '{"käse":"世界"}', fingerprint: 'f' });
      await save(session, 'b', { result: 'null', fingerprint: undefined });
      assert.deepEqual({ ...(await find(session, 'b')) }, { result: 'null', fingerprint: undefined });
    },
  },
  {
    name: 'a result that was saved in an undone transaction is not there',
    async run(world) {
      const session = await world.open();
      await undone(session, (tx) => session.ports.once.save(tx, { scope: 'orders', key: 'a', result: '1', fingerprint: undefined }));
      assert.equal(await find(session, 'a'), undefined);
    },
  },
  {
    name: 'a result belongs to its scope and key, exactly',
    async run(world) {
      const session = await world.open();
      await save(session, 'a', { result: '1' });
      for (const [scope, key] of [['Orders', 'a'], ['orders ', 'a'], ['orders', 'A'], ['orders', 'a '], ['order', 'sa'], ['a', 'orders']] as const) {
        const found = await session.transaction((tx) => session.ports.once.find(tx, scope, key));
        assert.equal(found, undefined, JSON.stringify([scope, key]));
      }
    },
  },
  {
    name: 'nobody gets past find while another works on the same key',
    async run(world) {
      const session = await world.open();
      const { once } = session.ports;
      for (const outcome of ['commit', 'rollback'] as const) {
        const first = held(session, async (tx) => {
          const found = await once.find(tx, 'orders', outcome);
          await once.save(tx, { scope: 'orders', key: outcome, result: '1', fingerprint: undefined });
          return found;
        });
        assert.equal(await first.worked, undefined);
        const second = find(session, outcome);
        for (let turn = 0; turn < 5; turn++) await world.clock.turn();
        await first.end(outcome);
        assert.equal((await second)?.result, outcome === 'commit' ? '1' : undefined, `after ${outcome}`);
      }
    },
  },
  {
    name: 'trim removes results whose time is over, no more than was asked for',
    async run(world) {
      const session = await world.open();
      for (const key of ['old', 'older', 'oldest']) await save(session, key, { retainMs: 1_000 });
      await save(session, 'young', { retainMs: 600_000 });
      await save(session, 'kept for ever', {});
      await world.pass(2_000);
      const nowMs = world.clock.now();
      assert.equal(await session.ports.once.trim(nowMs, 2), 2);
      assert.equal(await session.ports.once.trim(nowMs, 2), 1);
      assert.equal(await session.ports.once.trim(nowMs, 2), 0);
      assert.equal((await find(session, 'young'))?.result, '1');
      assert.equal((await find(session, 'kept for ever'))?.result, '1');
    },
  },
  {
    name: 'a result is found for as long as was asked, and not longer, trimmed or not',
    async run(world) {
      const session = await world.open();
      await save(session, 'a', { retainMs: 600_000 });
      await save(session, 'b', { retainMs: 1e300 });
      await world.pass(500_000);
      assert.equal((await find(session, 'a'))?.result, '1');
      await world.pass(101_000);
      assert.equal(await find(session, 'a'), undefined);
      assert.equal((await find(session, 'b'))?.result, '1');
      await save(session, 'a', { result: '2', retainMs: 600_000 });
      assert.equal((await find(session, 'a'))?.result, '2');
    },
  },
];

async function fail(session: StoreSession, ...rows: readonly FailureRow[]): Promise<void> {
  await session.transaction((tx) => session.ports.failures.add(tx, rows));
}

function take(session: StoreSession, ...rows: readonly number[]): Promise<readonly FailedRow[]> {
  return session.transaction((tx) => session.ports.failures.take(tx, rows));
}

function find(session: StoreSession, key: string): Promise<{ readonly result: string; readonly fingerprint: string | undefined } | undefined> {
  return session.transaction((tx) => session.ports.once.find(tx, 'orders', key));
}

async function save(session: StoreSession, key: string, of: { result?: string; fingerprint?: string | undefined; retainMs?: number }): Promise<void> {
  const { result = '1', fingerprint, retainMs } = of;
  await session.transaction((tx) => session.ports.once.save(tx, { scope: 'orders', key, result, fingerprint, ...(retainMs !== undefined && { retainMs }) }));
}

/** Plain objects, without the row's number. */
function comparable(row: FailureRow | FailedRow): unknown {
  const { message: wire, error, attempts, firstFailedMs, lastFailedMs, holds, subscription } = row;
  const { body, headers, ...envelope } = wire;
  return {
    ...{ attempts, firstFailedMs, lastFailedMs, holds, subscription },
    ...envelope,
    error: { ...error },
    headers: { ...headers },
    body: [...body],
  };
}
