/** What is peculiar to one library, and would lose or invent a message if nobody minded it. */
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, it } from 'node:test';
import { EntitySchema, MikroORM } from '@mikro-orm/postgresql';
import { PrismaPg } from '@prisma/adapter-pg';
import { drizzle } from 'drizzle-orm/node-postgres';
import createKnex from 'knex';
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import postgres from 'postgres';
import { Sequelize } from 'sequelize';
import { DataSource } from 'typeorm';
import type { OpenTransaction } from '../../src/clients/client/port.ts';
import { clientOf, transactionOf } from '../../src/clients/recognise.ts';
import { WaybillError, type WaybillErrorCode } from '../../src/contract/errors.ts';
import { PrismaClient } from '../types/prisma/generated/client.ts';
import { database, skip } from './server.ts';

const put = (open: OpenTransaction, id: number) => open.execute('insert into thing (id) values ($1::text::bigint)', [String(id)]);
const refused = (code: WaybillErrorCode, text: RegExp) => (error: unknown) => WaybillError.is(error, code) && text.test(error.message) || assert.fail(String(error));

describe('pg', { skip }, () => {
  const db = database();

  it('a client that has not begun is refused, one that has is joined', async () => {
    const client = new pg.Client({ connectionString: db.url });
    await client.connect();
    try {
      assert.throws(() => transactionOf(client), refused('NOT_A_TRANSACTION', /^pg: .*not begun/));
      await client.query('begin');
      await put(transactionOf(client), 1);
      await client.query('rollback');
      assert.throws(() => transactionOf(client), refused('NOT_A_TRANSACTION', /^pg: /));
    } finally {
      await client.end();
    }
    assert.equal(await db.count(), 0);
  });

  it('a single Client is no root', () => {
    assert.throws(() => clientOf(new pg.Client()), refused('INVALID_OPTION', /takes a pg Pool/));
  });

  it('a client of an older pg, which does not tell its state, is asked through the server', async () => {
    const client = new pg.Client({ connectionString: db.url });
    await client.connect();
    Object.defineProperty(client, 'getTransactionStatus', { value: undefined });
    try {
      await assert.rejects(put(transactionOf(client), 2), refused('NOT_A_TRANSACTION', /^pg: /));
      await client.query('begin');
      await put(transactionOf(client), 3);
      await client.query('commit');
    } finally {
      await client.end();
    }
    assert.deepEqual([await db.count('id = 2'), await db.count('id = 3')], [0, 1]);
  });

  it('a pool with `pipeline` says so, and takes statements that do not wait for each other', async () => {
    const pool = new pg.Pool({ connectionString: db.url, pipeline: true } as pg.PoolConfig);
    await clientOf(pool).transaction(async (open) => {
      assert.equal(open.pipelines, true);
      await Promise.all([10, 11, 12].map((id) => put(open, id)));
    });
    await pool.end();
    assert.equal(await db.count('id between 10 and 12'), 3);
  });
});

describe('postgres.js', { skip }, () => {
  const db = database();

  it('its parameters are not encoded twice, with and without prepared statements', async () => {
    for (const prepare of [true, false]) {
      const sql = postgres(db.url, { prepare, max: 1 });
      const [row] = await clientOf(sql).query('select ($1::text::jsonb -> $2::text)::text as found, $1::text as text', ['{"a":[1]}', 'a']);
      assert.deepEqual(row, { found: '[1]', text: '{"a":[1]}' });
      await sql.end();
    }
  });

  it('a reserved connection is joined after begin, and refused before', async () => {
    const sql = postgres(db.url, { max: 1 });
    const reserved = await sql.reserve();
    await assert.rejects(put(transactionOf(reserved), 1), refused('NOT_A_TRANSACTION', /^postgres\.js: /));
    await reserved`begin`;
    await put(transactionOf(reserved), 2);
    await reserved`commit`;
    reserved.release();
    await sql.end();
    assert.deepEqual([await db.count('id = 1'), await db.count('id = 2')], [0, 1]);
  });

  it('a savepoint of the user’s is joined, and undone with it alone', async () => {
    const sql = postgres(db.url, { max: 1 });
    await sql.begin(async (tx) => {
      await put(transactionOf(tx), 3);
      await tx.savepoint(async (part) => {
        await put(transactionOf(part), 4);
        throw new Error('no');
      }).catch(() => {});
    });
    await sql.end();
    assert.deepEqual([await db.count('id = 3'), await db.count('id = 4')], [1, 0]);
  });
});

describe('Kysely', { skip }, () => {
  const db = database();

  it('a controlled transaction is joined until it ends', async () => {
    const kysely = new Kysely<unknown>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: db.url, max: 1 }) }) });
    const committed = await kysely.startTransaction().execute();
    await put(transactionOf(committed), 1);
    await committed.commit().execute();
    const undone = await kysely.startTransaction().execute();
    await put(transactionOf(undone), 2);
    await undone.rollback().execute();
    for (const over of [committed, undone]) assert.throws(() => transactionOf(over), refused('NOT_A_TRANSACTION', /^Kysely: /));
    await kysely.destroy();
    assert.deepEqual([await db.count('id = 1'), await db.count('id = 2')], [1, 0]);
  });
});

