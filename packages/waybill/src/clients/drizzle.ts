/**
 * Drizzle on node-postgres or postgres.js: the database as root; what `db.transaction` hands out as transaction, also a
 * nested one (a savepoint). Statements go through Drizzle's own session, so its logger sees them.
 */
import { WaybillError } from '../contract/errors.ts';
import { attempt } from './client/attempt.ts';
import { endOf } from './client/end.ts';
import { keepOff, unwatched } from './client/keep-off.ts';
import type { Connection } from './client/keep-off.ts';
import { joined } from './client/open.ts';
import type { Handle } from './client/open.ts';
import type { Adapter, Client, Sql } from './client/port.ts';
import { sqlOf } from './client/statements.ts';

type Answer = readonly object[] & { readonly count: number | null } | { readonly rows: readonly object[]; readonly rowCount: number | null };

interface Database {
  execute(query: object): Promise<Answer>;
  transaction<R>(work: (tx: Database) => Promise<R>, config?: { isolationLevel: 'read committed' }): Promise<R>;
  readonly $client?: object;
  readonly _?: { readonly session?: { readonly client?: object } };
}

/** What node-postgres' connection says of itself. */
interface PgConnection {
  getTransactionStatus?(): 'I' | 'T' | 'E' | null;
  on?(event: 'error' | 'drain', listener: () => void): unknown;
  off?(event: 'error' | 'drain', listener: () => void): unknown;
}

const library = 'Drizzle';
const advice = 'pass what `db.transaction(async (tx) => …)` hands out, or use `bus.transaction`';

export const drizzle: Adapter = {
  library,
  advice,
  client: (root) => (kindOf(root) === 'database' ? clientOf(root as Database) : undefined),
  transaction: (native) => (kindOf(native) === 'transaction' ? joined(handleOf(native as Database)) : undefined),
};

/** Drizzle marks its classes so that two copies of it know each other. */
const entityKind = Symbol.for('drizzle:entityKind');

function kindOf(value: object): 'database' | 'transaction' | undefined {
  const kinds: string[] = [];
  for (let at: unknown = value.constructor; typeof at === 'function'; at = Object.getPrototypeOf(at)) {
    if (Object.hasOwn(at, entityKind)) kinds.push((at as unknown as Record<symbol, string>)[entityKind]!);
  }
  if (!kinds.includes('PgDatabase')) return undefined;
  return kinds.includes('PgTransaction') ? 'transaction' : 'database';
}

function clientOf(db: Database): Client<Database> {
  const { $client } = db;
  if ($client !== undefined && 'escapeIdentifier' in $client) {
    throw new WaybillError('INVALID_OPTION', 'this Drizzle database has a single pg Client, on which transactions would run into each other; give it a Pool');
  }
  return {
    library,
    ...statements(db),
    transaction: (work) => attempt({ library, run: (body) => listening(db, body) }, work),
  };
}

/** Without a listener a pg connection that breaks would end the process; Drizzle has none. */
async function listening<R>(db: Database, body: (handle: Handle<Database>) => Promise<R>): Promise<R> {
  const lost = (): void => undefined;
  let connection: PgConnection = {};
  const begin = (work: (tx: Database) => Promise<R>): Promise<R> => db.transaction(work, { isolationLevel: 'read committed' });
  try {
    return await keepOff(begin, (tx: Database, watched) => {
      connection = connectionOf(tx);
      connection.on?.('error', lost);
      return body(handleOf(tx, watched));
    });
  } finally {
    connection.off?.('error', lost);
  }
}

function connectionOf(tx: Database): PgConnection {
  return (tx._?.session?.client ?? {}) as PgConnection;
}

function handleOf(tx: Database, watched: Connection = unwatched): Handle<Database> {
  const connection = connectionOf(tx);
  return {
    library,
    advice,
    native: tx,
    sql: statements(tx),
    whenOver: endOf(connection),
    state: () => watched.isLost() ? 'lost' : states[connection.getTransactionStatus?.() ?? '?'],
    savepoint: <R>(work: (part: Handle<Database>) => Promise<R>) =>
      watched.savepoint((set: (part: Database) => Promise<R>) => tx.transaction(set), (part) => work(handleOf(part, watched))),
  };
}
const states = { T: 'open', I: 'over', E: 'failed', '?': 'unknown' } as const;

function statements(db: Database): Sql {
  return sqlOf(
    {
      rows: async (text, values) => rowsOf(await db.execute(written(text, values))),
      count: async (text, values) => {
        const answer = await db.execute(written(text, values));
        return ('rowCount' in answer ? answer.rowCount : answer.count) ?? 0;
      },
    },
    true,
  );
}

/** The array of postgres.js, or the result of node-postgres. */
function rowsOf(answer: Answer): readonly object[] {
  return 'rows' in answer ? answer.rows : answer;
}

/** A query as Drizzle's session takes it: something that says its own SQL. */
function written(sql: string, params: readonly unknown[]): object {
  const query = { sql, params, typings: params.map(() => 'none') };
  const wrapper = { getSQL: () => wrapper, toQuery: () => query, shouldInlineParams: false };
  return wrapper;
}
