/**
 * Sequelize 6 on PostgreSQL: the instance as root; a Transaction as transaction, managed or not. Values are bound
 * (`bind`), never written into the text (`replacements`), and the transaction is always named: with CLS a statement
 * without one would run in whatever transaction surrounds it.
 */
import { attempt } from './client/attempt.ts';
import { type Ending, endOf } from './client/end.ts';
import { joined } from './client/open.ts';
import type { Handle } from './client/open.ts';
import type { Adapter, Client, Sql } from './client/port.ts';
import { sqlOf } from './client/statements.ts';

interface Sequelize {
  query(text: string, options: object): Promise<[readonly object[] | undefined, { readonly rowCount?: number | null } | number | undefined]>;
  transaction<R>(options: { isolationLevel: string }, work: (tx: Transaction) => Promise<R>): Promise<R>;
}

interface Transaction {
  readonly sequelize: Sequelize;
  readonly connection?: object;
  readonly finished?: string;
}

const library = 'Sequelize';
const advice = 'pass what `sequelize.transaction(async (t) => …)` hands out, or use `bus.transaction`';

export const sequelize: Adapter = {
  library,
  advice,
  client: (root) => (isRoot(root) ? clientOf(root) : undefined),
  transaction: (native) => (isTransaction(native) ? joined(handleOf(native)) : undefined),
};

function isRoot(root: object): root is Sequelize {
  const { query, transaction, getQueryInterface } = root as Record<string, unknown>;
  return [query, transaction, getQueryInterface].every((member) => typeof member === 'function');
}

function isTransaction(native: object): native is Transaction {
  const { sequelize: root, commit, rollback, afterCommit } = native as Record<string, unknown>;
  return typeof root === 'object' && root !== null && isRoot(root) && [commit, rollback, afterCommit].every((member) => typeof member === 'function');
}

function clientOf(root: Sequelize): Client<Transaction> {
  return {
    library,
    ...statements(root, null),
    transaction: (work) => attempt({ library, run: (body) => root.transaction({ isolationLevel: 'READ COMMITTED' }, (tx) => body(handleOf(tx))) }, work),
  };
}

function handleOf(tx: Transaction): Handle<Transaction> {
  return {
    library,
    advice,
    native: tx,
    sql: statements(tx.sequelize, tx),
    whenOver: endOf(tx.connection as Ending | undefined),
    state: () => (tx.finished === undefined && tx.connection !== undefined ? 'open' : 'over'),
  };
}

/** @param transaction null: none, whatever CLS says */
function statements(root: Sequelize, transaction: Transaction | null): Sql {
  const run = (text: string, values: readonly (string | null)[]) =>
    root.query(text, { ...(values.length > 0 && { bind: values }), transaction, type: 'RAW', raw: true, nest: false, plain: false });
  return sqlOf({
    rows: async (text, values) => (await run(text, values))[0] ?? [],
    count: async (text, values) => {
      const [, told] = await run(text, values); // of an INSERT the number itself
      return (typeof told === 'object' ? told.rowCount : told) ?? 0;
    },
  });
}
