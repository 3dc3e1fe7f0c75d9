import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { child, folder, openStore, testHost, wire } from '../../../test/sqlite/support.ts';
import type { SqliteStoreSession } from './port.ts';

const code = (expected: string) => (error: { code?: string }) => {
  assert.equal(error.code, expected, String(error));
  return true;
};

async function withTable(t: TestContext, file = join(folder(t), 'catalog.db')): Promise<SqliteStoreSession> {
  const store = await openStore(t, file);
  await store.transaction((tx) => tx.native.query('create table if not exists item (n integer, who text)'));
  return store;
}
const items = (store: SqliteStoreSession): Promise<unknown[]> =>
  store.database.read((statements) => statements.all<{ n: number }>('select n from item order by rowid').map((row) => row.n));
const insert = (tx: SqlTransaction, n: number): Promise<unknown> => tx.query('insert into item values ($1, null)', [n]);

for (const where of ['a file', ':memory:']) {
  const fileOf = (t: TestContext): string => (where === ':memory:' ? where : join(folder(t), 'catalog.db'));

  describe(`a transaction in ${where}`, () => {
    it('commits what its work wrote, and returns its result', async (t) => {
      const store = await withTable(t, fileOf(t));
      const result = await store.transaction(async (tx) => {
        await insert(tx.native, 1);
        return 'done';
      });
      assert.equal(result, 'done');
      assert.deepEqual(await items(store), [1]);
    });

    it('leaves nothing when its work throws', async (t) => {
      const store = await withTable(t, fileOf(t));
      const failed = store.transaction(async (tx) => {
        await insert(tx.native, 1);
        throw new Error('no');
      });
      await assert.rejects(failed, /no/);
      assert.deepEqual(await items(store), []);
    });

    it('goes on after a statement that failed, as SQLite does', async (t) => {
      const store = await withTable(t, fileOf(t));
      await store.transaction(async (tx) => {
        await insert(tx.native, 1);
        await assert.rejects(tx.native.query('insert into nowhere values (1)'), /no such table/);
        await insert(tx.native, 2);
      });
      assert.deepEqual(await items(store), [1, 2]);
    });

    it('never shows another one its uncommitted rows, nor a reader', async (t) => {
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await openStore(t, fileOf(t), host);
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

  describe(`a savepoint in ${where}`, () => {
    it('undoes its own writes alone when it throws, and throws on', async (t) => {
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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

  describe(`a lazy transaction in ${where}`, () => {
    it('holds nothing before its first statement', async (t) => {
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
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
      const store = await withTable(t, fileOf(t));
      let go = (): void => {};
      const wait = new Promise<void>((resolve) => (go = resolve));
      const holder = store.transaction(() => wait);
      let late: Promise<unknown> | undefined;
      const given = store.transaction(
        (tx) => {
          late = insert(tx.native, 1);
          late.catch(() => {});
          throw new Error('timed out');
        },
        { lazy: true },
      );
      await assert.rejects(given, /timed out/);
      go();
      await holder;
      await assert.rejects(late!, code('NOT_A_TRANSACTION'));
      await store.transaction((tx) => insert(tx.native, 2));
      assert.deepEqual(await items(store), [2]);
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
