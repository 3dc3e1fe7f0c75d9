import { DataSource, type EntityManager } from 'typeorm';
import type { Library } from './library.ts';

export const onTypeorm: Library = {
  name: 'TypeORM',
  async open(url, max) {
    const source = new DataSource({ type: 'postgres', url, poolSize: max, poolErrorHandler: () => {} });
    await source.initialize();
    return {
      root: source,
      transaction: (work) => source.transaction(work),
      rows: async (manager: EntityManager, text, values = []) => (await manager.queryRunner!.query(text, [...values], true)).records as object[],
      close: () => source.destroy(),
    };
  },
};
