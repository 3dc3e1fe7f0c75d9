import { CamelCasePlugin, CompiledQuery, Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import type { Library } from './library.ts';

export const onKysely: Library = {
  name: 'Kysely',
  async open(url, max) {
    const pool = new pg.Pool({ connectionString: url, max });
    pool.on('error', () => {});
    pool.on('connect', (client) => client.on('error', () => {}));
    const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }), plugins: [new CamelCasePlugin({ upperCase: true })] });
    return {
      root: db,
      transaction: (work) => db.transaction().execute(work),
      rows: async (tx: Transaction<unknown>, text, values = []) => (await tx.withoutPlugins().executeQuery(CompiledQuery.raw(text, [...values]))).rows as object[],
      close: () => db.destroy(),
    };
  },
};
