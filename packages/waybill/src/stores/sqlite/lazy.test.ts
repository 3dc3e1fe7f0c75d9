import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { code, insert, items, placeOf, wire, withTable } from '../../../test/sqlite/support.ts';

for (const where of ['a file', ':memory:']) {
  describe(`a lazy transaction in ${where}`, () => {
    it('holds nothing before its first statement', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      await store.transaction(
        async (lazy) => {
          await store.transaction((tx) => insert(tx.native, 1)); // would wait for itself
          await insert(lazy.native, 2);
        },
        { lazy: true },
      );
      assert.deepEqual(await items(store), [1, 2]);
    });

    it('begins at a port’s write, and at a statement of a savepoint, which it undoes alone', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      await store.transaction((tx) => store.ports.outbox.append(tx, [wire({ id: 'a' })]), { lazy: true });
      assert.deepEqual((await store.ports.inspect.outbox({})).map((entry) => entry.id), ['a']);
      await store.transaction(
        async (tx) => {
          await assert.rejects(
            tx.savepoint(async (native) => {
              await insert(native, 1);
              throw new Error('no');
            }),
          );
          await tx.savepoint((native) => insert(native, 2));
        },
        { lazy: true },
      );
      assert.deepEqual(await items(store), [2]);
    });

    it('runs onBegin after BEGIN, before the statement and outside its savepoint', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      const onBegin = async (tx: { native: unknown }): Promise<void> => {
        await turn();
        await insert(tx.native as SqlTransaction, 1);
      };
      await store.transaction(
        async (tx) => {
          await assert.rejects(
            tx.savepoint(async (native) => {
              // Two at once: the second must not slip in before the savepoint.
              await Promise.all([insert(native, 2), store.ports.outbox.append(tx, [wire()])]);
              throw new Error('no');
            }),
          );
          await insert(tx.native, 3);
        },
        { lazy: true, onBegin },
      );
      assert.deepEqual(await items(store), [1, 3]);
      assert.deepEqual(await store.ports.inspect.outbox({}), []);
    });

    it('throws what onBegin throws, from the statement and from the commit, and writes nothing', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      const onBegin = async (tx: { native: unknown }): Promise<void> => {
        await insert(tx.native as SqlTransaction, 1);
        throw new Error('fenced');
      };
      const swallowed = store.transaction(
        async (tx) => {
          await assert.rejects(insert(tx.native, 2), /fenced/);
          await assert.rejects(insert(tx.native, 3), /fenced/);
        },
        { lazy: true, onBegin },
      );
      await assert.rejects(swallowed, /fenced/);
      assert.deepEqual(await items(store), []);
      await store.transaction((tx) => insert(tx.native, 4)); // and the file is free again
      assert.deepEqual(await items(store), [4]);
    });

    it('commits as nothing when it never began: onBegin does not run, afterCommit does', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      const seen: string[] = [];
      const result = await store.transaction(
        (tx) => {
          tx.afterCommit(() => seen.push('after'));
          return 7;
        },
        { lazy: true, onBegin: () => void seen.push('began') },
      );
      assert.equal(result, 7);
      assert.deepEqual(seen, ['after']);
    });

    it('that is given up while it waits for its turn writes nothing, and lets the next one in', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      let go = (): void => {};
      const wait = new Promise<void>((resolve) => (go = resolve));
      const holder = store.transaction(() => wait);
      let late: Promise<unknown> | undefined;
      let began = false;
      const given = store.transaction(
        (tx) => {
          late = insert(tx.native, 1);
          late.catch(() => {});
          throw new Error('timed out');
        },
        { lazy: true, onBegin: () => void (began = true) },
      );
      await assert.rejects(given, /timed out/);
      go();
      await holder;
      await assert.rejects(late!, code('NOT_A_TRANSACTION'));
      await store.transaction((tx) => insert(tx.native, 2));
      assert.deepEqual([await items(store), began], [[2], false]);
    });

    it('offers its statements only once it has begun: they would commit by themselves', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      await store.database.write(
        async (tx) => {
          assert.throws(() => tx.statements.run('insert into item values (1, null)'), code('NOT_A_TRANSACTION'));
          await tx.writing((statements) => statements.run('insert into item values (2, null)'));
          tx.statements.run('insert into item values (3, null)');
        },
        { lazy: true },
      );
      assert.deepEqual(await items(store), [2, 3]);
    });
  });
}
