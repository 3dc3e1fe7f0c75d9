import { DataSource, type EntityManager, EntitySchema } from 'typeorm';
import { postgres } from 'waybill/stores/postgres';
import { connectionsMax, connectMs, type Library } from './library.ts';

interface Account {
  id: string;
  version: number;
  balance: number;
}
const AccountSchema = new EntitySchema<Account>({ name: 'account', columns: { id: { type: 'text', primary: true }, version: { type: 'int' }, balance: { type: 'int' } } });

export async function onTypeorm(url: string): Promise<Library<EntityManager>> {
  const source = new DataSource({ type: 'postgres', url, poolSize: connectionsMax, connectTimeoutMS: connectMs, poolErrorHandler: () => {}, entities: [AccountSchema] });
  for (let tries = 0; !source.isInitialized; tries++) {
    // the server may be away just now
    await source.initialize().catch((error: unknown) => (tries < 300 ? new Promise((resolve) => setTimeout(resolve, 200)) : Promise.reject(error as Error)));
  }
  return {
    store: postgres(source),
    transaction: (work) => source.transaction(work),
    async move(manager, account, amount) {
      const repository = manager.getRepository(AccountSchema);
      const found = await repository.findOneOrFail({ where: { id: account }, lock: { mode: 'pessimistic_write' } });
      await repository.save({ ...found, version: found.version + 1, balance: found.balance + amount });
      return found.version + 1;
    },
  };
}
