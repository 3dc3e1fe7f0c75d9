import pg from 'pg';
import { postgres } from 'waybill/stores/postgres';
import { connectionsMax, connectMs, type Library } from './library.ts';

/** A connection that breaks while nobody uses it must not end the process. */
export function poolOf(url: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max: connectionsMax, connectionTimeoutMillis: connectMs });
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

export async function onPg(url: string): Promise<Library<pg.PoolClient>> {
  const pool = poolOf(url);
  return {
    store: postgres(pool),
    async transaction(work) {
      const client = await pool.connect();
      let broken: unknown = true;
      try {
        await client.query('begin');
        try {
          await work(client);
        } catch (error) {
          await client.query('rollback');
          broken = undefined;
          throw error;
        }
        await client.query('commit');
        broken = undefined;
      } finally {
        client.release(broken !== undefined);
      }
    },
    async move(client, account, amount) {
      const { rows } = await client.query<{ version: number }>('update account set version = version + 1, balance = balance + $2 where id = $1 returning version', [account, amount]);
      return rows[0]!.version;
    },
  };
}
