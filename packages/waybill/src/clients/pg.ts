/**
 * node-postgres: a Pool as root; the PoolClient (or a Client of the user's own, after BEGIN) as transaction.
 *
 * Costs a transaction: BEGIN, the statements, one question before COMMIT (none when a statement has told the id: COMMIT's
 * own tag shows a failure), COMMIT; a round trip each. With the Pool's option `pipeline` statements need not wait for each
 * other. Statements are unnamed, so a pooler in transaction mode may stand between.
 */
import { attempt, failed } from './client/attempt.ts';
import { notATransaction } from './client/port.ts';
import type { Adapter, Client, OpenTransaction, Sql, Text } from './client/port.ts';
import { texts } from './client/texts.ts';

interface Result {
  readonly rows: object[];
  readonly rowCount: number | null;
  readonly command: string;
}

interface PgClient {
  query(text: string, values?: readonly Text[]): Promise<Result>;
  /** Since pg 8.17: `I` idle, `T` in a transaction, `E` in a failed one. */
  getTransactionStatus?(): 'I' | 'T' | 'E' | null;
  readonly pipeline?: boolean;
}

interface PoolClient extends PgClient {
  release(destroy?: boolean): void;
  on(event: 'error', listener: () => void): unknown;
  off(event: 'error', listener: () => void): unknown;
}

interface Pool extends PgClient {
  connect(): Promise<PoolClient>;
}

const library = 'pg';
const advice = 'pass the client on which BEGIN has run (`const client = await pool.connect()`), or use `bus.transaction`';

export const pg: Adapter = {
  library,
  advice,
  client: (root) => (isPool(root) ? clientOf(root) : undefined),
  transaction: (native) => (isClient(native) ? joined(native) : undefined),
};

function isPool(root: object): root is Pool {
  const { connect, query, totalCount, idleCount } = root as Record<string, unknown>;
  return typeof connect === 'function' && typeof query === 'function' && typeof totalCount === 'number' && typeof idleCount === 'number';
}

function isClient(native: object): native is PgClient {
  const { query, escapeIdentifier, connection, native: libpq } = native as Record<string, unknown>;
  return typeof query === 'function' && typeof escapeIdentifier === 'function' && (connection !== undefined || libpq !== undefined);
}

function clientOf(pool: Pool): Client<PoolClient> {
  return {
    library,
    ...sqlOf(pool),
    transaction: (work) => attempt({ library, seesTag: true, run: (body) => run(pool, body) }, work),
  };
}

async function run<R>(pool: Pool, body: (open: OpenTransaction<PoolClient>) => Promise<R>): Promise<R> {
  const client = await pool.connect();
  const lost = (): void => undefined; // the statement that it hits rejects; without a listener the process would end
  client.on('error', lost);
  let clean = false;
  try {
    await client.query('begin isolation level read committed');
    const result = await body(openOf(client)).catch(async (error: unknown) => {
      clean = await client.query('rollback').then(() => true, () => false);
      throw error;
    });
    const { command } = await client.query('commit');
    clean = true;
    if (command !== 'COMMIT') throw failed(library);
    return result;
  } finally {
    client.off('error', lost);
    client.release(!clean);
  }
}

function joined(client: PgClient): OpenTransaction<PgClient> {
  const open = openOf(client);
  open.assertOpen();
  return open;
}

function openOf<C extends PgClient>(client: C): OpenTransaction<C> {
  return {
    library,
    native: client,
    pipelines: client.pipeline === true,
    xid: undefined,
    ...sqlOf(client),
    assertOpen() {
      const status = client.getTransactionStatus?.();
      if (status === 'I') throw notATransaction(library, 'this client is not in a transaction (before BEGIN, or after its end)', advice);
      if (status === 'E') throw failed(library);
    },
  };
}

function sqlOf(client: PgClient): Sql {
  return {
    query: async (text, values) => texts((await client.query(text, values)).rows),
    execute: async (text, values) => (await client.query(text, values)).rowCount ?? 0,
  };
}