describe('Drizzle', { skip }, () => {
  const db = database();

  it('a nested transaction is a savepoint, and undone alone', async () => {
    const pool = new pg.Pool({ connectionString: db.url, max: 1 });
    await drizzle(pool).transaction(async (tx) => {
      await put(transactionOf(tx), 1);
      await tx.transaction(async (part) => {
        await put(transactionOf(part), 2);
        part.rollback();
      }).catch(() => {});
    });
    await pool.end();
    assert.deepEqual([await db.count('id = 1'), await db.count('id = 2')], [1, 0]);
  });

  it('a database on a single Client is no root', () => {
    assert.throws(() => clientOf(drizzle(new pg.Client())), refused('INVALID_OPTION', /single pg Client/));
  });
});

describe('Prisma', { skip }, () => {
  const db = database();
  const connect = (transactionOptions: { timeout: number }) => new PrismaClient({ adapter: new PrismaPg({ connectionString: db.url, max: 1 }), transactionOptions });
  const expiry = (tx: { $queryRawUnsafe(text: string): Promise<unknown> }) => tx.$queryRawUnsafe("select pg_sleep(0.2)::text as slept").catch(() => {});

  it('a transaction that its time-out has closed is refused, and nothing of it is committed', async () => {
    const prisma = connect({ timeout: 50 });
    const closed = prisma.$transaction(async (tx) => {
      await put(transactionOf(tx), 1);
      await expiry(tx);
      await assert.rejects(put(transactionOf(tx), 2), refused('NOT_A_TRANSACTION', /^Prisma: /));
    });
    await assert.rejects(closed);
    await prisma.$disconnect();
    assert.equal(await db.count(), 0);
  });

  it('the bus bounds its own transactions, not the client’s time-out', async () => {
    const prisma = connect({ timeout: 50 });
    await clientOf(prisma).transaction(async (open) => {
      await open.query("select pg_sleep(0.2)::text as slept");
      await put(open, 3);
    });
    await prisma.$disconnect();
    assert.equal(await db.count('id = 3'), 1);
  });
});

describe('TypeORM', { skip }, () => {
  const db = database();

  it('a QueryRunner is joined between begin and end; `dataSource.manager` never', async () => {
    const source = await new DataSource({ type: 'postgres', url: db.url, poolSize: 1 }).initialize();
    const runner = source.createQueryRunner();
    for (const outside of [source.manager, runner]) assert.throws(() => transactionOf(outside), refused('NOT_A_TRANSACTION', /^TypeORM: /));
    await runner.startTransaction();
    await put(transactionOf(runner), 1);
    await put(transactionOf(runner.manager), 2);
    await runner.commitTransaction();
    assert.throws(() => transactionOf(runner), refused('NOT_A_TRANSACTION', /^TypeORM: /));
    await runner.release();
    assert.throws(() => transactionOf(runner.manager), refused('NOT_A_TRANSACTION', /^TypeORM: /));
    await source.destroy();
    assert.equal(await db.count(), 2);
  });
});

describe('Knex', { skip }, () => {
  const db = database();

  it('question marks of a statement are not placeholders, and a value may be used twice', async () => {
    const knex = createKnex({ client: 'pg', connection: db.url, pool: { min: 0, max: 1 } });
    const [row] = await clientOf(knex).query(
      "select ($1::text::jsonb ? $2::text)::text as has, ('?' || $2::text)::text as mark, $2::text as again",
      ['{"a":1}', 'a'],
    );
    assert.deepEqual(row, { has: 'true', mark: '?a', again: 'a' });
    await knex.destroy();
  });

  it('nested and provided transactions are joined until they are completed', async () => {
    const knex = createKnex({ client: 'pg', connection: db.url, pool: { min: 0, max: 1 } });
    const trx = await knex.transactionProvider()();
    await put(transactionOf(trx), 1);
    await trx.transaction(async (part) => { await put(transactionOf(part), 2); throw new Error('no'); }).catch(() => {});
    await trx.commit();
    assert.equal(trx.isCompleted(), true);
    assert.throws(() => transactionOf(trx), refused('NOT_A_TRANSACTION', /^Knex: /));
    await knex.destroy();
    assert.deepEqual([await db.count('id = 1'), await db.count('id = 2')], [1, 0]);
  });
});

