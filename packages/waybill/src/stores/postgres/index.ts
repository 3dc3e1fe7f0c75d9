/**
 * The PostgreSQL store: a schema per service, in the database that holds the service's own tables.
 *
 * In goes a client or a URL; out comes a session whose transactions hold the user's writes and Waybill's rows alike.
 * Guaranteed: what a transaction wrote is there as a whole once it has resolved, and not at all otherwise; a connection
 * lost during COMMIT is asked about, never run again. A crash at any step before COMMIT leaves nothing, after it
 * everything.
 *
 * A transaction costs a round trip for COMMIT, one for BEGIN (none with `pg`), and one for each set of rows, however many: see the ports.
 */
import { clientOf } from '../../clients/recognise.ts';
import type { Supported, TransactionOf } from '../../clients/supported.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { Host, Store, StoreSession } from '../../contract/store.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { configOf, directTo, loadPg } from './direct.ts';
import { asOpenError } from './errors.ts';
import type { Client } from './port.ts';
import { quoted } from './schema.ts';
import { openSession } from './session.ts';

export { migrationSql } from './migrate.ts';
export { resumeAfterRestore } from './resume.ts';

export interface PostgresOptions {
  /** The schema that Waybill's tables stand in, one per service. @default 'waybill' */
  readonly schema?: string;
  /**
   * A postgres:// URL of the server itself, past any pooler, for what needs a connection of its own: relay mode `log` and
   * being woken by `NOTIFY`. Uses the package `pg`. @default how the `pg` Pool or URL connects; none for other libraries
   */
  readonly direct?: string;
}

/** Connections of a pool that the bus opens. */
const poolSize = 10;
const connectMs = 10_000;

/**
 * PostgreSQL as store, by URL: the bus opens a pool of its own (10 connections) with the package `pg`.
 * @throws WaybillError `INVALID_OPTION`, `INVALID_URL`; when it is opened `DRIVER_MISSING`, `STORE_UNREACHABLE`, `STORE_FOREIGN`,
 *   `STORE_NEWER`, `STORE_NOT_MIGRATED`
 */
export function postgres(url: string, options?: PostgresOptions): Store<SqlTransaction>;
/**
 * PostgreSQL as store, through the client that the service has: transactions are opened with it, and `tx` is its own.
 * @param client a `pg` Pool, postgres.js `sql`, Kysely, Drizzle, Prisma, TypeORM, Knex, MikroORM or Sequelize instance
 * @throws WaybillError `INVALID_OPTION` when `client` is none of these; when it is opened as for a URL
 */
export function postgres<C extends object>(client: C & Supported<C>, options?: PostgresOptions): Store<TransactionOf<C>>;
export function postgres(client: object | string, options: PostgresOptions = {}): Store<any> {
  const schema = options.schema ?? 'waybill';
  quoted(schema);
  if (typeof client === 'string') {
    if (!/^postgres(ql)?:\/\//i.test(client)) throw new WaybillError('INVALID_URL', 'a PostgreSQL URL begins with postgres://');
    const direct = { connectionString: options.direct ?? client };
    return { kind: 'postgres', fromClient: false, open: async (host) => open(await ownClient(client, host), { schema, host, owned: true, direct: directTo(direct, name(host)) }) };
  }
  const given = clientOf(client);
  const config = options.direct === undefined ? configOf(client) : { connectionString: options.direct };
  return { kind: 'postgres', fromClient: true, open: (host) => open(given, { schema, host, owned: false, direct: config && directTo(config, name(host)) }) };
}

async function open(client: Client, options: Parameters<typeof openSession>[1]): Promise<StoreSession<any>> {
  try {
    return await openSession(client, options);
  } catch (error) {
    await client.close?.();
    throw asOpenError(error);
  }
}

async function ownClient(url: string, host: Host): Promise<Client> {
  const pg = await loadPg();
  const pool = new pg.Pool({ connectionString: url, max: poolSize, connectionTimeoutMillis: connectMs, application_name: name(host) });
  // A connection was lost: the next statement gets another, the process goes on. The second, because between a connection's
  // first word and whoever asked for it hearing of it (a promise) nobody else listens.
  pool.on('error', () => {});
  pool.on('connect', (connection) => connection.on('error', () => {}));
  return { ...clientOf(pool), close: () => pool.end() };
}

/** As the server's list of connections shows it. */
function name(host: Host): string {
  return `waybill ${host.service}`;
}
