/**
 * What the statements for everything that happens later touch where a great deal waits:
 * `node packages/waybill/test/postgres/at-size.ts [rows]`, by default a million each of waiting rows, sagas, events and inbox
 * rows. Each line: what was done, rows touched by its statements, milliseconds in the server. The statements are those
 * that the ports send: each is caught on its way, explained where it stands, and undone.
 */
import pg from 'pg';
import type { SagaRow, StoreSession, WaitingEntry, WaitingRow } from '../../src/contract/store.ts';
import type { NewEvent } from '../../src/contract/streams.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { named, server as startServer, session } from './support.ts';

export interface Measured {
  readonly name: string;
  /** Rows that any step of any plan looked at, those that it threw away included: the most of one step. */
  readonly touched: number;
  /** In the server, all statements together. */
  readonly ms: number;
}

const of = 'basket.prices';
const farMs = Date.UTC(2100, 0, 1);
const wire = 'kind, id, source, type, key, time, headers, body';
const columns = (key: string): string => `'event', 'm' || i, 'catalog', 'catalog.x.v1', ${key}, 0, '{}', ''::bytea`;

/** A fifth is to be sent some day, a fifth waits for retries, the rest stands in lines of hundred behind another. */
const filling: readonly string[] = [
  `insert into waybill.waiting (subscription, due, created, attempt, attempts, starts, in_order, front, head, reason, ${wire})
   select case when i % 5 = 0 then '' else '${of}' end, ${farMs}::bigint + i, 0, 1, 10, 1, i % 5 > 1, false, i % 5 < 2 or i % 500 = 2, 'retry', ${columns(`'k' || i / 500`)}
   from generate_series(1, $1::int) i`,
  `insert into waybill.saga (saga, key, version, revision, status, state, ledger, started, changed)
   select '${of}', 'k' || i, 1, 1, case when i % 10 = 0 then 'running' else 'completed' end, '{}', '{}', 0, ${farMs}::bigint + i from generate_series(1, $1::int) i`,
  `insert into waybill.event (stream, version, id, type, time, correlation, headers, body)
   select 's' || i / 100, i % 100 + 1, 'e' || i, 'basket.x.v1', 0, 'c', '{}', '{}' from generate_series(1, $1::int) i`,
  `insert into waybill.inbox (subscription, source, id) select '${of}', 'catalog', 'm' || i from generate_series(1, $1::int) i`,
];

export async function measureAtSize(server: PostgresServer, rows: number): Promise<Measured[]> {
  const database = await server.createDatabase();
  const store = await session(server.url(database));
  const client = new pg.Client({ connectionString: server.url(database) });
  await client.connect();
  for (const text of filling) await client.query(text, [rows]);
  await client.query('vacuum analyze');
  const found: Measured[] = [];
  const measure = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    const plans = await explained(client, work);
    found.push({ name, touched: Math.max(...plans.map(({ Plan }) => touchedBy(Plan))), ms: plans.reduce((sum, plan) => sum + plan['Execution Time'], 0) });
  };
  for (const [name, work] of Object.entries(worksOf(store))) await measure(name, work);
  await client.query('drop index waybill.waiting_due');
  await measure('control: what is due, without its index', () => store.ports.waiting.due(of, 'now', 100));
  await client.end();
  await store.close();
  return found;
}

/** What the server may have been told of a table before so much came into it, all at once. */
const told = {
  'of nothing': [],
  'of an empty table': ['vacuum analyze waybill.waiting'],
  'of one line': ['insert', 'analyze waybill.waiting'],
} as const;

