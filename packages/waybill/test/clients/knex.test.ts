import createKnex, { type Knex } from 'knex';
import { clientCases } from './cases.ts';

clientCases({
  name: 'Knex',
  async open(url, max) {
    const knex = createKnex({
      client: 'pg',
      connection: url,
      pool: { min: 0, max },
      acquireConnectionTimeout: 2_000,
      postProcessResponse: (result: { rows?: object[] }) => result.rows ?? result,
      wrapIdentifier: (value, original) => original(value.toUpperCase()),
    });
    return {
      root: knex,
      transaction: (work) => knex.transaction(work),
      sql: (trx: Knex.Transaction, text) => trx.raw(text),
      close: () => knex.destroy(),
    };
  },
});
