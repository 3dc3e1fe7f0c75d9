/**
 * What the ledger's statements touch behind a long history: `node packages/waybill/test/postgres/plans.ts [rows]`, by
 * default five million. Each line: the statement, rows touched, milliseconds in the server.
 */
import pg from 'pg';
import { literal } from '../../src/stores/postgres/literal.ts';
import { settings } from '../../src/stores/postgres/prepared.ts';
import { oldestSql } from '../../src/stores/postgres/outbox.ts';
import { lowestSql, pageSql, pollSql } from '../../src/stores/postgres/reading.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { acquire, append, server as startServer, session } from './support.ts';

export interface Measured {
  readonly name: string;
  /** Rows that any step of the plan looked at, those that it threw away included. */
  readonly touched: number;
  readonly ms: number;
}

const s = '"waybill"';
const perTransaction = 20_000;
const pageRows = 500;

/**
 * @param rows published ones, behind which everything is measured; half as many again are the backlog
 * @param how planned each time, or once, while the ledger is nearly empty, as the relay does it on its own connection
 * @param guarded what that connection is set to
 */
export async function measurePlans(server: PostgresServer, rows: number, how: 'each time' | 'once' = 'each time', guarded: string = settings): Promise<Measured[]> {
  const database = await server.createDatabase();
  const store = await session(server.url(database));
  const client = new pg.Client({ connectionString: server.url(database) });
  await client.connect();
  const fill = async (count: number): Promise<void> => {
    for (let left = count; left > 0; left -= perTransaction) {
      await client.query(
        `insert into waybill.ledger (kind, id, source, type, key, time, headers, body)
         select 'event', gen_random_uuid()::text, 'basket', 'basket.x.v1', 'k' || i % 100, 0, '{}', repeat('x', 100)::bytea from generate_series(1, $1::int) i`,
        [Math.min(left, perTransaction)],
      );
    }
  };
  const once = new Map<string, string>();
  if (how === 'once') {
    await fill(3);
    await client.query('vacuum analyze waybill.ledger'); // so small that a walk through it is the cheapest
    await client.query(guarded);
    const seen = '1:1:';
    for (const [text, values] of [[pollSql(s), ['1', '{}', '501', '0']], [pageSql(s), ['1', '{}', seen, '0', '0', '500']], [lowestSql(s), ['1', seen, '0']]] as const) {
      once.set(text, `once_${once.size}`);
      for (let i = 0; i < 10; i++) await client.query({ name: once.get(text)!, text, values: [...values] });
    }
  }
  /** What was planned once is not planned again because it is told how much there is now. */
  const analyze = async (vacuum = ''): Promise<void> => void (how === 'each time' && (await client.query(`${vacuum} analyze waybill.ledger`)));
  const found: Measured[] = [];
  const measure = async (name: string, text: string, values: readonly (string | number | null)[]): Promise<void> => {
    const explain = 'explain (analyze, timing off, format json)';
    const texts = values.map((value) => (value === null ? null : String(value)));
    const planned = once.get(text);
    const { rows: plans } = await (planned === undefined ? client.query(`${explain} ${text}`, texts) : client.query(`${explain} execute ${planned}(${texts.map(literal).join(', ')})`));
    const [{ Plan, 'Execution Time': ms }] = plans[0]['QUERY PLAN'];
    found.push({ name, touched: touched(Plan), ms });
  };
  const snapshot = async (): Promise<{ text: string; xmax: string; xip: string }> => {
    const text = (await client.query('select pg_current_snapshot()::text as s')).rows[0].s as string;
    const [, xmax, xip] = text.split(':') as [string, string, string];
    return { text, xmax, xip: `{${xip}}` };
  };

  // A position whose base sees all of it, as if it had been published.
  await fill(rows);
  await analyze('vacuum');
  const lease = await acquire(store);
  await client.query('update waybill.position set base = pg_current_snapshot()');
  await lease.release().catch(() => {});
  let base = await snapshot();
  await measure('poll, nothing new', pollSql(s), [base.xmax, base.xip, pageRows + 1, 0]);
  await append(store, ...Array.from({ length: 10 }, (_, i) => `new ${i}`));
  await measure('poll, ten new', pollSql(s), [base.xmax, base.xip, pageRows + 1, 0]);

  await measure('control: one query left to the planner', `select pos from ${s}.ledger where (xid >= $1::text::xid8) is true order by pos limit 500`, [base.xmax]);

  // A transaction that was open in the base, and is large.
  const late = new pg.Client({ connectionString: server.url(database) });
  await late.connect();
  await late.query('begin');
  await late.query(
    `insert into waybill.ledger (kind, id, source, type, time, headers, body) select 'event', gen_random_uuid()::text, 'basket', 't', 0, '{}', '' from generate_series(1, 5000)`,
  );
  await append(store, 'younger'); // so that the open one stands among those that the base saw open
  base = await snapshot();
  await measure('poll, a large transaction open', pollSql(s), [base.xmax, base.xip, pageRows + 1, 0]);
  await late.query('commit');
  await late.end();
  const target = await snapshot();
  await measure('page of a late transaction alone', pageSql(s), [base.xmax, base.xip, target.text, 0, '9223372036854775807', pageRows]);

  await measure('where the ledger begins', oldestSql(s), []);
  base = await snapshot();
  await fill(rows / 2);
  await analyze();
  const backlog = await snapshot();
  await measure('where a backlog begins', lowestSql(s), [base.xmax, backlog.text, 0]);
  const { rows: [lowest] } = await client.query(lowestSql(s), [base.xmax, backlog.text, '0']);
  for (const [name, after] of [['start', lowest.lowest - 1], ['middle', Number(lowest.lowest) + rows / 4], ['end', Number(lowest.lowest) + rows / 2 - 600]] as const) {
    await measure(`page of a backlog, ${name}`, pageSql(s), [base.xmax, base.xip, backlog.text, after, after, pageRows]);
  }
  await measure('poll on a backlog', pollSql(s), [base.xmax, base.xip, pageRows + 1, 0]);
  await client.end();
  await store.close();
  return found;
}

interface Plan {
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly Plans?: readonly Plan[];
}

function touched(plan: Plan): number {
  const own = (plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0)) * plan['Actual Loops'];
  return Math.max(own, ...(plan.Plans ?? []).map(touched));
}

if (process.argv[1] === import.meta.filename) {
  const server = await startServer({ settings: { shared_buffers: '512MB', max_wal_size: '4GB' } });
  try {
    for (const { name, touched: rows, ms } of await measurePlans(server, Number(process.argv[2] ?? 5_000_000))) {
      console.log(`${name.padEnd(40)} ${String(rows).padStart(9)} rows ${ms.toFixed(2).padStart(10)} ms`);
    }
  } finally {
    await server.close();
  }
}
