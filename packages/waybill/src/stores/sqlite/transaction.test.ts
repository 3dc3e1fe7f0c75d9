import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { child, code, folder, insert, items, openStore, placeOf, testHost, wire, withTable } from '../../../test/sqlite/support.ts';
import type { SqliteStoreSession } from './port.ts';

for (const where of ['a file', ':memory:']) {
  describe(`a transaction in ${where}`, () => {
    it('commits what its work wrote, and returns its result', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      const result = await store.transaction(async (tx) => {
        await insert(tx.native, 1);
        return 'done';
      });
      assert.equal(result, 'done');
      assert.deepEqual(await items(store), [1]);
    });

    it('leaves nothing when its work throws', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      const failed = store.transaction(async (tx) => {
        await insert(tx.native, 1);
        throw new Error('no');
      });
      await assert.rejects(failed, /no/);
      assert.deepEqual(await items(store), []);
    });

    it('goes on after a statement that failed, as SQLite does', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      await store.transaction(async (tx) => {
        await insert(tx.native, 1);
        await assert.rejects(tx.native.query('insert into nowhere values (1)'), /no such table/);
        await insert(tx.native, 2);
      });
      assert.deepEqual(await items(store), [1, 2]);
    });

    it('never shows another one its uncommitted rows, nor a reader', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      let open = (): void => {};
      const opened = new Promise<void>((resolve) => (open = resolve));
      let go = (): void => {};
      const wait = new Promise<void>((resolve) => (go = resolve));
      const first = store.transaction(async (tx) => {
        await insert(tx.native, 1);
        open();
        await wait;
        throw new Error('undone');
      });
      await opened;
      const read = items(store);
      const second = store.transaction((tx) => tx.native.query('select n from item'));
      await turn();
      go();
      await assert.rejects(first, /undone/);
      assert.deepEqual(await read, []);
      assert.deepEqual((await second).rows, []);
    });

    it('comes in the order of asking, one at a time', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      let open = 0;
      const all = Array.from({ length: 50 }, (_, n) =>
        store.transaction(async (tx) => {
          assert.equal(++open, 1);
          await insert(tx.native, n);
          if (n % 3 === 0) await turn();
          open--;
        }),
      );
      await Promise.all(all);
      assert.deepEqual(await items(store), Array.from({ length: 50 }, (_, n) => n));
    });

    it('refuses statements once it is over, committed or not', async (t) => {
      const store = await withTable(t, placeOf(t, where));
      const kept: SqlTransaction[] = [];
      await store.transaction((tx) => void kept.push(tx.native));
      const failed = store.transaction((tx) => {
        kept.push(tx.native);
        throw new Error('no');
      });
      await assert.rejects(failed, /no/);
      for (const native of kept) await assert.rejects(insert(native, 9), code('NOT_A_TRANSACTION'));
      assert.deepEqual(await items(store), []);
    });

    it('runs afterCommit after the commit only, and reports what it throws', async (t) => {
      const host = testHost();
      const store = await openStore(t, placeOf(t, where), host);
      const seen: string[] = [];
      await store.transaction((tx) => {
        tx.afterCommit(() => {
          throw new Error('late');
        });
        tx.afterCommit(() => seen.push('committed'));
        assert.deepEqual(seen, []);
      });
      await assert.rejects(
        store.transaction((tx) => {
          tx.afterCommit(() => seen.push('never'));
          throw new Error('no');
        }),
      );
      assert.deepEqual(seen, ['committed']);
      assert.deepEqual(host.reported.map((signal) => signal.name), ['trouble']);
    });
  });
}

describe('a transaction that SQLite ends behind our back', () => {
  it('fails at the commit and lets no later statement through', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const store = await withTable(t, file);
    const user = new DatabaseSync(file);
    user.exec('create table strict_one (n integer unique on conflict rollback)');
    user.close();
    const swallowed = store.transaction(async (tx) => {
      await tx.native.query('insert into strict_one values (1)');
      await insert(tx.native, 1);
      await assert.rejects(tx.native.query('insert into strict_one values (1)'), /UNIQUE/);
      await assert.rejects(insert(tx.native, 2), code('NOT_A_TRANSACTION'));
      assert.throws(() => store.ports.outbox.append(tx, [wire()]), code('NOT_A_TRANSACTION'));
    });
    await assert.rejects(swallowed, code('NOT_A_TRANSACTION'));
    assert.deepEqual(await items(store), []);
    assert.deepEqual(await store.ports.inspect.outbox({}), []);
  });

  it('shows in plain SQLite what would happen without that (control)', (t) => {
    const user = new DatabaseSync(join(folder(t), 'user.db'));
    user.exec('create table strict_one (n integer unique on conflict rollback); create table item (n integer)');
    user.exec('begin immediate; insert into strict_one values (1)');
    assert.throws(() => user.exec('insert into strict_one values (1)'));
    user.exec('insert into item values (2)'); // commits by itself
    assert.equal(user.isTransaction, false);
    assert.deepEqual(user.prepare('select n from item').all().length, 1);
    user.close();
  });

  it('fails at a deferred constraint, at the commit, and is free again', async (t) => {
    const store = await withTable(t);
    const broken = store.transaction(async (tx) => {
      await tx.native.query('create table parent (id integer primary key)');
      await tx.native.query('create table kid (parent integer references parent deferrable initially deferred)');
      await tx.native.query('insert into kid values (7)');
    });
    await assert.rejects(broken, /FOREIGN KEY/);
    await store.transaction((tx) => insert(tx.native, 1));
    assert.deepEqual(await items(store), [1]);
  });
});

describe('writers to one file', () => {
  it('of two connections in one process lose nothing and never fail, one of them slow', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const [one, two] = [await withTable(t, file), await withTable(t, file)];
    const work = async (store: SqliteStoreSession, slow: boolean): Promise<void> => {
      for (let n = 0; n < 60; n++) {
        await store.transaction(async (tx) => {
          const { rows } = await tx.native.query<{ n: number }>('select coalesce(max(n), 0) as n from item');
          if (slow) await turn();
          await insert(tx.native, rows[0]!.n + 1);
        });
      }
    };
    await Promise.all([work(one, true), work(two, false)]);
    assert.deepEqual(await items(one), Array.from({ length: 120 }, (_, n) => n + 1));
  });

  it('of two processes lose nothing and never fail', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const store = await withTable(t, file);
    const others = [1, 2].map((who) => child(t, 'count.ts', { file, who, transactions: 150, rows: 3 }));
    for (const other of others) assert.equal(await other.ended(), 0);
    assert.deepEqual(await items(store), Array.from({ length: 900 }, (_, n) => n + 1));
  });
});

describe('a transaction that holds the file for long', () => {
  it('is reported', async (t) => {
    const host = testHost();
    const store = await openStore(t, join(folder(t), 'catalog.db'), host);
    await store.transaction(() => {
      const until = performance.now() + 110; // past the 100 ms that are reported
      while (performance.now() < until);
    });
    assert.deepEqual(host.reported.map((signal) => signal.name), ['slow-transaction']);
    await store.transaction(() => undefined);
    assert.equal(host.reported.length, 1);
  });
});

describe('a loop of transactions', () => {
  it('gives timers and sockets their turn, although nothing in it waits', async (t) => {
    const store = await withTable(t);
    let turns = 0;
    const count = (): void => {
      turns++;
      immediate = setImmediate(count);
    };
    let immediate = setImmediate(count);
    t.after(() => clearImmediate(immediate));
    for (let n = 0; n < 500; n++) await store.transaction((tx) => insert(tx.native, n));
    assert.ok(turns > 5, `${turns} turns in 500 transactions`);
  });
});
