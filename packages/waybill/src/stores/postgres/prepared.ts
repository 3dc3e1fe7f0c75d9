/**
 * The relay's reads as named statements, on the connection on which it listens. In go statements; out come their rows,
 * planned once for each connection instead of each time: of an empty poll planning is nine tenths. Only where no pooler
 * stands between (whoever listens has made sure of that), and under settings by which a plan that was made for an empty
 * ledger is right behind millions of rows: the indexes in their order. A crash leaves nothing.
 */
import { sqlStateOf } from '../../clients/client/sql-state.ts';
import { asStoreError } from './errors.ts';
import type { DirectClient } from './direct.ts';
import { textValues, type Statements } from './port.ts';

/** Of this connection alone. Without `jit`: the price of a sort that has no index would have it compiled each time. */
export const settings = 'set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off; set jit = off';

/** invalid_sql_statement_name, duplicate_prepared_statement */
const forgotten: ReadonlySet<unknown> = new Set(['26000', '42P05']);

/** @param unfit called when the server does not know what it was told: something stands between after all */
export function prepared(client: DirectClient, unfit: () => void): Statements {
  const names = new Map<string, string>();
  let running = 0;
  return {
    async query<Row extends object>(text: string, values?: Parameters<Statements['query']>[1]) {
      let name = names.get(text);
      if (name === undefined) names.set(text, (name = `waybill_${names.size}`));
      if (running++ === 0) client.ref(); // whoever waits for it keeps the process alive
      try {
        return (await client.query({ name, text, values: textValues(values) })).rows as Row[];
      } catch (error) {
        if (forgotten.has(sqlStateOf(error))) unfit();
        throw asStoreError(error);
      } finally {
        if (--running === 0) client.unref();
      }
    },
  };
}