describe('MikroORM', { skip }, () => {
  const db = database();
  class Thing {
    id!: string;
    word: string | null = null;
  }
  const schema = new EntitySchema<Thing>({ class: Thing, tableName: 'thing', properties: { id: { type: 'bigint', primary: true }, word: { type: 'string', nullable: true } } });
  const connect = () => MikroORM.init({ clientUrl: db.url, entities: [schema], pool: { min: 0, max: 2 }, logger: () => {} });

  it('each transaction has an EntityManager of its own; what was rolled back is in none', async () => {
    const orm = await connect();
    const client = clientOf(orm);
    const managers = new Set<unknown>();
    const undone = client.transaction(async ({ native }) => {
      const em = native as typeof orm.em;
      managers.add(em);
      em.persist(em.create(Thing, { id: '1' }));
      await em.flush();
      throw new Error('no');
    });
    await assert.rejects(undone, /no/);
    await client.transaction(async ({ native }) => {
      const em = native as typeof orm.em;
      managers.add(em);
      assert.equal(await em.findOne(Thing, '1'), null);
    });
    assert.equal(managers.size, 2);
    assert.equal(managers.has(orm.em), false);
    assert.equal(await orm.em.fork().count(Thing), 0);
    await orm.close();
  });

  it('what was persisted is written before the statement that follows it, so that an event stands behind its write', async () => {
    const orm = await connect();
    await clientOf(orm).transaction(async (open) => {
      const em = open.native as typeof orm.em;
      em.persist(em.create(Thing, { id: '2' }));
      assert.deepEqual(await open.query('select id::text from thing where id = 2'), [{ id: '2' }]);
    });
    await orm.em.fork().transactional(async (em) => {
      em.persist(em.create(Thing, { id: '3' }));
      assert.deepEqual(await transactionOf(em).query('select id::text from thing where id = 3'), [{ id: '3' }]);
    });
    assert.equal(await db.count('id in (2, 3)'), 2);
    await orm.close();
  });

  it('what was persisted in a savepoint that is undone is not written at the end', async () => {
    const orm = await connect();
    await clientOf(orm).transaction(async (open) => {
      const part = open.savepoint(async ({ native }) => {
        const em = native as typeof orm.em;
        em.persist(em.create(Thing, { id: '4' }));
        throw new Error('no');
      });
      await assert.rejects(part, /no/);
      await put(open, 5);
    });
    assert.deepEqual([await db.count('id = 4'), await db.count('id = 5')], [0, 1]);
    await orm.close();
  });

  it('the bus’s transaction is its own, also when it is opened inside the user’s', async () => {
    const orm = await connect();
    const client = clientOf(orm);
    const undone = orm.em.fork().transactional(async () => {
      await client.transaction((open) => put(open, 6));
      throw new Error('no');
    });
    await assert.rejects(undone, /no/);
    assert.equal(await db.count('id = 6'), 1);
    await orm.close();
  });

  it('the global EntityManager is no transaction', async () => {
    const orm = await connect();
    assert.throws(() => transactionOf(orm.em), refused('NOT_A_TRANSACTION', /^MikroORM: /));
    assert.throws(() => transactionOf(orm.em.fork()), refused('NOT_A_TRANSACTION', /^MikroORM: /));
    await orm.close();
  });
});

describe('Sequelize', { skip }, () => {
  const db = database();

  it('with CLS neither a statement nor a transaction of the bus runs in the user’s transaction', async () => {
    const storage = new AsyncLocalStorage<Map<string, unknown>>();
    const namespace = {
      get: (key: string) => storage.getStore()?.get(key),
      set: (key: string, value: unknown) => void storage.getStore()?.set(key, value),
      run: (work: (context: unknown) => unknown) => storage.run(new Map(), () => work(storage.getStore())),
      bind: (fn: unknown) => fn,
    };
    (Sequelize as unknown as { useCLS(namespace: unknown): void }).useCLS(namespace);
    try {
      const sequelize = new Sequelize(db.url, { logging: false, pool: { max: 3 } });
      const client = clientOf(sequelize);
      const undone = sequelize.transaction(async (transaction) => {
        await sequelize.query('insert into thing (id) values (1)'); // CLS: in the transaction
        assert.deepEqual(await client.query('select id::text from thing'), []);
        await client.transaction((open) => put(open, 2));
        await put(transactionOf(transaction), 3);
        throw new Error('no');
      });
      await assert.rejects(undone, /no/);
      await sequelize.close();
    } finally {
      (Sequelize as unknown as { _cls: unknown })._cls = undefined;
    }
    assert.deepEqual([await db.count('id = 1'), await db.count('id = 2'), await db.count('id = 3')], [0, 1, 0]);
  });

  it('an unmanaged transaction is joined until commit', async () => {
    const sequelize = new Sequelize(db.url, { logging: false, pool: { max: 1 } });
    const transaction = await sequelize.transaction();
    await put(transactionOf(transaction), 4);
    await transaction.commit();
    assert.throws(() => transactionOf(transaction), refused('NOT_A_TRANSACTION', /^Sequelize: /));
    await sequelize.close();
    assert.equal(await db.count('id = 4'), 1);
  });
});

describe('whatever is no client', () => {
  it('is refused with what would do, and without a word of what is in it', () => {
    for (const thing of [{}, { password: 'secret' }, [], null, undefined, 5, 'postgres://user:secret@host', () => {}, new Date(), Promise.resolve()]) {
      assert.throws(() => clientOf(thing), (error) => WaybillError.is(error, 'INVALID_OPTION') && /pg Pool, postgres\.js sql, Kysely/.test(error.message) && !/secret/.test(error.message));
      assert.throws(() => transactionOf(thing), (error) => WaybillError.is(error, 'NOT_A_TRANSACTION') && !/secret/.test(error.message));
    }
  });
});
