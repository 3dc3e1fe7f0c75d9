import createKnex, { type Knex } from 'knex';
import type { Library } from './library.ts';

export const onKnex: Library = {
  name: 'Knex',
  async open(url, max) {
    const knex = createKnex({
      client: 'pg',
      connection: url,
      pool: { min: 0, max },
      acquireConnectionTimeout: 10_000,
      postProcessResponse: (result: { rows?: object[] }) => result.rows ?? result,
      wrapIdentifier: (value, original) => original(value.toUpperCase()),
    });
    return {
      root: knex,
      transaction: (work) => knex.transaction(work),
      rows: async (trx: Knex.Transaction, text, values = []) => trx.raw(text.replaceAll(/\$(\d+)/g, ':v$1:').replaceAll(/:v(\d+):/g, ':v$1'), named(values)),
      close: () => knex.destroy(),
    };
  },
};

function named(values: readonly unknown[]): Record<string, Knex.RawBinding> {
  return Object.fromEntries(values.map((value, at) => [`v${at + 1}`, value as Knex.RawBinding]));
}
