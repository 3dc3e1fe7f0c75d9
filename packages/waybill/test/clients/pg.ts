import pg from 'pg';
import type { Library } from './library.ts';

export const onPg: Library = {
  name: 'pg',
  async open(url, max) {
    const pool = new pg.Pool({ connectionString: url, max });
    pool.on('error', () => {});
    return {
      root: pool,
      async transaction(work) {
        const client = await pool.connect();
        client.on('error', () => {});
        let done = false;
        try {
          await client.query('begin');
          const result = await work(client);
          await client.query('commit');
          done = true;
          return result;
        } finally {
          if (!done) await client.query('rollback');
          client.release();
        }
      },
      rows: async (client: pg.PoolClient, text, values = []) => (await client.query(text, [...values])).rows,
      close: () => pool.end(),
    };
  },
};
