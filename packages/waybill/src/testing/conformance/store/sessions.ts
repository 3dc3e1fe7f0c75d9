/** A session: what it joins, what its errors mean, whose data it opens, what outlives it. */
import assert from 'node:assert/strict';
import { WaybillError } from '../../../contract/errors.ts';
import { prices, refused, undone, type StoreCase } from './world.ts';

const a = { source: 'catalog', id: 'a' };
const b = { source: 'catalog', id: 'b' };

export const sessionCases: readonly StoreCase[] = [
  {
    name: 'join finds the open transaction behind what user code was given',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      await undone(session, (tx) => inbox.insert(session.join(tx.native), prices, [a]));
      assert.equal(await inbox.has(prices, a), false, 'undone with its transaction');
      await session.transaction(async (tx) => {
        await inbox.insert(session.join(tx.native), prices, [a]);
        await tx.savepoint((native) => inbox.insert(session.join(native), prices, [b]));
      });
      assert.deepEqual([await inbox.has(prices, a), await inbox.has(prices, b)], [true, true]);
    },
  },
  {
    name: 'join refuses what is no open transaction',
    async run(world) {
      const session = await world.open();
      let over: unknown;
      await session.transaction((tx) => void (over = tx.native));
      for (const stranger of [over, undefined, null, {}, 'tx', 1, session, session.ports, () => {}]) {
        await refused('NOT_A_TRANSACTION', () => session.join(stranger), String(stranger));
      }
    },
  },
  {
    name: 'join refuses a transaction of another session',
    needs: ['sessions', 'own-sql'], // of a user's library it is a transaction like any other
    async run(world) {
      const [one, two] = [await world.open(), await world.open()];
      await one.transaction((tx) => refused('NOT_A_TRANSACTION', () => two.join(tx.native)));
    },
  },
  {
    name: 'a transaction that is over takes no more writes',
    async run(world) {
      const session = await world.open();
      const { inbox } = session.ports;
      const tx = await session.transaction((open) => ({ open }));
      await refused('NOT_A_TRANSACTION', () => inbox.insert(tx.open, prices, [a]));
      await refused('NOT_A_TRANSACTION', () => tx.open.savepoint(() => {}));
      assert.equal(await inbox.has(prices, a), false);
    },
  },
  {
    name: 'errors are told apart: run again, cannot be used now, not its doing',
    async run(world) {
      const { classify } = await world.open();
      const told = (code: ConstructorParameters<typeof WaybillError>[0]): string => classify(new WaybillError(code, 'of a case'));
      assert.equal(told('STORE_BUSY'), 'retry');
      for (const code of ['STORE_FULL', 'STORE_UNREACHABLE', 'STORE_READONLY', 'COMMIT_UNKNOWN'] as const) assert.equal(told(code), 'down', code);
      for (const code of ['HANDLER_FAILED', 'REJECTED', 'CONTRACT_VIOLATION', 'TRANSPORT_UNREACHABLE'] as const) {
        assert.equal(told(code), 'other', code);
      }
      for (const thrown of [new Error('busy'), undefined, null, 'STORE_BUSY', { code: 'STORE_BUSY' }, 0]) {
        assert.equal(classify(thrown), 'other', String(thrown));
      }
      const wrapped = new Error("the handler's own", { cause: new WaybillError('STORE_BUSY', 'of a case') });
      assert.equal(classify(wrapped), 'retry', 'inside an error of the handler');
    },
  },
  {
    name: 'a store belongs to one service',
    needs: ['sessions'],
    async run(world) {
      await world.open({ service: 'basket' });
      await refused('STORE_FOREIGN', () => world.open({ service: 'ordering' }));
    },
  },
  {
    name: 'what was committed outlives the session',
    needs: ['restart'],
    async run(world) {
      const before = await world.open();
      await before.transaction((tx) => before.ports.inbox.insert(tx, prices, [a]));
      await before.close();
      const after = await world.open();
      assert.equal(await after.ports.inbox.has(prices, a), true);
    },
  },
  {
    name: 'a session that was closed takes no transaction, and closing it twice is harmless',
    async run(world) {
      const session = await world.open();
      await session.close();
      await assert.rejects(session.transaction((tx) => session.ports.inbox.insert(tx, prices, [a])));
      await assert.doesNotReject(session.close());
    },
  },
  {
    name: "with migrate: 'check' missing tables are told of, and none are made",
    needs: ['migrations', 'restart'],
    async run(world) {
      await refused('STORE_NOT_MIGRATED', () => world.open({ migrate: 'check' }));
      await refused('STORE_NOT_MIGRATED', () => world.open({ migrate: 'check' }), 'the first check made nothing');
      await (await world.open()).close();
      const checked = await world.open({ migrate: 'check' });
      assert.deepEqual(await checked.transaction((tx) => checked.ports.inbox.insert(tx, prices, [a])), [true]);
    },
  },
];
