/**
 * MikroORM 7 on PostgreSQL: the instance or its EntityManager as root; the EntityManager of `em.transactional`, or a fork
 * after `begin`, as transaction. Each of Waybill's transactions has a fork of its own: after a rollback an identity map
 * holds what never was.
 *
 * What was persisted is flushed before each of our statements: an event must stand behind the write that it tells of,
 * and at the end the flush would come too late. Statements go to the transaction's Kysely, with real parameters:
 * `em.execute` would write them into the text.
 *
 * MikroORM 7.2.5 brings Kysely 0.29.6, which does not give a connection back to its pool when ROLLBACK fails: each one
 * that breaks in a transaction costs the pool a place, with and without Waybill. Kysely 0.29.9 does (`overrides` in the
 * user's package.json).
 */
import { WaybillError } from '../contract/errors.ts';
import { attempt } from './client/attempt.ts';
import { kyselyStatements } from './client/kysely-statements.ts';
import type { KyselyLike } from './client/kysely-statements.ts';
import { joined } from './client/open.ts';
import type { Handle } from './client/open.ts';
import type { Adapter, Client, Sql } from './client/port.ts';

interface KyselyTransaction extends KyselyLike {
  readonly isCommitted?: boolean;
  readonly isRolledBack?: boolean;
}

interface EntityManager {
  /** @param options `disableContextResolution`: of this one, not of the one that a request or transaction has made current */
  fork(options?: { disableContextResolution: true }): EntityManager;
  transactional<R>(work: (em: EntityManager) => Promise<R>, options: { isolationLevel: 'read committed' }): Promise<R>;
  isInTransaction(): boolean;
  isTransactionDisabled?(): boolean;
  getTransactionContext(): KyselyTransaction | undefined;
  getConnection(type: 'write'): { getClient(): KyselyLike; ensureConnection?(): Promise<unknown> };
  flush(): Promise<void>;
  clear(): void;
}

const library = 'MikroORM';
const advice = 'pass the `em` that `em.transactional(async (em) => …)` hands out, or use `bus.transaction`';

export const mikroOrm: Adapter = {
  library,
  advice,
  client(root) {
    const { em } = root as { em?: object };
    if (em !== undefined && isManager(em)) return clientOf(em);
    return isManager(root) && !root.isInTransaction() ? clientOf(root) : undefined;
  },
  transaction: (native) => (isManager(native) ? joined(handleOf(native)) : undefined),
};

function isManager(value: object): value is EntityManager {
  const { transactional, isInTransaction, getTransactionContext, getConnection, flush } = value as Record<string, unknown>;
  return [transactional, isInTransaction, getTransactionContext, getConnection, flush].every((member) => typeof member === 'function');
}

function clientOf(em: EntityManager): Client<EntityManager> {
  if (em.isTransactionDisabled?.() === true) {
    throw new WaybillError('INVALID_OPTION', 'this MikroORM has `disableTransactions`; Waybill needs them');
  }
  const root = async (): Promise<Sql> => {
    const connection = em.getConnection('write');
    await connection.ensureConnection?.();
    return kyselyStatements(connection.getClient());
  };
  return {
    library,
    query: async (text, values) => (await root()).query(text, values),
    execute: async (text, values) => (await root()).execute(text, values),
    transaction: (work) =>
      attempt(
        { library, run: (body) => em.fork({ disableContextResolution: true }).transactional((fork) => body(handleOf(fork)), { isolationLevel: 'read committed' }) },
        work,
      ),
  };
}

function handleOf(em: EntityManager): Handle<EntityManager> {
  const context = em.getTransactionContext();
  const sql = context === undefined ? never : kyselyStatements(context);
  return {
    library,
    advice,
    native: em,
    sql,
    state: () => (context === undefined || context.isCommitted || context.isRolledBack ? 'over' : 'open'),
    flush: () => flushed(em),
    forget: () => em.clear(),
  };
}

/** Not in a transaction: `state` refuses it before. */
const never: Sql = { query: () => Promise.resolve([]), execute: () => Promise.resolve(0) };

/** From a hook of the flush itself (`afterCreate` publishes, say) the flush is under way, and cannot be asked for again. */
async function flushed(em: EntityManager): Promise<void> {
  try {
    await em.flush();
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes('cannot call em.flush()')) throw error;
  }
}
