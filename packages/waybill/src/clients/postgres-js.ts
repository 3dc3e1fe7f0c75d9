/**
 * postgres.js: `sql` as root; what `sql.begin` hands out as transaction. It sends statements without waiting for each
 * other, on the connection that `begin` reserved. It tells nothing about the end of a transaction (a statement on its
 * handle then commits by itself), and gives up the whole once any statement has failed outside of `savepoint`.
 *
 * A connection that breaks inside `sql.begin` can end the process, in postgres.js 3.4.9 and before. Waybill's own
 * transactions keep off it (`client/keep-off.ts`); a user's own cannot be kept off.
 */
import { attempt } from './client/attempt.ts';
import { keepOff, unwatched } from './client/keep-off.ts';
import type { Connection } from './client/keep-off.ts';
import { joined } from './client/open.ts';
import type { Handle } from './client/open.ts';
import type { Adapter, Client, Sql } from './client/port.ts';
import { sqlOf } from './client/statements.ts';

interface Statements {
  /** `prepare: true` saves the round trip that asks for the parameters' types; the user's own `prepare: false` wins. */
  unsafe(text: string, values: readonly (string | null)[], options: { prepare: boolean }): Promise<readonly object[] & { readonly count: number | null }>;
}

interface Transaction extends Statements {
  savepoint<R>(work: (part: Transaction) => Promise<R>): Promise<R>;
}

interface Root extends Statements {
  begin<R>(options: string, work: (tx: Transaction) => Promise<R>): Promise<R>;
}

const library = 'postgres.js';
const advice = 'pass what `sql.begin(async (tx) => …)` hands out, or use `bus.transaction`';

export const postgresJs: Adapter = {
  library,
  advice,
  client: (root) => (isRoot(root) ? clientOf(root) : undefined),
  transaction: (native) => (isTransaction(native) ? joined(handleOf(native)) : undefined),
};

function isRoot(root: object): root is Root {
  const { unsafe, begin } = root as Record<string, unknown>;
  return typeof root === 'function' && typeof unsafe === 'function' && typeof begin === 'function';
}

/** Also a connection of `sql.reserve()` on which the user has begun. */
function isTransaction(native: object): native is Transaction {
  const { unsafe, begin } = native as Record<string, unknown>;
  return typeof native === 'function' && typeof unsafe === 'function' && begin === undefined;
}

function clientOf(sql: Root): Client<Transaction> {
  return {
    library,
    ...statements(sql),
    transaction: (work) => attempt({ library, run: (body) => run(sql, body) }, work),
  };
}

function run<R>(sql: Root, body: (handle: Handle<Transaction>) => Promise<R>): Promise<R> {
  const begin = (work: (tx: Transaction) => Promise<R>): Promise<R> => sql.begin('isolation level read committed', work);
  return keepOff(begin, (tx, connection) => body(handleOf(tx, connection)));
}

function handleOf(tx: Transaction, connection: Connection = unwatched): Handle<Transaction> {
  return {
    library,
    advice,
    native: tx,
    sql: statements(tx),
    pipelines: true,
    state: () => (connection.isLost() ? 'lost' : 'unknown'),
    savepoint: <R>(work: (part: Handle<Transaction>) => Promise<R>) =>
      connection.savepoint((set: (part: Transaction) => Promise<R>) => tx.savepoint(set), (part) => work(handleOf(part, connection))),
  };
}

function statements(sql: Statements): Sql {
  const run = (text: string, values: readonly (string | null)[]) => sql.unsafe(text, values, { prepare: values.length > 0 });
  return sqlOf({ rows: run, count: async (text, values) => (await run(text, values)).count ?? 0 }, true);
}
