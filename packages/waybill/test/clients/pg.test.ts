import pg from 'pg';
import { clientCases } from './cases.ts';

clientCases({
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
      sql: (client: pg.PoolClient, text) => client.query(text),
      close: () => pool.end(),
    };
  },
});
