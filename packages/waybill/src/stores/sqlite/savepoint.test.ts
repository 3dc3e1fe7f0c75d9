import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { code, insert, items, placeOf, wire, withTable } from '../../../test/sqlite/support.ts';

for (const where of ['a file', ':memory:']) {
  describe(`a savepoint in ${where}`, () => {
    it('undoes its own writes alone when it throws, and throws on', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      await store.transaction(async (tx) => {
        await insert(tx.native, 1);
        const part = tx.savepoint(async (native) => {
          await insert(native, 2);
          throw new Error('bad one');
        });
        await assert.rejects(part, /bad one/);
        await tx.savepoint((native) => insert(native, 3));
      });
      assert.deepEqual(await items(store), [1, 3]);
    });

    it('holds what is written through the outer transaction meanwhile', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      await store.transaction(async (tx) => {
        await assert.rejects(
          tx.savepoint(async () => {
            await insert(tx.native, 1);
            await store.ports.outbox.append(tx, [wire()]);
            throw new Error('undone');
          }),
        );
      });
      assert.deepEqual(await items(store), []);
      assert.deepEqual(await store.ports.inspect.outbox({}), []);
    });

    it('stands inside another one', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      await store.transaction((tx) =>
        tx.savepoint(async (outer) => {
          await insert(outer, 1);
          await assert.rejects(tx.savepoint((inner) => insert(inner, 2).then(() => Promise.reject(new Error('inner')))));
          await insert(outer, 3);
        }),
      );
      assert.deepEqual(await items(store), [1, 3]);
    });

    it('gives a handle that is dead afterwards: a handler that timed out cannot write into its neighbour', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      let zombie: SqlTransaction | undefined;
      await store.transaction(async (tx) => {
        await assert.rejects(
          tx.savepoint((native) => {
            zombie = native;
            return Promise.reject(new Error('timed out'));
          }),
        );
        await tx.savepoint(async (native) => {
          await insert(native, 2);
          await assert.rejects(insert(zombie!, 1), code('NOT_A_TRANSACTION'));
          assert.throws(() => store.join(zombie), code('NOT_A_TRANSACTION'));
        });
      });
      assert.deepEqual(await items(store), [2]);
    });

    it('forgets the afterCommit of what it undid', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      const seen: string[] = [];
      await store.transaction(async (tx) => {
        tx.afterCommit(() => seen.push('before'));
        await assert.rejects(
          tx.savepoint(() => {
            tx.afterCommit(() => seen.push('undone'));
            throw new Error('no');
          }),
        );
        tx.afterCommit(() => seen.push('after'));
      });
      assert.deepEqual(seen, ['before', 'after']);
    });

    it('fails the whole transaction when two overlap, or one is not awaited', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      const overlapping = store.transaction(async (tx) => {
        const first = tx.savepoint(async (native) => (await insert(native, 1), await turn()));
        const second = tx.savepoint(async (native) => (await insert(native, 2), await turn(), await turn()));
        await Promise.allSettled([first, second]);
      });
      await assert.rejects(overlapping, code('NESTED_TRANSACTION'));
      const forgotten = store.transaction((tx) => {
        tx.savepoint((native) => insert(native, 3).then(() => turn())).catch(() => {});
      });
      await assert.rejects(forgotten, code('NESTED_TRANSACTION'));
      assert.deepEqual(await items(store), []);
    });
  });
}
