/**
 * What publishing costs the writer: 16 connections that each update a row, without a message; with one, no relay running
 * (`publish-overhead`); and with a relay that keeps up in the same process (`steady-state`). In turn, in one run. Every
 * committed message is counted in the ledger, and (steady-state) in the queue.
 *
 * `by hand` is what these two processors can do at most, whoever writes the code: a row of four columns as literals in one
 * text with COMMIT, unchecked, without headers, index or a second publisher's rights; and a relay that keeps its position
 * in memory and steps over what commits late. It loses messages, and is there to be beside.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import amqplib from 'amqplib';
import pg from 'pg';
import { createBus, type Bus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { atLeast, atMost, median, type Report, rounded } from '../report.ts';
import { workload } from '../workload.ts';
import { Counted, drainQueue, payload, purge, silent } from './contract.ts';
import { type Measured, measuredAs, medianCpu, type Servers, startServers } from './servers.ts';
import { bindSink, sinkQueue } from './sink.ts';

const connections = 16;
const update = 'update stock set effects = effects + 1 where key = $1';

export async function publishOverhead({ quick }: { quick: boolean }): Promise<Report> {
  const ms = quick ? 3_000 : 10_000;
  return withStock(async (servers, pool) => {
    const bus = busOn(servers, pool, 'off');
    const rounds: Rounds<'alone' | 'byHand' | 'waybill'> = { alone: [], byHand: [], waybill: [] };
    let published = await write(500, publishing(bus)); // warm, and the schema
    for (let round = 0; round < 3; round++) {
      rounds.alone.push(await measuredAs(servers, () => write(ms, updating(pool))));
      rounds.byHand.push(await measuredAs(servers, () => write(ms, byHand(pool))));
      const ours = await measuredAs(servers, () => write(ms, publishing(bus)));
      published += ours.messages;
      rounds.waybill.push(ours);
    }
    const { rows } = await pool.query('select count(*)::int as n from bench.ledger');
    await bus.stop();
    return {
      name: 'publish-overhead',
      ratios: [atLeast('the update alone', rate(rounds.waybill) / rate(rounds.alone), 0.9)],
      correct: rows[0].n === published,
      connections,
      ...figures(rounds),
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
    const rounds: Rounds<'alone' | 'byHand' | 'waybill'> = { alone: [], byHand: [], waybill: [] };
    const lags: number[] = [];
    let correct = true;
    for (let round = 0; round < 3; round++) {
      const ours = await measuredAs(servers, () => write(ms, publishing(bus)));
      published += ours.messages;
      rounds.waybill.push(ours);
      const ended = performance.now();
      while (sent < published) await sleep(1);
      lags.push(performance.now() - ended);
      const { distinct, copies, sample } = await drainQueue(servers, sinkQueue, 0);
      correct &&= copies >= published && distinct > 0;
      published = sent = 0;
      const bare = await bareRelay(servers, sample);
      rounds.byHand.push(await measuredAs(servers, () => write(ms, byHand(pool))));
      await bare.stop();
      await purge(servers, sinkQueue);
      rounds.alone.push(await measuredAs(servers, () => write(ms, updating(pool))));
    }
    await bus.stop();
    return {
      name: 'steady-state',
      ratios: [atLeast('the same writers alone', rate(rounds.waybill) / rate(rounds.alone), 0.65), atMost('lag at the end, in ms', median(lags), 1_000)],
      correct,
      connections,
      ...figures(rounds),
      lagMs: lags,
    };
  });
}

type Rounds<Way extends string> = Record<Way, Measured[]>;
const rate = (rounds: readonly Measured[]): number => median(rounds.map((one) => one.rate));

/** By rate, and by the processor time of all processes together: that is what a rate on two busy processors comes to. */
function figures(rounds: Rounds<'alone' | 'byHand' | 'waybill'>): object {
  const spent = (all: readonly Measured[]): number => Object.values(medianCpu(all)).reduce((sum, us) => sum + us, 0);
  const each = <R>(of: (all: readonly Measured[]) => R): Record<string, R> => Object.fromEntries(Object.entries(rounds).map(([way, all]) => [way, of(all)]));
  return {
    besideAlone: each((all) => rounded(rate(all) / rate(rounds.alone))),
    besideAloneByProcessorTime: each((all) => rounded(spent(rounds.alone) / spent(all))),
    perSecond: each((all) => all.map((one) => Math.round(one.rate))),
    cpuMicrosecondsPerMessage: each(medianCpu),
  };
}

async function withStock(work: (servers: Servers, pool: pg.Pool) => Promise<Report>): Promise<Report> {
  const servers = await startServers();
  const pool = new pg.Pool({ connectionString: servers.postgres, max: connections + 4 });
  pool.on('error', () => {});
  try {
    await pool.query('create table stock (key text primary key, effects integer not null default 0)');
    await pool.query('create table outbox (pos bigint generated always as identity primary key, type text not null, key text, body bytea not null)');
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

function byHand(pool: pg.Pool): (n: number) => Promise<void> {
  return async (n) => {
    const data = payload(n);
    const client = await pool.connect();
    await client.query('begin');
    await client.query(update, [data.key]);
    await client.query(`insert into outbox (type, key, body) values ('${Counted.type}', '${data.key}', decode('${Buffer.from(JSON.stringify(data)).toString('base64')}', 'base64'));commit`);
    client.release();
  };
}

/** Sends what stands in `outbox` behind the last row that it saw, in windows of 500, until it is stopped. */
async function bareRelay(servers: Servers, { properties, fields }: amqplib.ConsumeMessage): Promise<{ stop(): Promise<void> }> {
  const client = new pg.Client(servers.postgres);
  await client.connect();
  const connection = await amqplib.connect(servers.amqp, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  const { rows: [begin] } = await client.query<{ pos: string }>('select coalesce(max(pos), 0) as pos from outbox');
  let last = begin!.pos;
  let stopping = false;
  const running = (async () => {
    while (!stopping) {
      const { rows } = await client.query<{ pos: string; body: Buffer }>('select pos, body from outbox where pos > $1 order by pos limit 500', [last]);
      for (const { body } of rows) channel.publish(fields.exchange, fields.routingKey, body, { persistent: true, type: properties.type as string });
      await channel.waitForConfirms();
      last = rows.at(-1)?.pos ?? last;
      if (rows.length === 0) await sleep(5);
    }
  })();
  return {
    async stop() {
      stopping = true;
      await running;
      await connection.close();
      await client.end();
    },
  };
}
