/** BEGIN that travels with the first statement: whatever that is, it has the effect that it has after a BEGIN by itself. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, beforeEach, describe, it } from 'node:test';
import pg from 'pg';
import { createBus, type Bus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { memory } from 'waybill/transports/memory';
import type { PostgresServer } from '../support/postgres-server.ts';
import { server as startServer, skip } from './support.ts';

type Client = pg.PoolClient & { connection: { parse(message: { text: string }): void; query(text: string): void } };
type First = (client: pg.PoolClient) => Promise<unknown>;
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const insert = 'insert into note values ($1) returning text';

/** As the libraries for tagged templates make them. */
class Template {
  readonly values: string[];
  constructor(values: string[]) {
    this.values = values;
  }
  get text(): string {
    return insert;
  }
}

const firsts: Readonly<Record<string, First>> = {
  'text and values': (client) => client.query(insert, ['a']),
  'an object': (client) => client.query({ text: insert, values: ['a'] }),
  'an object, and values': (client) => client.query({ text: insert }, ['a']),
  'an object that puts its text together': (client) => client.query(new Template(['a'])),
  'rows as arrays': (client) => client.query({ text: insert, values: ['a'], rowMode: 'array' }),
  'a named statement': (client) => client.query({ name: 'note', text: insert, values: ['a'] }),
  'text alone': (client) => client.query("insert into note values ('a') returning text"),
  'several statements': (client) => client.query("insert into note values ('a'); insert into note values ('b')"),
  'no values': (client) => client.query("insert into note values ('a') returning text", []),
  'a callback': (client) =>
    new Promise((resolve, reject) => client.query(insert, ['a'], (error, result) => (error ? reject(error) : resolve(result)))),
  'a statement of its own kind': async (client) => {
    const statement = client.query(new pg.Query(insert, ['a']));
    const rows: object[] = [];
    statement.on('row', (row: object) => rows.push(row));
    await once(statement, 'end');
    return rows;
  },
  'a savepoint': async (client) => {
    await client.query('savepoint s');
    return client.query(insert, ['a']);
  },
  'two at once': (client) => Promise.all([client.query(insert, ['a']), client.query(insert, ['b'])]),
};

