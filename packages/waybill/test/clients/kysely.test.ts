import { CamelCasePlugin, CompiledQuery, Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import { clientCases } from './cases.ts';

clientCases({
  name: 'Kysely',
  async open(url, max) {
    const pool = new pg.Pool({ connectionString: url, max });
    pool.on('error', () => {});
    pool.on('connect', (client) => client.on('error', () => {}));
    const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }), plugins: [new CamelCasePlugin({ upperCase: true })] });
    return {
      root: db,
      transaction: (work) => db.transaction().execute(work),
      sql: (tx: Transaction<unknown>, text) => tx.executeQuery(CompiledQuery.raw(text)),
      close: () => db.destroy(),
    };
  },
});
