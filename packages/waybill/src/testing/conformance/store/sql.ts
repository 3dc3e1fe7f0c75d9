/** The user's own tables, in the same transaction. */
import assert from 'node:assert/strict';
import type { SqlTransaction } from '../../../contract/transaction.ts';
import type { StoreSession } from '../../../contract/store.ts';
import { message, prices, refused, undone, type StoreCase, type StoreWorld } from './world.ts';

const a = { source: 'catalog', id: 'a' };

export const sqlCases: readonly StoreCase[] = [
  {
    name: "the user's writes and Waybill's commit together",
    needs: ['sql'],
    async run(world) {
      const { session, query, names } = await withTable(world);
      await session.transaction(async (tx) => {
        await query(tx.native, "insert into product (name) values ('hat')");
        await session.ports.outbox.append(tx, [message('a')]);
        await session.ports.inbox.insert(tx, prices, [a]);
      });
      assert.deepEqual(await names(), ['hat']);
      assert.deepEqual((await session.ports.inspect.outbox({})).map(({ id }) => id), ['id of a']);
      assert.equal(await session.ports.inbox.has(prices, a), true);
    },
  },
  {
    name: "the user's writes and Waybill's are undone together",
    needs: ['sql'],
    async run(world) {
      const { session, query, names } = await withTable(world);
      await undone(session, async (tx) => {
        await session.ports.outbox.append(tx, [message('a')]);
        await query(tx.native, "insert into product (name) values ('hat')");
        await session.ports.inbox.insert(tx, prices, [a]);
      });
      assert.deepEqual(await names(), []);
      assert.deepEqual(await session.ports.inspect.outbox({}), []);
      assert.equal(await session.ports.inbox.has(prices, a), false);
    },
  },
  {
    name: "a savepoint that throws undoes the user's writes in it, and the transaction goes on",
    needs: ['sql'],
    async run(world) {
      const { session, query, names } = await withTable(world);
      await session.transaction(async (tx) => {
        await query(tx.native, "insert into product (name) values ('before')");
        const savepoint = tx.savepoint(async (native) => {
          await query(native, "insert into product (name) values ('inside')");
          await query(native, "insert into product (name) values ('before')"); // the primary key refuses
        });
        await assert.rejects(savepoint);
        await query(tx.native, "insert into product (name) values ('after')");
      });
      assert.deepEqual(await names(), ['after', 'before']);
    },
  },
  {
    name: 'values come back as they went in, by numbered placeholder',
    needs: ['sql', 'own-sql'],
    async run(world) {
      const { session, query } = await withTable(world);
      const values = ['Grüße 🌍\'"$1', null, -7, 1.5, Uint8Array.of(0, 255, 1)];
      await session.transaction(async (tx) => {
        await query(tx.native, 'insert into product (note, name, whole, part, bytes) values ($2, $1, $3, $4, $5)', values);
        const [row] = await query(tx.native, "select name, note, whole, part, bytes from product where name = $1 and name <> '$2' and $1 = name", [values[0]]); // prettier-ignore
        assert.deepEqual([row!['name'], row!['note'], Number(row!['whole']), row!['part']], values.slice(0, 4));
        assert.deepEqual([...(row!['bytes'] as Uint8Array)], [0, 255, 1]);
      });
    },
  },
  {
    name: 'the user may not begin or end transactions by hand',
    needs: ['sql', 'own-sql'],
    async run(world) {
      const { session, query, names } = await withTable(world);
      for (const text of ['begin', 'COMMIT', ' rollback ', '/* now */ end', 'commit; select 1']) {
        await undone(session, async (tx) => {
          await query(tx.native, "insert into product (name) values ('hat')");
          await refused('INVALID_SQL', () => query(tx.native, text), text);
        });
        assert.deepEqual(await names(), [], text);
      }
    },
  },
  {
    name: 'a statement after the end of its transaction is refused',
    needs: ['sql', 'own-sql'],
    async run(world) {
      const { session, query, names } = await withTable(world);
      const { native } = await session.transaction((tx) => ({ native: tx.native }));
      await refused('NOT_A_TRANSACTION', () => query(native, "insert into product (name) values ('hat')"));
      assert.deepEqual(await names(), []);
    },
  },
  {
    name: "the user's first statement begins a lazy transaction",
    needs: ['sql', 'lazy'],
    async run(world) {
      const { session, query, names } = await withTable(world);
      const begun: string[] = [];
      await session.transaction(
        async (tx) => {
          begun.push('work');
          await query(tx.native, "insert into product (name) values ('hat')");
        },
        { lazy: true, onBegin: () => void begun.push('onBegin') },
      );
      assert.deepEqual(begun, ['work', 'onBegin']);
      assert.deepEqual(await names(), ['hat']);
    },
  },
  {
    name: 'a store without tables of users says so',
    without: ['sql'],
    async run(world) {
      const session = await world.open();
      await session.transaction((tx) => refused('NO_SQL', () => (tx.native as SqlTransaction).query('select 1')));
    },
  },
];

async function withTable(world: StoreWorld): Promise<{
  session: StoreSession;
  query: NonNullable<StoreWorld['query']>;
  names: () => Promise<unknown[]>;
}> {
  const session = await world.open();
  const query = world.query!.bind(world);
  const make = 'create table product (name varchar(100) primary key, note varchar(100), whole integer, part double precision, bytes blob)';
  await session.transaction((tx) => query(tx.native, make));
  return {
    session,
    query,
    names: () => session.transaction(async (tx) => (await query(tx.native, 'select name from product order by name')).map(({ name }) => name)),
  };
}
