import createKnex, { type Knex } from 'knex';
import { postgres } from 'waybill/stores/postgres';
import { connectionsMax, type Library } from './library.ts';

export async function onKnex(url: string): Promise<Library<Knex.Transaction>> {
  const knex = createKnex({ client: 'pg', connection: url, pool: { min: 0, max: connectionsMax }, acquireConnectionTimeout: 10_000 });
  return {
    store: postgres(knex),
    transaction: (work) => knex.transaction(work),
    async move(trx, account, amount) {
      const [row] = await trx<{ id: string; version: number; balance: number }>('account')
        .where({ id: account })
        .update({ version: trx.raw('version + 1'), balance: trx.raw('balance + ?', [amount]) })
        .returning('version');
      return row!.version;
    },
  };
}
