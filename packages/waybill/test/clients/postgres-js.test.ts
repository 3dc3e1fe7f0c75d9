import postgres from 'postgres';
import { clientCases } from './cases.ts';

clientCases({
  name: 'postgres.js',
  async open(url, max) {
    const sql = postgres(url, { max, transform: postgres.toPascal, onnotice: () => {}, connect_timeout: 2, backoff: () => 0.05 });
    return {
      root: sql,
      transaction: (work) => sql.begin((tx) => work(tx)) as Promise<never>,
      sql: (tx: postgres.TransactionSql, text) => tx.unsafe(text),
      close: () => sql.end({ timeout: 1 }),
    };
  },
});
