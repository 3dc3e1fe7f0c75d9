/**
 * node-postgres: a Pool as root; the PoolClient (or a Client of the user's own, after BEGIN) as transaction. Statements
 * are unnamed, so a pooler in transaction mode may stand between.
 *
 * A connection that was given back to its pool and has begun another transaction there looks like an open one: nothing
 * tells whose it is. Do not keep it after `release`.
 */
import { attempt } from './client/attempt.ts';
import { type Ending, endOf } from './client/end.ts';
import { type Late, lateOf } from './client/late.ts';
import { begin } from './client/first.ts';
import { failed, failedBefore, joined } from './client/open.ts';
import type { Handle } from './client/open.ts';
import type { Adapter, Client, Sql } from './client/port.ts';
import { sqlStateOf } from './client/sql-state.ts';
import { sqlOf } from './client/statements.ts';

interface Result {
  readonly rows: object[];
  readonly rowCount: number | null;
  readonly command: string;
}

interface PgClient {
  query(text: string, values?: readonly (string | null)[]): Promise<Result>;
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
  connect(done: (error: Error | undefined, client: PoolClient | undefined) => void): void;
}

const library = 'pg';
const advice = 'pass the client on which BEGIN has run (`const client = await pool.connect()`), or use `bus.transaction`';

export const pg: Adapter = {
  library,
  advice,
  client: (root) => (isPool(root) ? clientOf(root) : undefined),
  transaction: (native) => (isClient(native) ? joined({ ...handleOf(native), whenOver: endOf(native as Ending) }) : undefined),
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
    ...statements(pool),
    transaction: (work) => attempt({ library, seesTag: true, reuses: true, run: (body) => run(pool, body) }, work),
  };
}

async function run<R>(pool: Pool, body: (handle: Handle<PoolClient>) => Promise<R>): Promise<R> {
  const lost = (): void => undefined; // the statement that it hits rejects; without a listener the process would end
  const client = await connected(pool, lost);
  const late = lateOf(client);
  let clean = false;
  try {
    await (late?.begin() ?? client.query(begin));
    const result = await body(handleOf(client, late)).catch(async (error: unknown) => {
      clean = late?.silent === true;
      late?.drop();
      clean ||= await client.query('rollback').then(() => true, () => false);
      throw error;
    });
    const command = await (late?.commit() ?? client.query('commit').then((answer) => answer.command));
    clean = true;
    if (command !== 'COMMIT') throw failed(library);
    return result;
  } catch (error) {
    throw sqlStateOf(error) === failedBefore ? failed(library, error) : error;
  } finally {
    late?.drop();
    client.off('error', lost);
    client.release(!clean);
  }
}

/**
 * Listens before anything else can happen. After a promise it would be too late: what comes in the same packet as the
 * connection's first word (a server that goes down) is told at once.
 */
function connected(pool: Pool, lost: () => void): Promise<PoolClient> {
  return new Promise((resolve, reject) => {
    pool.connect((error, client) => {
      if (client === undefined || error) return reject(error ?? new Error('the pool gave no connection'));
      client.on('error', lost);
      resolve(client);
    });
  });
}

function handleOf<C extends PgClient>(client: C, late?: Late): Handle<C> {
  return {
    library,
    advice,
    native: client,
    sql: statements(client),
    pipelines: client.pipeline === true,
    late,
    state: () => (late?.begun === false ? 'open' : states[client.getTransactionStatus?.() ?? '?']),
  };
}
const states = { T: 'open', I: 'over', E: 'failed', '?': 'unknown' } as const;

function statements(client: PgClient): Sql {
  return sqlOf({
    rows: async (text, values) => (await client.query(text, values)).rows,
    count: async (text, values) => (await client.query(text, values)).rowCount ?? 0,
  });
}
