import { type Generated, Kysely, PostgresDialect, type Transaction } from 'kysely';
import { postgres } from 'waybill/stores/postgres';
import type { Library } from './library.ts';
import { poolOf } from './pg.ts';

interface Tables {
  account: { id: string; version: Generated<number>; balance: Generated<number> };
}

export async function onKysely(url: string): Promise<Library<Transaction<Tables>>> {
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: poolOf(url) }) });
  return {
    store: postgres(db),
    transaction: (work) => db.transaction().execute(work),
    async move(tx, account, amount) {
      const { version } = await tx
        .updateTable('account')
        .set((is) => ({ version: is('version', '+', 1), balance: is('balance', '+', amount) }))
        .where('id', '=', account)
        .returning('version')
        .executeTakeFirstOrThrow();
      return version;
    },
  };
}
