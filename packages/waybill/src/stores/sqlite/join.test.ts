import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { code, folder, insert, items, wire, withTable } from '../../../test/sqlite/support.ts';

describe('join', () => {
  it('finds the open transaction behind what the user holds, begun or not', async (t) => {
    const store = await withTable(t);
    await store.transaction((tx) => assert.equal(store.join(tx.native), tx));
    await store.transaction(async (tx) => {
      const joined = store.join(tx.native);
      await store.ports.outbox.append(joined, [wire({ id: 'j' })]);
      await tx.savepoint((native) => store.ports.outbox.append(store.join(native), [wire({ id: 'k' })]));
    }, { lazy: true }); // prettier-ignore
    assert.deepEqual((await store.ports.inspect.outbox({})).map((entry) => entry.id), ['j', 'k']);
  });

  it('refuses what is no transaction, and says what it is', async (t) => {
    const store = await withTable(t);
    class Sequelize {}
    const strangers: [unknown, RegExp][] = [
      [undefined, /is undefined/],
      [null, /is null/],
      ['own', /is a string/],
      [new DatabaseSync(':memory:'), /DatabaseSync/],
      [{ totalCount: 1, connect() {}, query() {} }, /a pool/],
      [{ $connect() {}, $executeRawUnsafe() {} }, /PrismaClient/],
      [{ publish() {}, subscribe() {} }, /the bus itself/],
      [new Sequelize(), /a Sequelize/],
      [{ query() {} }, /an object/],
      [() => {}, /Function/],
    ];
    for (const [stranger, says] of strangers) {
      assert.throws(
        () => store.join(stranger),
        (error: Error & { code?: string }) => code('NOT_A_TRANSACTION')(error) && says.test(error.message) && /ctx\.tx/.test(error.message),
        String(says),
      );
    }
  });

  it('refuses the transaction of another file, and ports refuse it too', async (t) => {
    const [store, other] = [await withTable(t), await withTable(t)];
    await other.transaction((tx) => {
      assert.throws(() => store.join(tx.native), code('NOT_A_TRANSACTION'));
      assert.throws(() => store.ports.outbox.append(tx, [wire()]), code('NOT_A_TRANSACTION'));
    });
  });
});

describe('closing', () => {
  it('waits for the open transaction, then refuses', async (t) => {
    const store = await withTable(t);
    let go = (): void => {};
    const wait = new Promise<void>((resolve) => (go = resolve));
    const open = store.transaction(async (tx) => {
      await insert(tx.native, 1);
      await wait;
    });
    const closed = store.close();
    const late = store.transaction((tx) => insert(tx.native, 2));
    late.catch(() => {});
    go();
    await open;
    await closed;
    await assert.rejects(late, code('STOPPED'));
    await assert.rejects(store.database.read(() => 1), code('STOPPED'));
    await store.close();
  });

  it('at once undoes what is open, and its transaction fails', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const store = await withTable(t, file);
    const open = store.transaction(async (tx) => {
      await insert(tx.native, 1);
      store.database.close();
    });
    await assert.rejects(open, code('NOT_A_TRANSACTION'));
    assert.deepEqual(await items(await withTable(t, file)), []);
  });
});
