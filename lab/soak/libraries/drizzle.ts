import { eq, sql } from 'drizzle-orm';
import { drizzle } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import { postgres } from 'waybill/stores/postgres';
import type { Library } from './library.ts';
import { poolOf } from './pg.ts';

const accountTable = pgTable('account', { id: text().primaryKey(), version: integer().notNull(), balance: integer().notNull() });
const open = (url: string) => drizzle(poolOf(url));
type Tx = Parameters<Parameters<ReturnType<typeof open>['transaction']>[0]>[0];

export async function onDrizzle(url: string): Promise<Library<Tx>> {
  const db = open(url);
  return {
    store: postgres(db),
    transaction: (work) => db.transaction(work),
    async move(tx, account, amount) {
      const changed = { version: sql`${accountTable.version} + 1`, balance: sql`${accountTable.balance} + ${amount}` };
      const [row] = await tx.update(accountTable).set(changed).where(eq(accountTable.id, account)).returning({ version: accountTable.version });
      return row!.version;
    },
  };
}
