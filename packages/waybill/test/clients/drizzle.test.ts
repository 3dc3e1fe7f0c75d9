import { sql } from 'drizzle-orm';
import { drizzle as onPg } from 'drizzle-orm/node-postgres';
import { drizzle as onPostgresJs } from 'drizzle-orm/postgres-js';
import pg from 'pg';
import postgres from 'postgres';
import { clientCases } from './cases.ts';

clientCases({
  name: 'Drizzle on pg',
  async open(url, max) {
    const pool = new pg.Pool({ connectionString: url, max });
    pool.on('error', () => {});
    const db = onPg(pool);
    return {
      root: db,
      transaction: (work) => db.transaction(work),
      sql: (tx, text) => tx.execute(sql.raw(text)),
      close: () => pool.end(),
    };
  },
});

clientCases({
  name: 'Drizzle on postgres.js',
  async open(url, max) {
    const client = postgres(url, { max, transform: postgres.toPascal, onnotice: () => {}, connect_timeout: 2, backoff: () => 0.05 });
    const db = onPostgresJs(client);
    return {
      root: db,
      transaction: (work) => db.transaction(work),
      sql: (tx, text) => tx.execute(sql.raw(text)),
      close: () => client.end({ timeout: 1 }),
    };
  },
});