/** A backlog comes sooner than anybody counts it: so many lines, one row each, and statistics of what was there before. */
export async function measureUntold(server: PostgresServer, rows: number): Promise<Measured[]> {
  const found: Measured[] = [];
  for (const [what, texts] of Object.entries(told)) {
    const database = await server.createDatabase();
    const store = await session(server.url(database));
    const client = new pg.Client({ connectionString: server.url(database) });
    await client.connect();
    const fill = (from: number, count: number, each: number): Promise<unknown> =>
      client.query(
        `insert into waybill.waiting (subscription, due, created, attempt, attempts, starts, in_order, front, head, reason, ${wire})
         select '${of}', 0, 0, 0, 10, 0, true, false, i % $3 = 0, 'suspect', ${columns(`'k' || i / $3`)} from generate_series($1::int, $1::int + $2::int - 1) i`,
        [from, count, each],
      );
    await client.query('alter table waybill.waiting set (autovacuum_enabled = off)');
    for (const text of texts) await (text === 'insert' ? fill(0, 1_000, 1_000) : client.query(text));
    await fill(1_000, rows, 1);
    const { waiting } = store.ports;
    const keys = Array.from({ length: 50 }, (_, i) => `k${1_100 + i}`);
    const { rows: numbers } = await client.query<{ row: string }>(`select row from waybill.waiting where key = any($1) order by row`, [keys]);
    const heads = numbers.map(({ row }, i) => ({ row: Number(row), createdMs: 0, attempt: 0, subscription: of, inOrder: true, message: { key: keys[i] } }) as WaitingRow);
    const entries = keys.map((key): WaitingEntry => ({ subscription: of, message: named('new', { key }), dueMs: 'now', attempt: 0, attempts: 10, firstFailedMs: undefined, error: undefined, reason: 'behind', inOrder: true }));
    const works: Record<string, () => Promise<unknown>> = {
      'what is due': () => waiting.due(of, 'now', 50, 'me'),
      'what stands behind': async () => waiting.behind!(heads, 200),
      'are their keys blocked?': () => store.transaction((tx) => waiting.blocked(tx, of, keys)),
      'behind fifty lines': () => store.transaction((tx) => waiting.add(tx, entries)),
      'fifty are taken': () => store.transaction(async (tx) => waiting.add(tx, [], await waiting.take!(tx, heads))),
    };
    for (const [name, work] of Object.entries(works)) {
      const plans = await explained(client, work);
      found.push({ name: `told ${what}: ${name}`, touched: Math.max(...plans.map(({ Plan }) => touchedBy(Plan))), ms: plans.reduce((sum, plan) => sum + plan['Execution Time'], 0) });
    }
    await client.end();
    await store.close();
  }
  return found;
}

/** Everything that happens for each message, each saga's step, each look. */
function worksOf(store: StoreSession): Record<string, () => Promise<unknown>> {
  const { waiting, inbox, inspect, sagas, streams } = store.ports;
  const entry = (of_: Partial<WaitingEntry> & { readonly key?: string }): WaitingEntry => {
    const { key, ...rest } = of_;
    return { subscription: of, message: named('new', { key }), dueMs: 'now', attempt: 0, attempts: 10, firstFailedMs: undefined, error: undefined, reason: 'retry', inOrder: key !== undefined, ...rest };
  };
  const saga = (key: string, revision: number): SagaRow => ({ saga: of, key, version: 1, revision, status: 'running', state: '{}', ledger: '{}', startedMs: 0, changedMs: 0 });
  const event: NewEvent = { id: 'new', type: 'basket.x.v1', timeMs: 0, correlationId: 'c', causationId: undefined, headers: {}, body: '{}' };
  const inside = (work: (tx: never) => unknown) => () => store.transaction((tx) => work(tx as never) as Promise<unknown>);
  const head = async () => (await inspect.waiting({ id: 'm1' }))[0]!;
  const first = async () => (await inspect.waiting({ id: 'm502' }))[0]!; // of its line
  const somewhere = Array.from({ length: 500 }, (_, i) => ({ source: 'catalog', id: `m${i * 7}` }));
  let cursor: string | undefined;
  return {
    'what is due, when nothing is': () => waiting.due(of, 'now', 100, 'me'),
    'what is due at the sender, when nothing is': () => waiting.due(undefined, 'now', 100),
    'the first hundred of what is due': () => waiting.due(of, farMs * 2, 100, 'me'),
    'when something is due, of all subscriptions': () => waiting.nextDue(),
    'a retry is put off': inside((tx) => waiting.add(tx, [entry({})])),
    'one more behind a line': inside((tx) => waiting.add(tx, [entry({ key: 'k3' })])),
    'is its key blocked?': inside((tx) => waiting.blocked(tx, of, ['k3', 'none'])),
    'a run begins': async () => waiting.start([await head()], { owner: 'me', claimMs: 1_000 }),
    'a run is over': async () => { const row = { ...(await head()), owner: 'me' }; await store.transaction((tx) => waiting.settle(tx, row)); },
    'a hundred behind in line': async () => waiting.behind!([await first()], 100),
    'a hundred of a line are taken': async () => {
      const line = Array.from({ length: 500 }, (_, i) => 500 + i).filter((i) => i % 5 > 1).slice(0, 100); // as they were filled in
      const rows = line.map((row) => ({ row, createdMs: 0, attempt: 1, owner: 'me', inOrder: true, message: { key: 'k1' } }) as WaitingRow);
      const taken = await store.transaction(async (tx) => {
        const taken = await waiting.take!(tx, rows);
        await waiting.add(tx, [], taken);
        return taken;
      });
      if (taken.length !== 100) throw new Error(`${taken.length} taken`);
    },
    'a delayed message is taken back': inside((tx) => waiting.cancel(tx, 'm5')),
    'a batch is taken on': inside((tx) => inbox.insert(tx, 'basket.other', somewhere.slice(0, 100))),
    'how five hundred messages stand': () => inspect.standing(of, somewhere),
    'the inbox is trimmed': () => inbox.trim(0, 500),
    'a step of a saga: load': inside((tx) => sagas!.load(tx, of, 'k77')),
    'a step of a saga: save': inside((tx) => sagas!.save(tx, saga('k77', 2))),
    'a saga begins': inside((tx) => sagas!.save(tx, saga('new', 1))),
    'a saga that begins wakes what waits': inside((tx) => sagas!.awaken(tx, of, 'k77', 'now')),
    'a page of those that run': () => sagas!.list({ status: 'running' }),
    'one saga': () => sagas!.list({ saga: of, key: 'k77' }),
    'ended sagas are trimmed': () => sagas!.trim(1, 500),
    'an event is appended': inside((tx) => streams!.append(tx, 's3', undefined, [event])),
    'a stream is read': async () => streams!.read('s3', 0, 200),
    'the log from the beginning': async () => { cursor = (await streams!.scan(undefined, 200)).next; },
    'the log, next page': async () => { cursor = (await streams!.scan(cursor, 200)).next; },
    'the log at its end, one new': async () => {
      const { end } = await streams!.progress();
      await store.transaction((tx) => streams!.append(tx, 'new', undefined, [event]));
      await streams!.scan(end, 200);
    },
  };
}

