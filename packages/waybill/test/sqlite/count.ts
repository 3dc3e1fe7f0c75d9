/** Counts up in a table of the store, many times: `rows` rows to one transaction, each one more than the highest. */
import type { SqliteStoreSession } from '../../src/stores/sqlite/port.ts';
import { sqlite } from '../../src/stores/sqlite/index.ts';
import { testHost } from './support.ts';

const { file, who, transactions, rows } = JSON.parse(process.argv[2]!) as { file: string; who: number; transactions: number; rows: number };
const store = (await sqlite(file).open(testHost())) as SqliteStoreSession;
for (let i = 0; i < transactions; i++) {
  await store.transaction(async (tx) => {
    for (let row = 0; row < rows; row++) {
      await tx.native.query('insert into item select coalesce(max(n), 0) + 1, $1 from item', [String(who)]);
    }
  });
}
await store.close();
