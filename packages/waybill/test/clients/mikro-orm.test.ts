import { MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import { clientCases } from './cases.ts';

clientCases({
  name: 'MikroORM',
  async open(url, max) {
    const orm = await MikroORM.init({ clientUrl: url, entities: [], discovery: { warnWhenNoEntities: false }, pool: { min: 0, max }, logger: () => {} });
    return {
      root: orm,
      transaction: (work) => orm.em.fork().transactional(work),
      sql: (em: EntityManager, text) => em.execute(text),
      // Not awaited: the pool waits for ever for a broken connection that Kysely 0.29.6 has not given back.
      close: async () => void orm.close(),
    };
  },
});
