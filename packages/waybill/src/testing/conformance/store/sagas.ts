/** Long conversations: instances by saga and key. */
import assert from 'node:assert/strict';
import type { SagaRow, SagasPort, StoreSession, StoreTransaction } from '../../../contract/store.ts';
import { due, entry, failure, held, prices, undone, type StoreCase } from './world.ts';

/** A saga's row, as it begins. */
function begun(key: string, of: Partial<SagaRow> = {}): SagaRow {
  return { saga: prices, key, version: 1, revision: 1, status: 'running', state: '{}', ledger: '{}', startedMs: 1_000, changedMs: 1_000, ...of };
}

const port = (session: StoreSession): SagasPort => session.ports.sagas!;
const save = (session: StoreSession, row: SagaRow): Promise<boolean> => session.transaction((tx) => port(session).save(tx, row));
const load = (session: StoreSession, key: string, saga: string = prices): Promise<SagaRow | undefined> =>
  session.transaction((tx) => port(session).load(tx, saga, key));

const cases: readonly StoreCase[] = [
  {
    name: 'a saga comes back as it was saved, to the letter',
    async run(world) {
      const session = await world.open();
      const row = begun('käse/1', { version: 3, state: '{"text":"世界 \\u0000"}', ledger: '{"steps":[]}', status: 'undoing', startedMs: 1_767_225_600_123, changedMs: 1_767_225_600_124 });
      assert.equal(await save(session, row), true);
      assert.deepEqual(await load(session, 'käse/1'), row);
      assert.equal(await load(session, 'käse/2'), undefined);
    },
  },
  {
    name: 'a saga is named by its saga and key, exactly',
    async run(world) {
      const session = await world.open();
      await save(session, begun('a'));
      for (const [saga, key] of [[prices, 'A'], [prices, 'a '], ['Basket.prices', 'a'], ['basket.price', 'sa']] as const) {
        assert.equal(await load(session, key, saga), undefined, JSON.stringify([saga, key]));
      }
    },
  },
  {
    name: 'a saga begins once',
    async run(world) {
      const session = await world.open();
      assert.equal(await save(session, begun('a', { state: '"first"' })), true);
      assert.equal(await save(session, begun('a', { state: '"second"' })), false);
      assert.equal((await load(session, 'a'))!.state, '"first"');
    },
  },
  {
    name: 'a revision is written over the one before it, and over no other',
    async run(world) {
      const session = await world.open();
      assert.equal(await save(session, begun('a', { revision: 2 })), false, 'before it began');
      await save(session, begun('a'));
      assert.equal(await save(session, begun('a', { revision: 2, state: '2', status: 'completed', version: 2, changedMs: 5_000 })), true);
      for (const revision of [1, 2, 4]) assert.equal(await save(session, begun('a', { revision, state: 'other' })), false, `revision ${revision}`);
      assert.deepEqual(await load(session, 'a'), begun('a', { revision: 2, state: '2', status: 'completed', version: 2, changedMs: 5_000 }));
      assert.equal(await save(session, begun('a', { revision: 3 })), true);
    },
  },
  {
    name: 'of two that work on one saga at once one is told no, or waits for the other',
    needs: ['sessions'],
    async run(world) {
      const [one, two] = [await world.open(), await world.open()];
      await save(one, begun('a'));
      const raise = async (session: StoreSession, tx: StoreTransaction): Promise<boolean> => {
        const row = await port(session).load(tx, prices, 'a');
        await world.clock.turn();
        return port(session).save(tx, { ...row!, revision: row!.revision + 1 });
      };
      const outcomes = await Promise.allSettled([one, two].map((session) => session.transaction((tx) => raise(session, tx))));
      const done = outcomes.filter((outcome) => outcome.status === 'fulfilled' && outcome.value).length;
      assert.equal((await load(one, 'a'))!.revision, 1 + done);
      assert.ok(done >= 1);
    },
  },
  {
    name: 'a saga that two begin at once begins once',
    needs: ['sessions'],
    async run(world) {
      const [one, two] = [await world.open(), await world.open()];
      const first = held(one, (tx) => port(one).save(tx, begun('a', { state: '"one"' })));
      assert.equal(await first.worked, true);
      const second = save(two, begun('a', { state: '"two"' }));
      await first.end('commit');
      assert.equal(await second, false);
      assert.equal((await load(two, 'a'))!.state, '"one"');
    },
  },
  {
    name: 'what is saved in an undone transaction is not there, and is seen within it',
    async run(world) {
      const session = await world.open();
      await undone(session, async (tx) => {
        await port(session).save(tx, begun('a'));
        assert.equal((await port(session).load(tx, prices, 'a'))!.revision, 1);
      });
      assert.equal(await load(session, 'a'), undefined);
      assert.deepEqual(await port(session).list({}), []);
    },
  },
  {
    name: 'a saga that begins makes due what waits for it, of its key alone',
    async run(world) {
      const session = await world.open();
      const error = { code: 'SAGA_NOT_FOUND', message: 'none', stack: undefined };
      await session.transaction((tx) =>
        session.ports.waiting.add(tx, [
          entry('waits for it', { key: 'a', inOrder: false, dueMs: 9_000, error }),
          entry('of another key', { key: 'b', inOrder: false, dueMs: 9_000, error }),
          entry('of another saga', { key: 'a', inOrder: false, dueMs: 9_000, error, subscription: 'basket.other' }),
          entry('for another reason', { key: 'a', inOrder: false, dueMs: 9_000 }),
          entry('due before', { key: 'a', inOrder: false, dueMs: 1_000, error }),
        ]),
      );
      await session.transaction((tx) => port(session).awaken(tx, prices, 'a', 2_000));
      assert.deepEqual((await due(session, 2_000)).names, ['due before', 'waits for it']);
      assert.deepEqual((await due(session, 1_999)).names, ['due before']);
      assert.deepEqual((await due(session, 8_000, { subscription: 'basket.other' })).names, []);
    },
  },
  {
    name: 'the list of sagas is filtered by saga, key and status, and paged',
    async run(world) {
      const session = await world.open();
      for (const key of ['a', 'b', 'c']) await save(session, begun(key));
      await save(session, begun('a', { saga: 'basket.other', status: 'parked' }));
      await save(session, begun('b', { revision: 2, status: 'completed' }));
      const keys = async (filter: Parameters<SagasPort['list']>[0]): Promise<string[]> =>
        (await port(session).list(filter)).map(({ saga, key }) => (saga === prices ? key : `other ${key}`));
      assert.deepEqual(await keys({}), ['a', 'b', 'c', 'other a']);
      assert.deepEqual(await keys({ saga: prices }), ['a', 'b', 'c']);
      assert.deepEqual(await keys({ key: 'a' }), ['a', 'other a']);
      assert.deepEqual(await keys({ saga: prices, key: 'a' }), ['a']);
      assert.deepEqual(await keys({ status: 'completed' }), ['b']);
      assert.deepEqual(await keys({ status: 'running', saga: prices, limit: 1 }), ['a']);
      const [first] = await port(session).list({ limit: 1 });
      assert.deepEqual(await keys({ after: first!.row, limit: 2 }), ['b', 'c']);
    },
  },
  {
    name: 'sagas are counted by saga, version and status',
    async run(world) {
      const session = await world.open();
      for (const key of ['a', 'b']) await save(session, begun(key));
      await save(session, begun('c', { version: 2 }));
      await save(session, begun('d', { status: 'completed' }));
      await save(session, begun('a', { saga: 'basket.other' }));
      const counted = await port(session).counts();
      const lines = counted.map(({ saga, version, status, count }) => `${saga} ${version} ${status} ${count}`);
      assert.deepEqual(lines.toSorted(), ['basket.other 1 running 1', 'basket.prices 1 completed 1', 'basket.prices 1 running 2', 'basket.prices 2 running 1']);
    },
  },
  {
    name: 'trim removes old sagas that have ended and that nothing waits for, no more than was asked for',
    async run(world) {
      const session = await world.open();
      const ended = { changedMs: 1_000, status: 'completed' } as const;
      for (const key of ['a', 'b', 'c']) await save(session, begun(key, ended));
      await save(session, begun('compensated', { ...ended, status: 'compensated' }));
      await save(session, begun('young', { ...ended, changedMs: 9_000 }));
      for (const status of ['running', 'undoing', 'parked'] as const) await save(session, begun(status, { status }));
      await save(session, begun('waits', ended));
      await save(session, begun('held', ended));
      await session.transaction(async (tx) => {
        await session.ports.waiting.add(tx, [entry('w', { key: 'waits' })]);
        await session.ports.failures.add(tx, [failure('f', { key: 'held', holds: true })]);
      });
      assert.deepEqual([await port(session).trim(9_000, 3), await port(session).trim(9_000, 3), await port(session).trim(9_000, 3)], [3, 1, 0]);
      assert.deepEqual((await port(session).list({})).map(({ key }) => key), ['young', 'running', 'undoing', 'parked', 'waits', 'held']);
    },
  },
  {
    name: 'a renamed subscription takes its sagas along',
    async run(world) {
      const session = await world.open();
      await save(session, begun('a', { state: '"old"' }));
      await save(session, begun('b', { state: '"old"' }));
      await save(session, begun('b', { state: '"new"', saga: 'basket.renamed' }));
      await session.transaction((tx) => session.ports.inbox.rename(tx, prices, 'basket.renamed'));
      assert.equal((await load(session, 'a', 'basket.renamed'))?.state, '"old"');
      assert.equal((await load(session, 'b', 'basket.renamed'))?.state, '"new"');
      assert.equal(await load(session, 'a'), undefined);
    },
  },
];

export const sagaCases: readonly StoreCase[] = cases.map((one) => ({ ...one, needs: [...(one.needs ?? []), 'sagas' as const] }));
