/** The transaction types of nine libraries: `ctx.tx`, `bus.transaction` and `{ tx }` have them, and root clients are refused. */
import { MikroORM, type EntityManager as MikroManager } from '@mikro-orm/postgresql';
import { drizzle as onPg } from 'drizzle-orm/node-postgres';
import { pgTable, text } from 'drizzle-orm/pg-core';
import { drizzle as onPostgresJs } from 'drizzle-orm/postgres-js';
import createKnex, { type Knex } from 'knex';
import { Kysely, type ControlledTransaction, type Transaction as KyselyTransaction } from 'kysely';
import pg from 'pg';
import createSql, { type TransactionSql } from 'postgres';
import { Sequelize, type Transaction as SequelizeTransaction } from 'sequelize';
import { DataSource, type EntityManager } from 'typeorm';
import { createBus, defineEvent, type Bus, type SqlTransaction } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import * as z from 'zod';
import { same } from './equal.ts';
import { PrismaClient, type Prisma } from './prisma/generated/client.ts';

const Renamed = defineEvent('catalog.renamed', { schema: z.object({ id: z.string() }) });
const data = { id: 'p1' };
const service = 'catalog';
type TxOf<B> = B extends Bus<infer Tx> ? Tx : never;

export async function pgPool(pool: pg.Pool, client: pg.Client): Promise<void> {
  const bus = createBus({ service, store: postgres(pool) });
  same<TxOf<typeof bus>, pg.PoolClient>(true);
  bus.subscribe(Renamed, async (event, ctx) => {
    const { rows } = await ctx.tx.query<{ price: number }>('select price from product where id = $1', [event.id]);
    rows[0]?.price.toFixed();
  });
  await bus.transaction(async (tx) => {
    await tx.query('update product set name = $1', ['x']);
    await bus.publish(Renamed, data, { tx });
  });
  await bus.publish(Renamed, data, { tx: client });
  await bus.publish(Renamed, data, { tx: 'own' });
  // @ts-expect-error a pool is no transaction
  await bus.publish(Renamed, data, { tx: pool });
  // @ts-expect-error a single Client is not a root: transactions would run into each other on it
  postgres(client);
  const moved: SqlTransaction = await pool.connect(); // a handler's text moves from a URL store to a Pool unchanged
  void moved;
}

export async function postgresJs(sql: ReturnType<typeof createSql>): Promise<void> {
  const bus = createBus({ service, store: postgres(sql) });
  same<TxOf<typeof bus>, TransactionSql>(true);
  bus.subscribe(Renamed, async (event, ctx) => void (await ctx.tx`update product set name = ${event.id}`));
  await bus.transaction(async (tx) => void (await bus.publish(Renamed, data, { tx })));
  await sql.begin(async (tx) => {
    await bus.publish(Renamed, data, { tx });
    await tx.savepoint(async (part) => void (await bus.publish(Renamed, data, { tx: part })));
  });
  // @ts-expect-error `sql` is no transaction
  await bus.publish(Renamed, data, { tx: sql });
}

interface Tables {
  product: { id: string };
}

export async function kysely(db: Kysely<Tables>, controlled: ControlledTransaction<Tables>): Promise<void> {
  const bus = createBus({ service, store: postgres(db) });
  same<TxOf<typeof bus>, KyselyTransaction<Tables>>(true);
  bus.subscribe(Renamed, async (event, ctx) => void (await ctx.tx.updateTable('product').set({ id: event.id }).execute()));
  // @ts-expect-error a column that the table does not have
  bus.subscribe(Renamed, { name: 'b' }, async (_event, ctx) => void (await ctx.tx.updateTable('product').set({ name: '' }).execute()));
  await db.transaction().execute(async (tx) => void (await bus.publish(Renamed, data, { tx })));
  await bus.publish(Renamed, data, { tx: controlled });
  // @ts-expect-error a Kysely is no transaction
  await bus.publish(Renamed, data, { tx: db });
}

export async function drizzle(pool: pg.Pool, sql: ReturnType<typeof createSql>): Promise<void> {
  const product = pgTable('product', { id: text('id') });
  const db = onPg(pool, { schema: { product } });
  const bus = createBus({ service, store: postgres(db) });
  bus.subscribe(Renamed, async (event, ctx) => {
    await ctx.tx.insert(product).values({ id: event.id });
    (await ctx.tx.query.product.findFirst())?.id?.toUpperCase();
    // @ts-expect-error a column that the table does not have
    await ctx.tx.insert(product).values({ name: '' });
  });
  await db.transaction(async (tx) => {
    await bus.publish(Renamed, data, { tx });
    await tx.transaction(async (part) => void (await bus.publish(Renamed, data, { tx: part })));
  });
  // @ts-expect-error a database is no transaction
  await bus.publish(Renamed, data, { tx: db });

  const other = onPostgresJs(sql);
  const second = createBus({ service, store: postgres(other) });
  second.subscribe(Renamed, async (event, ctx) => void (await ctx.tx.insert(product).values({ id: event.id })));
  await other.transaction(async (tx) => void (await second.publish(Renamed, data, { tx })));
  // @ts-expect-error a database is no transaction
  await second.publish(Renamed, data, { tx: other });
}

