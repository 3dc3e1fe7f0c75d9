/**
 * Connections that no pooler may stand in: to read the log, to be woken, and to read with named statements. They are made with the package `pg`, whatever
 * library the service uses, from the same URL or pool, or from the option `direct`.
 */
import type { Client, ClientConfig, Pool } from 'pg';
import { WaybillError } from '../../contract/errors.ts';

/** What is used of `pg.Client`. */
export interface DirectClient {
  readonly processID?: number | null;
  connect(): Promise<unknown>;
  query(statement: string | { readonly name: string; readonly text: string; readonly values: readonly (string | null)[] }): Promise<{ readonly rows: object[] }>;
  on(event: 'error', heard: (error: Error) => void): unknown;
  on(event: 'end', heard: () => void): unknown;
  on(event: 'notification', heard: (message: { readonly channel: string }) => void): unknown;
  /** It keeps no process alive that has nothing else to do. */
  unref(): void;
  ref(): void;
  end(): Promise<void>;
}

/** @param more such as `replication: 'database'` @throws whatever keeps it from connecting, `DRIVER_MISSING` */
export type Direct = (more?: object) => Promise<DirectClient>;

const connectMs = 10_000;

export function directTo(config: ClientConfig, name: string): Direct {
  return async (more) => {
    const { Client } = await loadPg();
    const client = new Client({ ...config, connectionTimeoutMillis: connectMs, keepAlive: true, application_name: name, ...more });
    client.on('error', () => {}); // whoever uses it listens too; before that, the process goes on
    await client.connect();
    return client as unknown as DirectClient;
  };
}

/** How the user's own `pg` Pool connects; undefined for every other library. */
export function configOf(client: object): ClientConfig | undefined {
  const { options, totalCount } = client as { options?: ClientConfig; totalCount?: unknown };
  if (typeof options !== 'object' || typeof totalCount !== 'number') return undefined;
  // not enumerable there, so that it is not printed
  return { ...options, ...(options.password !== undefined && { password: options.password }) };
}

export async function loadPg(): Promise<{ readonly Pool: typeof Pool; readonly Client: typeof Client }> {
  try {
    return (await import('pg')).default;
  } catch (cause) {
    throw new WaybillError('DRIVER_MISSING', 'a postgres:// URL needs the package "pg": npm install pg', { cause });
  }
}