describe('BEGIN travels with the first statement', { skip }, () => {
  let server: PostgresServer;
  let database: string;
  let pool: pg.Pool;
  let bus: Bus<any>;
  /** What went to the server, as `pg` puts it on the wire; what went as text of its own ends in `;`. */
  const said: string[] = [];
  /** Instead of BEGIN, while it is set. */
  let refused = false;

  before(async () => {
    server = await startServer();
    database = await server.createDatabase();
    await server.query('create table note (text text unique)', undefined, database);
    pool = new pg.Pool({ connectionString: server.url(database), max: 1 });
    pool.on('error', () => {});
    watch(pool);
    bus = createBus({ service: 'desk', store: postgres(pool), transport: memory(), relay: 'off', logger: silent });
    await bus.transaction(async () => {}); // the schema
  });
  beforeEach(() => server.query('truncate note', undefined, database));
  after(async () => {
    await bus?.stop();
    await pool?.end();
    await server?.close();
  });
  const watch = (watched: pg.Pool): void =>
    void watched.on('connect', (client) => {
      const { connection } = client as unknown as Client;
      const { parse, query } = connection;
      const spoilt = (text: string): string => (refused ? text.replace(/^begin\b/, 'begim') : text);
      connection.parse = (message) => (said.push(message.text), parse.call(connection, { ...message, text: spoilt(message.text) }));
      connection.query = (text) => (said.push(`${text};`), query.call(connection, spoilt(text)));
    });
  const notes = async (): Promise<string[]> => (await server.query('select text from note order by 1', undefined, database)).rows.map(({ text }) => text as string);
  const shown = (result: unknown): unknown =>
    JSON.parse(JSON.stringify(result, (key, value: unknown) => (key.startsWith('_') || key === 'parsers' || key === 'RowCtor' ? undefined : value)) ?? 'null');

  for (const [what, first] of Object.entries(firsts)) {
    it(`${what}: answers as after a BEGIN, and is undone with the rest`, async () => {
      const plain = await pool.connect();
      await plain.query('begin');
      const expected = shown(await first(plain));
      await plain.query('rollback');
      plain.release(true);
      for (const prepared of [false, true]) {
        said.length = 0;
        await assert.rejects(
          bus.transaction(async (tx: pg.PoolClient) => {
            assert.deepEqual(shown(await first(tx)), expected);
            throw new Error('thought better of it');
          }),
          { message: 'thought better of it' },
        );
        assert.equal(said.filter((text) => text.startsWith('begin')).length, 1, `${prepared}: ${said.join('\n')}`);
        assert.deepEqual(await notes(), []);
      }
      await bus.transaction((tx: pg.PoolClient) => first(tx));
      assert.equal((await notes())[0], 'a');
    });

    it(`${what}: does not run where BEGIN is refused, nor does what follows it`, async () => {
      refused = true;
      try {
        await assert.rejects(
          bus.transaction(async (tx: pg.PoolClient) => {
            await first(tx).catch(() => {});
            await tx.query(insert, ['later']).catch(() => {});
          }, { attempts: 1 }),
        );
      } finally {
        refused = false;
      }
      assert.deepEqual(await notes(), []);
      await bus.transaction((tx: pg.PoolClient) => tx.query(insert, ['next'])); // over another connection
      assert.deepEqual(await notes(), ['next']);
    });
  }

  it('says nothing where nothing is said', async () => {
    said.length = 0;
    assert.equal(await bus.transaction(async () => 7), 7);
    await assert.rejects(bus.transaction(async () => Promise.reject(new Error('no'))), { message: 'no' });
    assert.deepEqual(said, []);
  });

  it('fails as a statement of the transaction, which is lost with it', async () => {
    await server.query(`insert into note values ('a')`, undefined, database);
    await assert.rejects(
      bus.transaction(async (tx: pg.PoolClient) => {
        await assert.rejects(tx.query(insert, ['a']), { code: '23505' });
        await assert.rejects(tx.query(insert, ['b']), { code: '25P02' });
      }, { attempts: 1 }),
      { code: 'NOT_A_TRANSACTION' },
    );
    assert.deepEqual(await notes(), ['a']);
  });

  it('can be caught where its values cannot be sent, and the transaction goes on', async () => {
    const circular: { self?: unknown } = {};
    circular.self = circular;
    await bus.transaction(async (tx: pg.PoolClient) => {
      await assert.rejects(tx.query(insert, [circular]), /circular/i);
      await tx.query(insert, ['b']);
    });
    assert.deepEqual(await notes(), ['b']);
  });

  it('reads committed, whatever the database has as its default', async () => {
    await server.query(`alter database ${database} set default_transaction_isolation = 'serializable'`);
    const fresh = new pg.Pool({ connectionString: server.url(database), max: 1 });
    const other = createBus({ service: 'desk', store: postgres(fresh), transport: memory(), relay: 'off', logger: silent });
    for (const values of [['x'], []]) {
      const level = await other.transaction(async (tx: pg.PoolClient) => {
        const { rows } = await tx.query(`select current_setting('transaction_isolation') as level${values.map((_, i) => `, $${i + 1}::text`).join('')}`, values);
        return (rows[0] as { level: string }).level;
      });
      assert.equal(level, 'read committed');
    }
    await other.stop();
    await fresh.end();
  });

  it('is waited for on a pool that pipelines, since what stands behind it would be on its way', async () => {
    const fresh = new pg.Pool({ connectionString: server.url(database), max: 1, pipeline: true } as pg.PoolConfig);
    watch(fresh);
    const other = createBus({ service: 'desk', store: postgres(fresh), transport: memory(), relay: 'off', logger: silent });
    await other.transaction(async () => {}); // the schema
    said.length = 0;
    await assert.rejects(
      other.transaction(async (tx: pg.PoolClient) => {
        await Promise.all([tx.query(insert, ['a']), tx.query(insert, ['b'])]);
        throw new Error('no');
      }),
      { message: 'no' },
    );
    assert.deepEqual(said, ['begin isolation level read committed;', insert, insert, 'rollback;'], 'as text of its own');
    assert.deepEqual(await notes(), []);
    await other.stop();
    await fresh.end();
  });
});
