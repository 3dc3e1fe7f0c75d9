import postgres from 'postgres';
import type { Library } from './library.ts';

export const onPostgresJs: Library = {
  name: 'postgres.js',
  async open(url, max) {
    const sql = postgres(url, { max, transform: postgres.toPascal, onnotice: () => {}, connect_timeout: 2, backoff: () => 0.05 });
    return {
      root: sql,
      transaction: (work) => sql.begin((tx) => work(tx)) as Promise<never>,
      rows: async (tx: postgres.TransactionSql, text, values = []) => lowered(await tx.unsafe(text, [...values] as never[])),
      close: () => sql.end({ timeout: 1 }),
    };
  },
};

/** This user has his columns in PascalCase. */
export function lowered(rows: readonly object[]): object[] {
  return rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name.toLowerCase(), value as unknown])));
}
