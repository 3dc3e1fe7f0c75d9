/** Where the services of the saga kill test keep their rows, and how these are read from outside. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { PostgresServer } from '../support/postgres-server.ts';

export interface Place {
  /** The transport's. */
  readonly dir: string;
  /** URL of a service's store. */
  store(service: string): string;
  /** Waybill's tables are named as SQLite has them: `waybill_saga`. */
  read<Row>(service: string, sql: string): Promise<Row[]>;
}

/** Each service in a file of the directory, which is its ledger too. */
export function onFiles(dir: string): Place {
  const file = (service: string): string => join(dir, `${service}.db`);
  return {
    dir,
    store: (service) => `sqlite:${file(service)}`,
    async read<Row>(service: string, sql: string) {
      const database = new DatabaseSync(file(service), { readOnly: true, timeout: 5_000 });
      try {
        return database.prepare(sql).all() as Row[];
      } finally {
        database.close();
      }
    },
  };
}

/** Each service in a database of the server; the directory carries what the relays send. */
export async function onPostgres(dir: string, server: PostgresServer): Promise<Place> {
  const databases = new Map<string, string>();
  for (const service of ['web', 'ordering', 'stock', 'payment']) databases.set(service, await server.createDatabase());
  return {
    dir,
    store: (service) => server.url(databases.get(service)!),
    read: async <Row>(service: string, sql: string) => (await server.query(sql.replaceAll('waybill_', 'waybill.'), [], databases.get(service)!)).rows as Row[],
  };
}
