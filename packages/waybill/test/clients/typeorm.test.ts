import { DataSource, type EntityManager } from 'typeorm';
import { clientCases } from './cases.ts';

clientCases({
  name: 'TypeORM',
  async open(url, max) {
    const source = new DataSource({ type: 'postgres', url, poolSize: max, poolErrorHandler: () => {} });
    await source.initialize();
    return {
      root: source,
      transaction: (work) => source.transaction(work),
      sql: (manager: EntityManager, text) => manager.query(text),
      close: () => source.destroy(),
    };
  },
});
