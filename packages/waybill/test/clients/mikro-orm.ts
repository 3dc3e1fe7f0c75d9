import { MikroORM, type EntityManager } from '@mikro-orm/postgresql';
import type { Library } from './library.ts';

export const onMikroOrm: Library = {
  name: 'MikroORM',
  async open(url, max) {
    const orm = await MikroORM.init({ clientUrl: url, entities: [], discovery: { warnWhenNoEntities: false }, pool: { min: 0, max }, logger: () => {} });
    return {
      root: orm,
      transaction: (work) => orm.em.fork().transactional(work),
      rows: (em: EntityManager, text, values = []) => em.execute(text.replaceAll(/\$\d+/g, '?'), values as unknown[]),
      // Not awaited: the pool waits for ever for a broken connection that Kysely 0.29.6 has not given back.
      close: async () => void orm.close(),
    };
  },
};
