/** What holds for every client library: the port's promises, on a real server. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { CommitFailed, ConnectionLost, type Client, type OpenTransaction } from '../../src/clients/client/port.ts';
import { sqlStateOf } from '../../src/clients/client/sql-state.ts';
import { clientOf, transactionOf } from '../../src/clients/recognise.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import type { Library, Root } from './library.ts';
import { sharedServer, skip } from './server.ts';

/** The server’s tag: the statement itself may be a prepared one, without its text. */
const commitDone = /COMMIT\0/;

/** Libraries that show the `pg` connection of a transaction. */
const telling = ['pg', 'Drizzle on pg', 'Sequelize'];

const schema = `
  create table thing (id bigint primary key, word text, data jsonb, body bytea, words text[]);
  create table once (n int unique deferrable initially deferred)`;

/** What SQL, drivers and placeholders of any kind may stumble over. */
const hostile = ['', ' ', "it's", '"quoted"', 'back\\slash', '$1 :name ? ?? {a,b} NULL', 'null', 'žluťoučký 🐎', '\n\r\t', '{"a":1}', '\\x00'];

export function clientCases({ name, open }: Library): void {
  describe(`over ${name}`, { skip }, () => {
    let server: PostgresServer;
    let database: string;
    let url: string;
    let user: Root;
    let client: Client;

    before(async () => {
      server = await sharedServer();
      database = await server.createDatabase();
      url = server.url(database);
      await server.query(schema, undefined, database);
      await server.query(`alter database ${database} set default_transaction_isolation = serializable`);
      user = await open(url, 4);
      client = clientOf(user.root);
    });
    after(async () => {
      await user?.close();
    });

    const ids = async (): Promise<string[]> => (await client.query<{ id: string }>('select id::text from thing order by thing.id')).map((row) => row.id);
    const put = (sql: OpenTransaction | Client, id: number | string): Promise<number> => sql.execute('insert into thing (id) values ($1::text::bigint)', [String(id)]);
    const clear = (): Promise<number> => client.execute('delete from thing');
    const refused = (what: RegExp) => (error: unknown) => {
      assert.ok(WaybillError.is(error, 'NOT_A_TRANSACTION'), String(error));
      assert.match(error.message, new RegExp(`^${client.library}: `));
      assert.match(error.message, what);
      return true;
    };

    it('commits what the work wrote', async () => {
      await clear();
      const result = await client.transaction(async (open) => {
        await put(open, 1);
        assert.deepEqual(await ids(), [], 'nobody else sees it yet');
        return 'done';
      });
      assert.equal(result, 'done');
      assert.deepEqual(await ids(), ['1']);
    });

    it('undoes everything when the work throws, and throws that very error', async () => {
      await clear();
      const mine = new Error('mine');
      await assert.rejects(client.transaction(async (open) => { await put(open, 1); throw mine; }), (error) => error === mine);
      assert.deepEqual(await ids(), []);
    });

    it('is READ COMMITTED, whatever the database has as its default', async () => {
      const isolation = await client.transaction(async (open) => (await open.query('select current_setting($1::text) as level', ['transaction_isolation']))[0]);
      assert.deepEqual(isolation, { level: 'read committed' });
    });

    it('sees once that a user’s own transaction is over, whichever way, where its connection tells', async () => {
      await clear();
      let seen = 0;
      const look = (): number => seen++;
      const within = (end: 'commit' | 'rollback') => user.transaction(async (native) => {
        const open = transactionOf(native);
        assert.equal(open.whenOver !== undefined, telling.includes(name));
        open.whenOver?.(look);
        open.whenOver?.(look); // a second publish
        await put(open, 1);
        assert.equal(seen, 0, 'not before its end');
        if (end === 'rollback') throw new Error('undo');
      });
      await assert.rejects(within('rollback'), /undo/);
      assert.equal(seen, telling.includes(name) ? 1 : 0);
      seen = 0;
      await within('commit');
      assert.equal(seen, telling.includes(name) ? 1 : 0);
      await user.transaction(async (native) => put(transactionOf(native), 2));
      assert.equal(seen, telling.includes(name) ? 1 : 0, 'of the next one nobody asked');
    });

    it('brings every text there and back', async () => {
      await clear();
      await client.transaction(async (open) => {
        for (const [i, word] of hostile.entries()) {
          const [row] = await open.query('insert into thing (id, word) values ($1::text::bigint, $2::text) returning word, id::text as number', [String(i), word]);
          assert.deepEqual(row, { word, number: String(i) });
        }
        assert.deepEqual(await open.query('select $1::text as nothing', [null]), [{ nothing: null }]);
      });
      assert.deepEqual((await client.query<{ word: string }>('select word from thing order by id')).map((row) => row.word), hostile);
    });

    it('brings numbers past 2^53, JSON, bytes and arrays by casts', async () => {
      await clear();
      const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 256));
      const json = JSON.stringify({ deep: [{ '?': "it's" }], n: 1 });
      const array = `{${hostile.map((word) => `"${word.replaceAll(/["\\]/g, '\\$&')}"`).join(',')}}`;
      const [row] = await client.transaction((open) => open.query<Record<string, string>>(
        `insert into thing (id, data, body, words) values ($1::text::bigint, $2::text::jsonb, decode($3::text, 'base64'), $4::text::text[])
         returning id::text, data::text, encode(body, 'base64') as body, to_json(words)::text as words, (data -> 'deep' -> 0 ? '?')::text as has, length(body)::text as size`,
        ['9007199254740993', json, bytes.toString('base64'), array],
      ));
      assert.equal(row!['id'], '9007199254740993');
      assert.deepEqual(JSON.parse(row!['data']!), JSON.parse(json));
      assert.ok(Buffer.from(row!['body']!, 'base64').equals(bytes));
      assert.deepEqual(JSON.parse(row!['words']!), hostile);
      assert.equal(row!['has'], 'true');
      assert.equal(row!['size'], '100000');
    });

    it('answers rows of insert, update and delete, and how many a statement touched', async () => {
      await clear();
      await client.transaction(async (open) => {
        const many = '(select x::bigint from unnest($1::text::text[]) x)';
        assert.equal(await open.execute(`insert into thing (id) ${many}`, ['{1,2,3}']), 3);
        assert.deepEqual(await open.query('update thing set word = $1::text where id > 1 returning id::text, word', ['w']), [{ id: '2', word: 'w' }, { id: '3', word: 'w' }]);
        assert.deepEqual(await open.query('delete from thing where id = 99 returning id::text'), []);
        assert.deepEqual(await open.query('delete from thing where id = 3 returning id::text'), [{ id: '3' }]);
        assert.deepEqual(await open.query('with gone as (delete from thing where id = 2 returning id) select count(*)::text as gone from gone'), [{ gone: '1' }]);
        assert.equal(await open.execute('update thing set word = null where id = 99'), 0);
        assert.equal(await open.execute('delete from thing'), 1);
      });
    });

    it('undoes a savepoint alone', async () => {
      await clear();
      await client.transaction(async (open) => {
        await put(open, 1);
        const part = open.savepoint(async (inner) => {
          await put(inner, 2);
          await user.rows(inner.native, 'insert into thing (id) values (20)');
          await put(inner, 1);
        });
        await assert.rejects(part, (error) => sqlStateOf(error) === '23505');
        assert.equal(await open.savepoint((inner) => put(inner, 3)), 1);
        const nested = open.savepoint(async (outer) => {
          await put(outer, 4);
          await outer.savepoint((inner) => put(inner, 5));
          await outer.savepoint(async (inner) => { await put(inner, 6); throw new Error('six'); }).catch(() => {});
        });
        await nested;
      });
      assert.deepEqual(await ids(), ['1', '3', '4', '5']);
    });

    it('commits nothing when a statement of a savepoint failed and its error was caught in it', async () => {
      await clear();
      const fails = client.transaction(async (open) => {
        await put(open, 1);
        await open.savepoint(async (inner) => { await put(inner, 1).catch(() => {}); });
      });
      await assert.rejects(fails);
      assert.deepEqual(await ids(), []);
    });

    it('commits nothing when a statement failed and its error was caught', async () => {
      await clear();
      await assert.rejects(
        client.transaction(async (open) => {
          await put(open, 1);
          await put(open, 1).catch(() => {});
        }),
        refused(/a statement of this transaction has failed/),
      );
      assert.deepEqual(await ids(), []);
    });

    it('tells the server’s SQLSTATE through the library’s wrapping, of its own statements and of the user’s', async () => {
      for (const state of ['40001', '40P01', '55P03', '23514', 'P0001']) {
        const raise = `do $$ begin raise exception 'no' using errcode = '${state}'; end $$`;
        await assert.rejects(client.transaction((open) => open.execute(raise)), (error) => sqlStateOf(error) === state && !(error instanceof ConnectionLost));
        await assert.rejects(client.transaction((open) => user.rows(open.native, raise)), (error) => sqlStateOf(error) === state);
      }
    });

    it('says that it was COMMIT when a deferred constraint fails then, with the SQLSTATE', async () => {
      const fails = client.transaction(async (open) => {
        await open.execute('insert into once values (1), (1)');
      });
      await assert.rejects(fails, (error) => error instanceof CommitFailed && sqlStateOf(error) === '23505' && /^\d+$/.test(error.xid ?? ''));
      assert.deepEqual(await client.query('select n::text from once'), []);
    });

    it('knows the transaction’s id when COMMIT is cut from its answer, and the database tells what became of it', async () => {
      await clear();
      const proxy = await startProxy(server.port);
      const behind = await open(url.replace(String(server.port), String(proxy.port)), 4);
      try {
        const cut = clientOf(behind.root);
        await cut.query('select 1::text as one');
        const happened = proxy.cutAnswer(commitDone);
        await assert.rejects(cut.transaction((tx) => put(tx, 7)), (error) => {
          assert.ok(error instanceof CommitFailed, String(error));
          assert.equal(sqlStateOf(error), undefined);
          assert.match(error.xid ?? '', /^\d+$/);
          xid = error.xid;
          return true;
        });
        await happened;
        assert.deepEqual(await client.query('select pg_xact_status($1::text::xid8) as status', [xid ?? null]), [{ status: 'committed' }]);
        assert.deepEqual(await ids(), ['7']);
        await cut.transaction((tx) => put(tx, 8)); // it connects anew
        assert.deepEqual(await ids(), ['7', '8']);
      } finally {
        await behind.close();
        await proxy.close();
      }
    });
    let xid: string | undefined;

    it('tells a connection lost before COMMIT from a handler’s own lost connection', async () => {
      await clear();
      const proxy = await startProxy(server.port);
      const behind = await open(url.replace(String(server.port), String(proxy.port)), 4);
      try {
        const through = clientOf(behind.root);
        const cut = through.transaction(async (tx) => {
          await put(tx, 1);
          proxy.cut();
          await noticed();
          await put(tx, 2);
        });
        await assert.rejects(cut, (error) => error instanceof ConnectionLost && error.begun);
        const elsewhere = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
        await assert.rejects(through.transaction(async (tx) => { await put(tx, 1); throw elsewhere; }), (error) => error === elsewhere);
        assert.deepEqual(await ids(), []);
        await cutWhileIdle(proxy, through);
        const inPart = through.transaction((tx) => tx.savepoint(async (part) => {
          await put(part, 4);
          proxy.cut();
          await noticed();
          await put(part, 5);
        }));
        await assert.rejects(inPart, (error) => error instanceof ConnectionLost);
        assert.deepEqual(await ids(), []);
      } finally {
        await behind.close();
        await proxy.close();
      }
    });

    /** Enough turns for a socket of this process to hear that it was cut. */
    async function noticed(): Promise<void> {
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    }

    /** The connection breaks while the work waits for something else: nothing may end the process. */
    async function cutWhileIdle(proxy: Proxy, through: Client): Promise<void> {
      const fails = through.transaction(async (tx) => {
        await put(tx, 3);
        proxy.cut();
        await noticed();
      });
      await assert.rejects(fails, (error) => error instanceof ConnectionLost);
    }

    it('says that there was no connection when the server cannot be reached', async () => {
      const proxy = await startProxy(server.port);
      const behind = await open(url.replace(String(server.port), String(proxy.port)), 1);
      try {
        await proxy.refuse();
        await assert.rejects(clientOf(behind.root).transaction(async () => 1), (error) => error instanceof ConnectionLost && !error.begun);
      } finally {
        await behind.close();
        await proxy.close();
      }
    });

    it('needs one connection for one transaction after another', async () => {
      await clear();
      const one = await open(url, 1);
      try {
        const narrow = clientOf(one.root);
        for (const id of [1, 2, 3]) await narrow.transaction((open) => put(open, id));
        await Promise.all([4, 5, 6].map((id) => narrow.transaction((open) => put(open, id))));
        assert.deepEqual(await ids(), ['1', '2', '3', '4', '5', '6']);
      } finally {
        await one.close();
      }
    });

    it('writes into the user’s own transaction, and is undone with it', async () => {
      await clear();
      await user.transaction(async (native) => {
        await put(transactionOf(native), 1);
        await user.rows(native, 'insert into thing (id) values (2)');
      });
      const undone = user.transaction(async (native) => {
        await put(transactionOf(native), 3);
        throw new Error('no');
      });
      await assert.rejects(undone, /no/);
      assert.deepEqual(await ids(), ['1', '2']);
    });

    it('recognises its own transaction by what the work gets as native', async () => {
      await clear();
      await client.transaction(async ({ native }) => {
        const again = transactionOf(native);
        assert.equal(again.library, client.library);
        await put(again, 1);
        await user.rows(native, 'insert into thing (id) values (2)');
      });
      assert.deepEqual(await ids(), ['1', '2']);
    });

    it('refuses the root client by name', () => {
      assert.throws(() => transactionOf(user.root), refused(/root client/));
    });

    it('refuses a transaction that is over, and writes nothing', async () => {
      await clear();
      const committed = await user.transaction(async (native) => native as object);
      let rolledBack: object | undefined;
      await user.transaction(async (native) => { rolledBack = native; throw new Error('no'); }).catch(() => {});
      const own = await client.transaction(async (open) => open.native as object);
      for (const over of [committed, rolledBack, own]) {
        await assert.rejects(async () => put(transactionOf(over), 1), refused(/not in a transaction|is over/));
      }
      assert.deepEqual(await ids(), []);
    });

    it('refuses a transaction in which a statement has failed', async () => {
      await clear();
      const fails = user.transaction(async (native) => {
        await Promise.resolve(user.rows(native, 'select 1/0')).catch(() => {});
        await assert.rejects(async () => put(transactionOf(native), 1), refused(/has failed/));
        throw new Error('enough');
      });
      await assert.rejects(fails, /enough|fail|abort/i);
      assert.deepEqual(await ids(), []);
    });
  });
}
