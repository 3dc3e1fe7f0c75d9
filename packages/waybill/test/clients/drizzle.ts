import { sql, type SQL } from 'drizzle-orm';
import { drizzle as overPg, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { drizzle as overPostgresJs, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import pg from 'pg';
import postgres from 'postgres';
import type { Library } from './library.ts';
import { lowered } from './postgres-js.ts';

export const onDrizzlePg: Library = {
  name: 'Drizzle on pg',
  async open(url, max) {
    const pool = new pg.Pool({ connectionString: url, max });
    pool.on('error', () => {});
    const db = overPg(pool);
    return {
      root: db,
      transaction: (work) => db.transaction(work),
      rows: async (tx: NodePgDatabase, text, values) => (await tx.execute(written(text, values))).rows,
      close: () => pool.end(),
    };
  },
};

export const onDrizzlePostgresJs: Library = {
  name: 'Drizzle on postgres.js',
  async open(url, max) {
    const client = postgres(url, { max, transform: postgres.toPascal, onnotice: () => {}, connect_timeout: 2, backoff: () => 0.05 });
    const db = overPostgresJs(client);
    return {
      root: db,
      transaction: (work) => db.transaction(work),
      rows: async (tx: PostgresJsDatabase, text, values) => lowered(await tx.execute(written(text, values))),
      close: () => client.end({ timeout: 1 }),
    };
  },
};

/** A text with `$1` as Drizzle's template would have it. */
function written(text: string, values: readonly unknown[] = []): SQL {
  const parts: SQL[] = [];
  let end = 0;
  for (const found of text.matchAll(/\$(\d+)/g)) {
    parts.push(sql.raw(text.slice(end, found.index)), sql`${values[Number(found[1]) - 1]}`);
    end = found.index + found[0].length;
  }
  return sql.join([...parts, sql.raw(text.slice(end))]);
}
