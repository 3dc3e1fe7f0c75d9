/** Where the services of a torture run keep their rows and send their messages: private servers behind proxies, or files. */
import { chmod, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { faultProxy, type FaultProxy } from '../../packages/waybill/test/support/fault-proxy.ts';
import { type StandInProcess, startStandInProcess } from '../../packages/waybill/test/azure-service-bus/stand-in/process.ts';
import { type PostgresServer, startPostgres } from '../../packages/waybill/test/support/postgres-server.ts';
import { rabbitServer, type RabbitServer } from '../../packages/waybill/test/support/rabbitmq-server.ts';
import { needs } from '../../test/support/needs.ts';
import { type Disk, mountDisk } from './disk.ts';
import type { Role } from './role.ts';
import { tablesOf } from './tables.ts';

export const stores = ['sqlite', 'postgres'] as const;
export const transports = ['sqlite', 'rabbitmq', 'azure-service-bus'] as const;
export interface Pair {
  readonly store: (typeof stores)[number];
  readonly transport: (typeof transports)[number];
}

export const services: readonly Role['service'][] = ['bank', 'shop', 'ordering', 'works'];

export interface Ground {
  readonly pair: Pair;
  readonly folder: string;
  /** URLs that lead through the proxies. */
  readonly store: (service: Role['service']) => string;
  readonly transport: string;
  /** A service's SQLite file. */
  readonly file: (service: Role['service']) => string;
  /** Past the proxies. Waybill's tables are named as SQLite has them: `waybill_ledger`. */
  read<Row>(service: Role['service'], sql: string): Promise<Row[]>;
  /** Bytes of UTF-8 as text, in SQL. */
  text(column: string): string;
  readonly postgres: { readonly server: PostgresServer; readonly proxy: FaultProxy } | undefined;
  readonly rabbit: { readonly server: RabbitServer; readonly proxy: FaultProxy } | undefined;
  /** A stand-in for it. */
  readonly azure: { readonly server: StandInProcess; readonly proxy: FaultProxy } | undefined;
  /** What the stores lie on, when it is a disk of its own: it can be filled, and lose its power. */
  readonly disk: Disk | undefined;
  close(): Promise<void>;
}

/** The shortest lock that Azure allows: what a dead process held comes again after it. */
const azureLockMs = 5_000;
const azureTimeoutMs = 1_500;

export interface GroundOptions {
  readonly pair: Pair;
  readonly folder: string;
  /** Stores lie on a file system of their own (needs the right to mount). */
  readonly ownDisk: boolean;
  /** Settings of PostgreSQL that take its word back: what the run must notice. */
  readonly unsafe?: Readonly<Record<string, string>> | undefined;
}

export async function prepareGround({ pair, folder, ownDisk, unsafe }: GroundOptions): Promise<Ground> {
  const data = join(folder, 'data');
  await mkdir(data);
  await chmod(folder, 0o755); // PostgreSQL runs as a user of its own
  const closing: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const one of closing.splice(0).toReversed()) await one();
  };
  try {
    const disk = ownDisk ? await mountDisk(data, join(folder, 'disk')) : undefined;
    if (disk) closing.push(() => disk.close());
    const postgres = pair.store === 'postgres' ? await preparePostgres(closing, { folder: data, isDurable: ownDisk, settings: unsafe, tables: new Map(services.map((service) => [service, tablesOf(service, 'postgres')])) }) : undefined;
    const rabbit = pair.transport === 'rabbitmq' ? await prepareRabbit(closing) : undefined;
    const azure = pair.transport === 'azure-service-bus' ? await prepareAzure(closing, folder) : undefined;
    const file = (service: Role['service']): string => join(data, `${service}.db`);
    return {
      pair,
      folder,
      disk,
      postgres,
      rabbit,
      azure,
      file,
      store: (service) => (postgres ? `postgres://waybill@127.0.0.1:${postgres.proxy.port}/${service}` : `sqlite:${file(service)}`),
      transport: rabbit ? `amqp://guest:guest@127.0.0.1:${rabbit.proxy.port}/` : azure ? `${azure.server.url(azure.proxy.port)}&lockMs=${azureLockMs}&timeoutMs=${azureTimeoutMs}` : `sqlite:${data}`,
      text: (column) => (postgres ? `convert_from(${column}, 'UTF8')` : `cast(${column} as text)`),
      async read<Row>(service: Role['service'], sql: string) {
        if (postgres) return (await postgres.server.query(sql.replaceAll('waybill_', 'waybill.'), [], service)).rows as Row[];
        const database = new DatabaseSync(file(service), { readOnly: true, timeout: 5_000 });
        try {
          return database.prepare(sql).all() as Row[];
        } finally {
          database.close();
        }
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** On a disk that can tear pages they must be on their way to it: few stay in memory, and all are written soon. */
const durable = { fsync: 'on', shared_buffers: '4MB', bgwriter_delay: '10ms', bgwriter_lru_maxpages: 1_000, checkpoint_timeout: '30s' };

export interface PostgresGround {
  readonly folder: string;
  readonly isDurable: boolean;
  readonly settings?: Readonly<Record<string, string>> | undefined;
  /** By database: what makes its tables. */
  readonly tables: ReadonlyMap<string, readonly string[]>;
}

export async function preparePostgres(closing: (() => Promise<void>)[], { folder, isDurable, settings, tables }: PostgresGround): Promise<NonNullable<Ground['postgres']>> {
  const server = await startPostgres({ bin: dirname(needs('postgres').path!), folder, checksums: isDurable, settings: { max_connections: 120, ...(isDurable && durable), ...settings } });
  closing.push(() => server.close());
  for (const [database, statements] of tables) {
    await server.query(`create database ${database}`);
    for (const sql of statements) await server.query(sql, [], database);
  }
  const proxy = await faultProxy(server.port);
  closing.push(() => proxy.close());
  return { server, proxy };
}

export async function prepareRabbit(closing: (() => Promise<void>)[]): Promise<NonNullable<Ground['rabbit']>> {
  const server = await rabbitServer();
  closing.push(() => server.close());
  const proxy = await faultProxy(server.port);
  closing.push(() => proxy.close());
  return { server, proxy };
}

async function prepareAzure(closing: (() => Promise<void>)[], folder: string): Promise<Ground['azure']> {
  const server = await startStandInProcess(join(folder, 'azure.db'));
  closing.push(() => server.kill());
  const proxy = await faultProxy(server.port);
  closing.push(() => proxy.close());
  return { server, proxy };
}