export async function prisma(client: PrismaClient): Promise<void> {
  const bus = createBus({ service, store: postgres(client) });
  bus.subscribe(Renamed, async (event, ctx) => {
    await ctx.tx.product.update({ where: { id: event.id }, data: { price: 2 } });
    const tx: Prisma.TransactionClient = ctx.tx;
    void tx;
  });
  await client.$transaction(async (tx) => void (await bus.publish(Renamed, data, { tx })));
  // @ts-expect-error a PrismaClient is no transaction
  await bus.publish(Renamed, data, { tx: client });

  const extended = client.$extends({ model: { product: { async dear() { return 1; } } } });
  const second = createBus({ service, store: postgres(extended) });
  second.subscribe(Renamed, async (_event, ctx) => void (await ctx.tx.product.dear()).toFixed());
  await extended.$transaction(async (tx) => void (await second.publish(Renamed, data, { tx })));
  // @ts-expect-error nor is an extended one
  await second.publish(Renamed, data, { tx: extended });
}

export async function typeorm(source: DataSource): Promise<void> {
  const bus = createBus({ service, store: postgres(source) });
  same<TxOf<typeof bus>, EntityManager>(true);
  await source.transaction(async (tx) => void (await bus.publish(Renamed, data, { tx })));
  await bus.publish(Renamed, data, { tx: source.createQueryRunner() });
  // @ts-expect-error a DataSource is no transaction
  await bus.publish(Renamed, data, { tx: source });
}

export async function knex(root: Knex): Promise<void> {
  const bus = createBus({ service, store: postgres(root) });
  bus.subscribe(Renamed, async (event, ctx) => {
    const tx: Knex.Transaction = ctx.tx;
    await tx('product').update({ id: event.id });
  });
  await root.transaction(async (tx) => void (await bus.publish(Renamed, data, { tx })));
  // @ts-expect-error a Knex is no transaction
  await bus.publish(Renamed, data, { tx: root });
}

export async function mikroOrm(orm: MikroORM): Promise<void> {
  const bus = createBus({ service, store: postgres(orm) });
  bus.subscribe(Renamed, async (event, ctx) => {
    const em: MikroManager = ctx.tx;
    await em.execute('update product set id = ?', [event.id]);
  });
  await orm.em.transactional(async (tx) => void (await bus.publish(Renamed, data, { tx })));
  // @ts-expect-error a MikroORM is no transaction
  await bus.publish(Renamed, data, { tx: orm });
  const second = createBus({ service, store: postgres(orm.em) });
  same<TxOf<typeof second>, typeof orm.em>(true);
}

export async function sequelize(root: Sequelize): Promise<void> {
  const bus = createBus({ service, store: postgres(root) });
  same<TxOf<typeof bus>, SequelizeTransaction>(true);
  bus.subscribe(Renamed, async (_event, ctx) => void (await root.query('select 1', { transaction: ctx.tx })));
  await root.transaction(async (tx) => void (await bus.publish(Renamed, data, { tx })));
  // @ts-expect-error a Sequelize is no transaction
  await bus.publish(Renamed, data, { tx: root });
}

/** The transaction of another library on the same database than the one that the store was made from. */
export async function another(pool: pg.Pool, db: Kysely<Tables>, sql: ReturnType<typeof createSql>): Promise<void> {
  const bus = createBus({ service, store: postgres(pool) });
  await db.transaction().execute(async (tx) => void (await bus.publish(Renamed, data, { tx })));
  await sql.begin(async (tx) => void (await bus.publish(Renamed, data, { tx })));
}

export function refused(): void {
  // @ts-expect-error no client at all
  postgres({});
  // @ts-expect-error no client at all
  postgres(new Date());
  // @ts-expect-error no client at all
  postgres(5);
  same<TxOf<ReturnType<typeof byUrl>>, SqlTransaction>(true);
}

const byUrl = () => createBus({ service, store: postgres('postgres://localhost/catalog') });

/** What names a root client's library by value: the compiler has to see that each import is used. */
export const constructors = [createSql, createKnex, DataSource, Kysely, MikroORM, PrismaClient, Sequelize, pg.Pool];
