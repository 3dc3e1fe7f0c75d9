import connect, { type TransactionSql } from 'postgres';
import { postgres } from 'waybill/stores/postgres';
import { connectionsMax, type Library } from './library.ts';

export async function onPostgresJs(url: string): Promise<Library<TransactionSql>> {
  const sql = connect(url, { max: connectionsMax, connect_timeout: 5, backoff: () => 0.1, onnotice: () => {} });
  return {
    store: postgres(sql),
    transaction: (work) => sql.begin(work),
    async move(tx, account, amount) {
      const [row] = await tx<{ version: number }[]>`update account set version = version + 1, balance = balance + ${amount} where id = ${account} returning version`;
      return row!.version;
    },
  };
}
