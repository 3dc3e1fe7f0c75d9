import type { Sql } from './port.ts';
import { sqlOf } from './statements.ts';

/** Kysely, or one of its transactions: MikroORM's are such. */
export interface KyselyLike {
  /** Without `CamelCasePlugin` and the like, which would rename our columns. */
  withoutPlugins(): KyselyLike;
  executeQuery(query: object): Promise<{ readonly rows: readonly object[]; readonly numAffectedRows?: bigint }>;
}

export function kyselyStatements(kysely: KyselyLike): Sql {
  const plain = kysely.withoutPlugins();
  return sqlOf({
    rows: async (text, values) => (await plain.executeQuery(compiled(text, values))).rows,
    count: async (text, values) => Number((await plain.executeQuery(compiled(text, values))).numAffectedRows ?? 0),
  });
}

/** What `CompiledQuery.raw(text, values)` makes; only read by the driver and by a user's `log`. */
function compiled(sql: string, parameters: readonly unknown[]): object {
  const query = { kind: 'RawNode', sqlFragments: [sql], parameters: [] };
  return { sql, parameters, query, queryId: { queryId: 'waybill' } };
}
