/**
 * Knex: the instance as root; a `trx`, also a nested one or one of `transactionProvider`, as transaction. Statements go
 * to Knex's client and not through `raw`, so that no `postProcessResponse` changes their answer.
 */
import { attempt } from './client/attempt.ts';
import { joined } from './client/open.ts';
import type { Handle } from './client/open.ts';
import type { Adapter, Client, Sql } from './client/port.ts';
import { sqlOf } from './client/statements.ts';

interface KnexClient {
  /** Inside a transaction always its own connection, which is not given back. */
  acquireConnection(): Promise<object>;
  releaseConnection(connection: object): Promise<unknown>;
  query(connection: object, query: { sql: string; bindings: readonly unknown[] }): Promise<{ readonly response: { readonly rows: object[]; readonly rowCount: number | null } }>;
}

interface Knex {
  readonly client: KnexClient;
  transaction<R>(work: (trx: Transaction) => Promise<R>, config: { isolationLevel: 'read committed' }): Promise<R>;
}

interface Transaction extends Knex {
  readonly isTransaction: true;
  isCompleted(): boolean;
}

const library = 'Knex';
const advice = 'pass what `knex.transaction(async (trx) => …)` hands out, or use `bus.transaction`';

export const knex: Adapter = {
  library,
  advice,
  client: (root) => (isKnex(root) && !isTransaction(root) ? clientOf(root) : undefined),
  transaction: (native) => (isKnex(native) && isTransaction(native) ? joined(handleOf(native)) : undefined),
};

function isKnex(value: object): value is Knex {
  const { raw, schema, client, transaction } = value as Record<string, unknown>;
  return typeof value === 'function' && typeof raw === 'function' && typeof transaction === 'function' && typeof schema === 'object' && typeof client === 'object';
}

function isTransaction(value: Knex): value is Transaction {
  return (value as Partial<Transaction>).isTransaction === true;
}

function clientOf(root: Knex): Client<Transaction> {
  return {
    library,
    ...statements(root.client),
    transaction: (work) => attempt({ library, run: (body) => root.transaction((trx) => body(handleOf(trx)), { isolationLevel: 'read committed' }) }, work),
  };
}

function handleOf(trx: Transaction): Handle<Transaction> {
  return { library, advice, native: trx, sql: statements(trx.client), state: () => (trx.isCompleted() ? 'over' : 'open') };
}

function statements(client: KnexClient): Sql {
  const run = async (text: string, values: readonly (string | null)[]) => {
    const connection = await client.acquireConnection();
    try {
      return (await client.query(connection, positioned(text, values))).response;
    } finally {
      await client.releaseConnection(connection);
    }
  };
  return sqlOf({
    rows: async (text, values) => (await run(text, values)).rows,
    count: async (text, values) => (await run(text, values)).rowCount ?? 0,
  });
}

/** `$2 … $1` as Knex wants it: a `?` for each use in turn, and a `\?` for each question mark of the statement's own. */
function positioned(text: string, values: readonly (string | null)[]): { sql: string; bindings: readonly (string | null)[] } {
  const bindings: (string | null)[] = [];
  const sql = text.replaceAll(/\?|\$(\d+)/g, (found, number: string | undefined) => {
    if (number === undefined) return `\\${found}`;
    bindings.push(values[Number(number) - 1] ?? null);
    return '?';
  });
  return { sql, bindings };
}
