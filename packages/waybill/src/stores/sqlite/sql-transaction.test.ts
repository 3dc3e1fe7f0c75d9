import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { folder, openStore } from '../../../test/sqlite/support.ts';
import { parametersOf, startOf, verbOf } from './sql-text.ts';

async function inTransaction(t: TestContext, work: (tx: SqlTransaction) => Promise<void>): Promise<void> {
  const store = await openStore(t, ':memory:');
  await store.transaction((tx) => work(tx.native));
}
const invalid = (says: RegExp) => (error: Error & { code?: string }) => {
  assert.equal(error.code, 'INVALID_SQL', String(error));
  assert.match(error.message, says);
  return true;
};

describe('query', () => {
  it('binds $n by number, wherever and however often it stands', async (t) => {
    await inTransaction(t, async (tx) => {
      const { rows } = await tx.query('select $2 as b, $1 as a, $2 as c', ['one', 'two']);
      assert.deepEqual(rows, [{ b: 'two', a: 'one', c: 'two' }]);
      const eleven = Array.from({ length: 11 }, (_, at) => at + 1);
      const { rows: many } = await tx.query(`select ${eleven.map((n) => `$${n} as c${n}`).reverse().join(', ')}`, eleven); // prettier-ignore
      assert.equal(many[0]!['c11'], 11);
      assert.equal(many[0]!['c1'], 1);
    });
  });

  it('binds $n by number where nothing is answered, and leaves strings, names and comments as they are', async (t) => {
    await inTransaction(t, async (tx) => {
      await tx.query(`create table item (a text, b text, "$1" text default '$1')`);
      await tx.query(`insert into item (b, a) values ($2 || '$1' || $1, $1) -- $1`, ['one', 'two']);
      await tx.query('update item set a = a || $3 /* $2 */ where b = $1 || $2', ['two$1', 'one', '!']);
      await tx.query('insert into item values ($2, $1, $3)', Object.assign([], { 1: 'hole', 2: null }));
      const eleven = Array.from({ length: 11 }, (_, at) => `v${at + 1}`);
      await tx.query(`insert into item (a) values (${eleven.map((_, at) => `$${at + 1}`).reverse().join(" || ' ' || ")})`, eleven);
      assert.deepEqual((await tx.query('select a, b, "$1" as d from item')).rows, [
        { a: 'one!', b: 'two$1one', d: '$1' },
        { a: 'hole', b: null, d: null },
        { a: eleven.toReversed().join(' '), b: null, d: '$1' },
      ]);
      assert.deepEqual((await tx.query('select $1', [5])).rows, [{ $1: 5 }]);
      await assert.rejects(tx.query('insert into item (a) values ($1)', [NaN]), invalid(/value of \$1/));
    });
  });

  it('answers like node-postgres: plain rows, and how many were touched', async (t) => {
    await inTransaction(t, async (tx) => {
      assert.deepEqual(await tx.query('create table item (id integer primary key, name text)'), { rows: [], rowCount: null });
      assert.deepEqual(await tx.query('insert into item (name) values ($1), ($2)', ['a', 'b']), { rows: [], rowCount: 2 });
      assert.deepEqual(await tx.query('insert into item (name) values ($1) returning id', ['c']), { rows: [{ id: 3 }], rowCount: 1 });
      assert.deepEqual(await tx.query('with old as (select 1) update item set name = $1 where id > 1', ['x']), { rows: [], rowCount: 2 });
      assert.deepEqual(await tx.query('delete from item where id = 9'), { rows: [], rowCount: 0 });
      const { rows, rowCount } = await tx.query('select * from item where id < $1', [3]);
      assert.deepEqual(rows, [{ id: 1, name: 'a' }, { id: 2, name: 'x' }]); // prettier-ignore
      assert.equal(rowCount, 2);
      assert.equal(Object.getPrototypeOf(rows[0]), Object.prototype);
      assert.deepEqual(await tx.query('-- nothing'), { rows: [], rowCount: null });
    });
  });

  it('takes the values of JavaScript', async (t) => {
    const given: [unknown, unknown, string][] = [
      [undefined, null, 'null'],
      [null, null, 'null'],
      [true, 1, 'integer'],
      [false, 0, 'integer'],
      [5, 5, 'integer'],
      [-0.5, -0.5, 'real'],
      [2 ** 60, 2 ** 60, 'real'],
      [Infinity, Infinity, 'real'],
      [9_007_199_254_740_993n, 9_007_199_254_740_993n, 'integer'],
      [2n ** 63n - 1n, 2n ** 63n - 1n, 'integer'],
      [7n, 7, 'integer'],
      ['text', 'text', 'text'],
      [new Date(0), '1970-01-01T00:00:00.000Z', 'text'],
      [{ a: [1] }, '{"a":[1]}', 'text'],
      [[1, 'x'], '[1,"x"]', 'text'],
      [Buffer.from('ab'), new Uint8Array([97, 98]), 'blob'],
      [new Uint16Array([1]), new Uint8Array([1, 0]), 'blob'],
      [new Uint8Array([3]).buffer, new Uint8Array([3]), 'blob'],
    ];
    await inTransaction(t, async (tx) => {
      for (const [value, expected, type] of given) {
        const { rows } = await tx.query('select $1 as value, typeof($1) as type', [value]);
        assert.deepEqual(rows, [{ value: expected, type }], String(value));
      }
      await tx.query('create table texts (t text)');
      await tx.query('insert into texts values ($1)', [5]);
      assert.deepEqual((await tx.query('select t from texts')).rows, [{ t: '5' }]); // and not '5.0'
    });
  });

  it('refuses values that SQLite would change in silence', async (t) => {
    const loop: { self?: unknown } = {};
    loop.self = loop;
    const refused = [NaN, 2n ** 63n, new Date(NaN), new Map(), new Set(), Promise.resolve(), Symbol('s'), () => 1, { n: 1n }, loop];
    await inTransaction(t, async (tx) => {
      for (const value of refused) await assert.rejects(tx.query('select $1', [value]), invalid(/value of \$1/), String(value));
    });
  });

  it('holds placeholders and values against each other', async (t) => {
    await inTransaction(t, async (tx) => {
      await assert.rejects(tx.query('select $1, $2', [1]), invalid(/2 placeholders, and 1 values/));
      await assert.rejects(tx.query('select $1', [1, 2]), invalid(/1 placeholders, and 2 values/));
      await assert.rejects(tx.query('select $1'), invalid(/1 placeholders, and 0 values/));
      await assert.rejects(tx.query('select $1, $3', [1, 2, 3]), invalid(/highest is \$3/));
      await assert.rejects(tx.query('select ?', [1]), invalid(/"\?" is no placeholder/));
      await assert.rejects(tx.query('select :name', [1]), invalid(/":name" is no placeholder/));
      await assert.rejects(tx.query('select $1::int', [1]), invalid(/cast\(/));
      await assert.rejects(tx.query('select 1', { a: 1 } as never), invalid(/array/));
      await assert.rejects(tx.query(undefined as never), invalid(/takes a text/));
    });
  });

  it('runs several statements without values, and refuses them with', async (t) => {
    await inTransaction(t, async (tx) => {
      const { rows } = await tx.query(`create table item (n integer); -- first ; of them
        insert into item values (1); insert into item values (2);
        select n from item where n = 2; /* done; */`);
      assert.deepEqual(rows, [{ n: 2 }]);
      await assert.rejects(tx.query('insert into item values ($1); delete from item', [3]), invalid(/several/));
      assert.deepEqual((await tx.query('select count(*) as n from item')).rows, [{ n: 2 }]);
    });
  });

  it('passes SQLite’s own errors on', async (t) => {
    await inTransaction(t, async (tx) => {
      await tx.query('create table item (n integer unique)');
      await tx.query('insert into item values (1)');
      await assert.rejects(tx.query('insert into item values (1)'), { code: 'ERR_SQLITE_ERROR', errcode: 2067 });
      await assert.rejects(tx.query('selec 1'), { code: 'ERR_SQLITE_ERROR', errcode: 1 });
    });
  });

  it('sees a column that was added after the statement was prepared', async (t) => {
    await inTransaction(t, async (tx) => {
      await tx.query('create table item (a integer)');
      await tx.query('insert into item values (1)');
      assert.deepEqual((await tx.query('select * from item')).rows, [{ a: 1 }]);
      await tx.query('alter table item add column b text');
      assert.deepEqual((await tx.query('select * from item')).rows, [{ a: 1, b: null }]);
    });
  });

  it('keeps a bounded number of prepared statements', async (t) => {
    await inTransaction(t, async (tx) => {
      for (let n = 0; n < 1_200; n++) assert.deepEqual((await tx.query(`select ${n} as n`)).rows, [{ n }]);
      assert.deepEqual((await tx.query('select 0 as n')).rows, [{ n: 0 }]);
    });
  });
});

describe('statements that leave the transaction', () => {
  const refused = [
    'begin',
    'BEGIN immediate',
    '  commit',
    'end transaction',
    'rollback',
    'rollback to waybill_0',
    'savepoint mine',
    'release waybill_0',
    "attach 'other.db' as other",
    'detach other',
    'vacuum',
    "vacuum into 'copy.db'",
    '/* hidden */ commit',
    '-- hidden\ncommit',
    ';; commit',
    'select 1; commit',
    '\uFEFFcommit',
    'pragma journal_mode = delete',
    'pragma journal_mode(delete)',
    'PRAGMA main.synchronous = off',
    'pragma wal_checkpoint',
    'pragma busy_timeout = 5000',
    'pragma query_only = 1',
    'pragma writable_schema = on',
    '/* hidden */ pragma /* here */ foreign_keys = off',
    'insert or rollback into item values (1)',
    'update or rollback item set n = 1',
    'create table other (n integer unique on conflict rollback)',
    "create trigger stop before insert on item begin select raise ( rollback, 'no'); end",
  ];

  for (const sql of refused) {
    it(`are refused: ${sql.trim().replaceAll('\n', ' ')}`, async (t) => {
      const store = await openStore(t, join(folder(t), 'catalog.db'));
      await store.transaction((tx) => tx.native.query('create table item (n integer)'));
      await store.transaction(async (tx) => {
        await tx.native.query('insert into item values (7)');
        await assert.rejects(tx.native.query(sql), invalid(/./));
        await tx.native.query('insert into item values (8)');
      });
      const rows = await store.database.read((statements) => statements.all('select n from item'));
      assert.equal(rows.length, 2); // and the transaction was not harmed
    });
  }

  it('are told from what only looks like them', async (t) => {
    await inTransaction(t, async (tx) => {
      await tx.query('create table "commit" (n integer, "or rollback" text)');
      await tx.query(`insert into "commit" values (1, 'begin; or rollback -- $1 ?')`);
      await tx.query("select 'raise(rollback' as a -- commit; or rollback ?");
      await tx.query('select n as [or rollback] from "commit" /* ; rollback $7 */');
      await tx.query('create trigger t after insert on "commit" begin update "commit" set n = 2; end');
      await tx.query('explain query plan select * from "commit"');
      await tx.query('insert or abort into "commit" values ($1, $2)', [3, 'or rollback $3']);
      assert.deepEqual((await tx.query("select name from pragma_table_info('commit')")).rows.length, 2);
    });
  });

  it('are not pragmas that read, nor those whose setting is the user’s own and transactional', async (t) => {
    const store = await openStore(t, ':memory:');
    await store.transaction(async (tx) => {
      await tx.native.query('create table item (n integer)');
      assert.equal((await tx.native.query('pragma table_info(item)')).rows.length, 1);
      assert.deepEqual((await tx.native.query('pragma foreign_keys')).rows, [{ foreign_keys: 1 }]);
      await tx.native.query('pragma user_version = 7');
    });
    await assert.rejects(store.transaction((tx) => tx.native.query('pragma user_version = 8').then(() => Promise.reject(new Error('no')))));
    await store.transaction(async (tx) => {
      assert.deepEqual((await tx.native.query('pragma user_version')).rows, [{ user_version: 7 }]);
    });
  });

  it('stand behind whatever SQLite skips, and nothing else', () => {
    const text = ' \n;; -- a\n /* b */ select';
    assert.equal(startOf(text), text.indexOf('select'));
    assert.equal(startOf('/* a */ commit'), 8);
    assert.equal(startOf("-- 'a\n"), 6);
    assert.equal(startOf('/* unfinished'), 13);
    assert.equal(verbOf('/**/select'), 'select');
    assert.equal(verbOf("'commit'"), '');
    assert.equal(parametersOf("select '$2', $1, \"$3\", [$4], `$5` -- $6"), 1);
  });
});
