/**
 * Kysely: the instance as root; a Transaction, also a controlled one, as transaction. A plain Transaction knows
 * its own end only since Kysely 0.29 (before, a statement on it runs on a connection that is back in the pool), so the
 * server is asked.
 *
 * Kysely's pool needs a listener for `error` on each connection (`onCreateConnection`, or the pool's `connect` event):
 * without one a connection that breaks inside a transaction, between two statements, ends the process. That is so with
 * and without Waybill.
 */
import { attempt } from './client/attempt.ts';
import { kyselyStatements } from './client/kysely-statements.ts';
import type { KyselyLike } from './client/kysely-statements.ts';
import { joined } from './client/open.ts';
import type { Handle } from './client/open.ts';
import type { Adapter, Client } from './client/port.ts';

interface Root extends KyselyLike {
  transaction(): { setIsolationLevel(level: 'read committed'): { execute<R>(work: (tx: Transaction) => Promise<R>): Promise<R> } };
}

interface Transaction extends KyselyLike {
  readonly isTransaction: true;
  /** Of controlled transactions. */
  readonly isCommitted?: boolean;
  readonly isRolledBack?: boolean;
}

const library = 'Kysely';
const advice = 'pass what `db.transaction().execute(async (tx) => …)` hands out, or use `bus.transaction`';

export const kysely: Adapter = {
  library,
  advice,
  client: (root) => (isKysely(root) && !root.isTransaction ? clientOf(root) : undefined),
  transaction: (native) => (isKysely(native) && native.isTransaction ? joined(handleOf(native)) : undefined),
};

function isKysely(value: object): value is Root & { readonly isTransaction: false } | Transaction {
  const { executeQuery, withoutPlugins, isTransaction } = value as Record<string, unknown>;
  return typeof executeQuery === 'function' && typeof withoutPlugins === 'function' && typeof isTransaction === 'boolean';
}

function clientOf(db: Root): Client<Transaction> {
  return {
    library,
    ...kyselyStatements(db),
    transaction: (work) =>
      attempt({ library, run: (body) => db.transaction().setIsolationLevel('read committed').execute((tx) => body(handleOf(tx))) }, work),
  };
}

function handleOf(tx: Transaction): Handle<Transaction> {
  return {
    library,
    advice,
    native: tx,
    sql: kyselyStatements(tx),
    state: () => (tx.isCommitted === undefined ? 'unknown' : tx.isCommitted || tx.isRolledBack ? 'over' : 'open'),
    isOver,
  };
}

/** Since Kysely 0.29 a plain Transaction throws this, without a class or code of its own. */
function isOver(error: unknown): boolean {
  return error instanceof Error && /^Transaction is already (committed|rolled back)/.test(error.message);
}
