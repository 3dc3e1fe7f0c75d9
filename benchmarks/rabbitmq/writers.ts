/**
 * What publishing costs the writer: 16 connections that each update a row, by hand and without a message; with one, no
 * relay running (`publish-overhead`); and with a relay that keeps up in the same process (`steady-state`). In turn, in one
 * run. Every committed message is counted in the ledger, and (steady-state) in the queue.
 */
import pg from 'pg';
import { createBus, type Bus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { atLeast, atMost, median, type Report } from '../report.ts';
import { workload } from '../workload.ts';
import { Counted, drainQueue, payload, silent } from './contract.ts';
import { type Servers, startServers } from './servers.ts';
import { bindSink, sinkQueue } from './sink.ts';

const connections = 16;
const update = 'update stock set effects = effects + 1 where key = $1';

export async function publishOverhead({ quick }: { quick: boolean }): Promise<Report> {
  const ms = quick ? 3_000 : 10_000;
  return withStock(async (servers, pool) => {
    const bus = busOn(servers, pool, 'off');
    const rates: Record<'alone' | 'published', number[]> = { alone: [], published: [] };
    let published = await write(500, publishing(bus)); // warm, and the schema
    for (let round = 0; round < 3; round++) {
      rates.alone.push((await write(ms, updating(pool))) / (ms / 1_000));
      const count = await write(ms, publishing(bus));
      published += count;
      rates.published.push(count / (ms / 1_000));
    }
    const { rows } = await pool.query('select count(*)::int as n from bench.ledger');
    await bus.stop();
    return {
      name: 'publish-overhead',
      ratios: [atLeast('the update alone', median(rates.published) / median(rates.alone), 0.9)],
      correct: rows[0].n === published,
      connections,
      perSecond: rates,
    };
  });
}

export async function steadyState({ quick }: { quick: boolean }): Promise<Report> {
  const ms = quick ? 4_000 : 15_000;
  return withStock(async (servers, pool) => {
    await bindSink(servers);
    const bus = busOn(servers, pool, 'inline');
    let sent = 0;
    bus.on('sent', ({ type }) => type === Counted.type && sent++);
    await bus.start();
    let published = await write(500, publishing(bus));
    const rates: Record<'alone' | 'relayed', number[]> = { alone: [], relayed: [] };
    const lags: number[] = [];
    let correct = true;
    for (let round = 0; round < 3; round++) {
      const count = await write(ms, publishing(bus));
      published += count;
      rates.relayed.push(count / (ms / 1_000));
      const ended = performance.now();
      while (sent < published) await new Promise((resolve) => setTimeout(resolve, 1));
      lags.push(performance.now() - ended);
      const { distinct, copies } = await drainQueue(servers, sinkQueue, 0);
      correct &&= copies >= published && distinct > 0;
      published = sent = 0;
      rates.alone.push((await write(ms, updating(pool))) / (ms / 1_000));
    }
    await bus.stop();
    return {
      name: 'steady-state',
      ratios: [atLeast('the same writers alone', median(rates.relayed) / median(rates.alone), 0.65), atMost('lag at the end, in ms', median(lags), 1_000)],
      correct,
      connections,
      perSecond: rates,
      lagMs: lags,
    };
  });
}

async function withStock(work: (servers: Servers, pool: pg.Pool) => Promise<Report>): Promise<Report> {
  const servers = await startServers();
  const pool = new pg.Pool({ connectionString: servers.postgres, max: connections + 4 });
  pool.on('error', () => {});
  try {
    await pool.query('create table stock (key text primary key, effects integer not null default 0)');
    await pool.query(`insert into stock (key) select 'key-' || n from generate_series(0, $1) n`, [workload.keys - 1]);
    return await work(servers, pool);
  } finally {
    await pool.end();
    await servers.close();
  }
}

function busOn(servers: Servers, pool: pg.Pool, relay: 'inline' | 'off'): Bus<any> {
  return createBus({ service: 'bench', store: postgres(pool, { schema: 'bench' }), transport: rabbitmq(servers.amqp), relay, logger: silent });
}

/** Commits within `ms`, of all connections together. */
async function write(ms: number, one: (n: number) => Promise<void>): Promise<number> {
  let n = 0;
  const until = performance.now() + ms;
  const loop = async (): Promise<void> => {
    while (performance.now() < until) await one(n++);
  };
  await Promise.all(Array.from({ length: connections }, loop));
  return n;
}

function updating(pool: pg.Pool): (n: number) => Promise<void> {
  return async (n) => {
    const client = await pool.connect();
    await client.query('begin');
    await client.query(update, [payload(n).key]);
    await client.query('commit');
    client.release();
  };
}

function publishing(bus: Bus<any>): (n: number) => Promise<void> {
  return (n) =>
    bus.transaction(async (tx: pg.PoolClient) => {
      await tx.query(update, [payload(n).key]);
      await bus.publish(Counted, payload(n), { tx: tx as never });
    });
}
