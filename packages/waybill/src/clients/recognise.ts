/**
 * Which library an object belongs to. In comes whatever a user passes as store or as `tx`; out goes its client or its open
 * transaction, or an error that names what would do.
 */
import { WaybillError } from '../contract/errors.ts';
import { notATransaction } from './client/port.ts';
import type { Adapter, Client, OpenTransaction } from './client/port.ts';
import { ownOf } from './client/open.ts';
import { drizzle } from './drizzle.ts';
import { knex } from './knex.ts';
import { kysely } from './kysely.ts';
import { mikroOrm } from './mikro-orm.ts';
import { pg } from './pg.ts';
import { postgresJs } from './postgres-js.ts';
import { prisma } from './prisma.ts';
import { sequelize } from './sequelize.ts';
import { typeorm } from './typeorm.ts';

/** In this order, as in `supported.ts`: Prisma's proxies answer to many names, Drizzle's shape is the widest. */
const adapters: readonly Adapter[] = [prisma, postgresJs, mikroOrm, pg, kysely, sequelize, knex, typeorm, drizzle];

/** @throws WaybillError `INVALID_OPTION` when `root` is none of a supported library, or a transaction of one */
export function clientOf(root: unknown): Client {
  if (isObject(root)) {
    for (const adapter of adapters) {
      const client = adapter.client(root);
      if (client !== undefined) return client;
    }
  }
  throw new WaybillError('INVALID_OPTION', `postgres(client) takes ${roots}, not ${nameOf(root)}`);
}

/** @throws WaybillError `NOT_A_TRANSACTION` for root clients, for what is over or has failed, and for anything else */
export function transactionOf(native: unknown): OpenTransaction {
  if (isObject(native)) {
    const own = ownOf(native);
    if (own !== undefined) return own;
    for (const adapter of adapters) {
      if (adapter.client(native) !== undefined) throw notATransaction(adapter.library, 'this is a root client, whose statements commit by themselves', adapter.advice);
      const open = adapter.transaction(native);
      if (open !== undefined) return open;
    }
  }
  throw new WaybillError('NOT_A_TRANSACTION', `\`tx\` is ${nameOf(native)}; pass the open transaction of a supported client: the one of ${roots}, or \`tx\` of \`bus.transaction\``);
}

const roots = 'a pg Pool, postgres.js sql, Kysely, Drizzle, Prisma, TypeORM DataSource, Knex, MikroORM or Sequelize instance';

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

/** What it is, without a word of what is in it: it may hold a password. */
function nameOf(value: unknown): string {
  if (!isObject(value)) return value === null ? 'null' : `a value of type ${typeof value}`;
  const name: unknown = value.constructor?.name;
  return typeof name === 'string' && name !== '' ? `an object of class ${name}` : 'an object without a class';
}
