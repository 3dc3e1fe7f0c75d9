/**
 * On PostgreSQL, over a broker in this process: what a message costs from the publish to its effect, beside an inbox of so
 * many rows or so many subscriptions; and what a window of the relay costs of a backlog of so many rows.
 */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { createBus, type Bus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { memory } from 'waybill/transports/memory';
import { payload, silent } from '../rabbitmq/contract.ts';
import { type Servers, startServers } from '../rabbitmq/servers.ts';
import { type Flow, flowOf } from './flow.ts';
import { type Cost, costOf } from './meter.ts';

export interface PostgresGround {
  /** From the publish to the effect. */
  flow(size: { readonly inbox?: number; readonly subscriptions?: number; readonly waiting?: number }): Promise<Flow>;
  /** The relay's own part, of so many rows that wait to be sent. */
  backlog(size: number): Promise<Flow>;
  close(): Promise<void>;
}

const windowRows = 500;

/** @param messages measured in each pass of a flow @param rows of a backlog, the same */
export async function postgresGround({ messages, rows, passes }: { messages: number; rows: number; passes: number }): Promise<PostgresGround> {
  const servers = await startServers('no-rabbitmq');
  const admin = new pg.Client(servers.postgres);
  await admin.connect();
  let databases = 0;
  const within = async (work: (pool: pg.Pool, cost: (count: number, work: () => Promise<void>) => Promise<Cost>) => Promise<Flow>): Promise<Flow> => {
    const database = `growth${databases++}`;
    await admin.query(`create database ${database}`);
    const pool = poolOf(servers, database);
    try {
      return await work(pool, (count, measured) => costOf(count, measured, { postmaster: servers.postmaster, admin, database }));
    } finally {
      await pool.end();
      await admin.query(`drop database ${database} with (force)`);
    }
  };
  return {
    flow: ({ inbox = 0, subscriptions = 1, waiting = 0 }) =>
      within(async (pool, cost) => {
        await pool.query('create table effect (key text primary key, n integer not null)');
        const bus = createBus({ service: 'desk', store: postgres(pool), transport: memory(), requireTransaction: false, logger: silent });
        const effect = async (key: string, { tx }: { tx?: unknown }): Promise<unknown> => (tx as pg.PoolClient).query('insert into effect values ($1, 1) on conflict (key) do update set n = effect.n + 1', [key]);
        return flowOf(bus as Bus<any>, { messages, passes, from: 'now', subscriptions, effect, cost, fill: () => fill(pool, { inbox, waiting }), effects: async () => Number((await pool.query('select sum(n) as n from effect')).rows[0].n) });
      }),
    backlog: (size) =>
      within(async (pool, cost) => {
        const store = await postgres(pool).open(host('desk') as never);
        const publisher = createBus({ service: 'desk', store: postgres(pool), transport: memory(), relay: 'off', requireTransaction: false, logger: silent });
        const { Counted } = await import('../rabbitmq/contract.ts');
        await publisher.publish(Counted, payload(0));
        const lease = (await store.ports.outbox.acquire('bench', 600_000))!;
        const drain = async (most: number): Promise<number> => {
          let read = 0;
          while (read < most) {
            const rows = await lease.read(windowRows);
            if (rows.length === 0) break;
            await lease.settle(rows.at(-1)!.position, []);
            read += rows.length;
          }
          return read;
        };
        await drain(1);
        const costs: Cost[] = [];
        let [read, expected] = [0, 0];
        // A small backlog is drained again and again. The first window of a large one is not counted: it looks where that begins.
        for (const rounds = Math.max(1, Math.min(10, Math.round(rows / size))); costs.length < rounds; ) {
          await fillLedger(pool, size);
          const first = size > rows ? await drain(1) : 0;
          const most = Math.min(size - first, rows);
          costs.push(await cost(most, async () => void (read += await drain(most))));
          expected += most;
        }
        await lease.release();
        await publisher.stop();
        await store.close();
        const mean = (of: (one: Cost) => number): number => costs.reduce((sum, one) => sum + of(one), 0) / costs.length;
        return { cost: { node: mean((one) => one.node), postgres: mean((one) => one.postgres), pages: mean((one) => one.pages) }, correct: read === expected };
      }),
    async close() {
      await admin.end();
      await servers.close();
    },
  };
}

function poolOf(servers: Servers, database: string): pg.Pool {
  const url = new URL(servers.postgres);
  url.pathname = `/${database}`;
  const pool = new pg.Pool({ connectionString: url.href, max: 10 });
  pool.on('error', () => {});
  return pool;
}

/** Copies of the first row of the ledger under ids of their own, a hundred to a transaction, as a busy service leaves them. */
async function fillLedger(pool: pg.Pool, rows: number): Promise<void> {
  const client = await pool.connect();
  await client.query('set synchronous_commit = off'); // or filling waits for the disk a hundred thousand times
  await client.query(`do $$
    declare first record;
    begin
      select * into first from waybill.ledger order by pos limit 1;
      for i in 1..${Math.ceil(rows / 100)} loop
        insert into waybill.ledger (time, kind, id, source, type, recipient, key, headers, body)
          select first.time, first.kind, c.id, first.source, first.type, first.recipient, 'key-' || c.n, replace(first.headers, first.id, c.id), first.body
          from (select n, gen_random_uuid()::text as id from generate_series(1, 100) n) c;
        commit;
      end loop;
    end $$`);
  await client.query('reset synchronous_commit');
  client.release();
  await pool.query('vacuum analyze waybill.ledger');
  await pool.query('checkpoint');
}

/** Half of what waits stands in lines of a hundred behind another; as many have failed. */
async function fill(pool: pg.Pool, { inbox, waiting }: { inbox: number; waiting: number }): Promise<void> {
  const wire = 'kind, id, source, type, key, headers, body';
  if (inbox > 0) await pool.query(`insert into waybill.inbox (subscription, source, id) select 'desk.s0', 'desk', '00000000-0000-7000-8000-' || lpad(n::text, 12, '0') from generate_series(1, $1::int) n`, [inbox]);
  if (waiting > 0) {
    await pool.query(
      `insert into waybill.waiting (subscription, time, due, created, attempt, attempts, starts, in_order, front, head, reason, ${wire})
       select 'desk.s0', 0, 4102444800000 + n, 0, 1, 10, 1, n % 2 = 0, false, n % 2 = 1 or n % 200 = 0, 'retry', 'event', 'w' || n, 'desk', 'bench.flow0.v1', 'waits-' || n / 200, '{}', ''::bytea
       from generate_series(1, $1::int) n`,
      [waiting],
    );
    await pool.query(
      `insert into waybill.failures (subscription, time, first_failed, last_failed, attempts, holds, fingerprint, error_code, error_message, ${wire})
       select 'desk.s0', 0, 0, 0, 10, false, 'f' || n % 100, 'HANDLER_FAILED', 'no', 'event', 'f' || n, 'desk', 'bench.flow0.v1', 'failed-' || n, '{}', ''::bytea
       from generate_series(1, $1::int) n`,
      [waiting],
    );
  }
  await pool.query('vacuum analyze');
  await pool.query('checkpoint'); // or those who come next write what filling left in memory
}

/** What a bus lends to its store. */
function host(service: string): object {
  const clock = {
    now: Date.now,
    monotonic: () => performance.now(),
    after(ms: number, fn: () => void) {
      const timer = setTimeout(fn, ms);
      return () => clearTimeout(timer);
    },
    turn: () => new Promise<void>((resolve) => setImmediate(resolve)),
    random: Math.random,
    id: randomUUID,
  };
  return { service, clock, signals: { emit() {}, has: () => false, on: () => () => {} }, logger: silent, migrate: 'auto' };
}
