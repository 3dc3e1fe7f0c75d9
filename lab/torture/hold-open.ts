import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { PostgresServer } from '../../packages/waybill/test/support/postgres-server.ts';

/** A writing transaction in this database that never ends, until `signal` says so: delivery must not wait for it. */
export async function holdOpen(server: PostgresServer, database: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const client = new pg.Client({ connectionString: server.url(database) });
    const lost = new Promise<void>((resolve) => client.on('error', () => resolve()).on('end', () => resolve()));
    try {
      await client.connect();
      await client.query('begin');
      await client.query('create table if not exists held_open (n int)');
      await client.query('insert into held_open values (1)');
      await Promise.race([lost, new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))]);
    } catch {
      await sleep(100); // the server is away
    }
    await Promise.race([client.end().catch(() => {}), sleep(100)]); // of a connection that broke nobody hears the end
  }
}