interface Plan {
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly Plans?: readonly Plan[];
}

interface Explained {
  readonly Plan: Plan;
  readonly 'Execution Time': number;
}

/** Its statements, each explained before it is sent. */
async function explained(client: pg.Client, work: () => Promise<unknown>): Promise<Explained[]> {
  const plans: Explained[] = [];
  const send: (this: pg.Client, ...given: any[]) => any = pg.Client.prototype.query;
  const explain = async (text: string, values: unknown): Promise<void> => {
    if (!/^\s*(with|select|insert|update|delete)/.test(text)) return;
    await send.call(client, 'begin');
    const { rows } = await send.call(client, `explain (analyze, timing off, format json) ${text}`, values);
    await send.call(client, 'rollback');
    plans.push(rows[0]['QUERY PLAN'][0]);
  };
  pg.Client.prototype.query = function (this: pg.Client, ...given: any[]): any {
    const text: string = typeof given[0] === 'string' ? given[0] : given[0]?.text;
    const values: unknown = typeof given[0] === 'string' ? given[1] : given[0]?.values;
    const callback = given.findIndex((one) => typeof one === 'function');
    if (callback >= 0) {
      void explain(text, values).then(() => send.apply(this, given), given[callback]);
      return undefined;
    }
    return explain(text, values).then(() => send.apply(this, given));
  };
  try {
    await work();
  } finally {
    pg.Client.prototype.query = send;
  }
  return plans;
}

function touchedBy(plan: Plan): number {
  const own = (plan['Actual Rows'] + (plan['Rows Removed by Filter'] ?? 0)) * plan['Actual Loops'];
  return Math.max(own, ...(plan.Plans ?? []).map(touchedBy));
}

if (process.argv[1] === import.meta.filename) {
  const server = await startServer({ settings: { shared_buffers: '512MB', max_wal_size: '4GB' } });
  try {
    const rows = Number(process.argv[2] ?? 1_000_000);
    for (const { name, touched, ms } of [...(await measureAtSize(server, rows)), ...(await measureUntold(server, rows))]) {
      console.log(`${name.padEnd(45)} ${String(touched).padStart(9)} rows ${ms.toFixed(2).padStart(10)} ms`);
    }
  } finally {
    await server.close();
  }
}
