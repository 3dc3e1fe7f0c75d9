/**
 * `inbox`: a queue of messages, each of which updates one row of PostgreSQL exactly once: by the bus at its defaults and at
 * settings for throughput; one transaction after another; 50 at a time over a pool; and merely acknowledged, without any
 * database. `inbox-batch`: the same by a handler that takes whole batches and writes them with one statement. Interleaved,
 * in one run; effects are counted.
 */
import amqplib from 'amqplib';
import pg from 'pg';
import { createBus, type Bus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { atLeast, median, type Report } from '../report.ts';
import { workload } from '../workload.ts';
import { Counted, fill, silent } from './contract.ts';
import { measured, type Servers, startServers } from './servers.ts';
import { drain } from './sink.ts';

const queue = 'waybill.stock.all';
const update = 'update stock set effects = effects + 1 where key = $1';
/** What a service that is all throughput would set: fewer lanes, so that each transaction holds more. */
const forThroughput = { lanes: { concurrency: 8 }, prefetch: 1_600 };

type Way = 'waybill' | 'tuned' | 'serial' | 'pool' | 'ack' | 'set';

interface Stage {
  readonly servers: Servers;
  readonly pool: pg.Pool;
  /** Runs one way over a queue of so many, and notes rate and processor time; false when effects are missing or doubled. */
  run(way: Way, count: number): Promise<void>;
  readonly rates: Record<string, number[]>;
  readonly cpus: Record<string, unknown>;
  readonly correct: () => boolean;
}

export async function inbox({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 5_000 : 40_000;
  const few = quick ? 1_000 : 5_000;
  return onStage(async ({ run, rates, cpus, correct }) => {
    for (let round = 0; round < 3; round++) {
      await run('waybill', count);
      await run('tuned', count);
      await run('serial', few);
      await run('pool', count);
      await run('ack', count);
    }
    const beside = (way: Way): number => median(rates['waybill']!) / median(rates[way]!);
    return {
      name: 'inbox',
      ratios: [
        atLeast('one transaction after another', beside('serial'), 16),
        atLeast('50 at a time over a pool', beside('pool'), 4),
        atLeast('acknowledged only, no database', beside('ack'), 0.25),
      ],
      correct: correct(),
      messages: count,
      tuned: forThroughput,
      tunedBesideDefaults: median(rates['tuned']!) / median(rates['waybill']!),
      perSecond: rates,
      cpuMicrosecondsPerMessage: cpus,
    };
  });
}

export async function inboxBatch({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 10_000 : 100_000;
  return onStage(async ({ run, rates, cpus, correct }) => {
    for (let round = 0; round < 3; round++) {
      await run('set', count);
      await run('ack', count);
    }
    return {
      name: 'inbox-batch',
      ratios: [atLeast('acknowledged only, no database', median(rates['set']!) / median(rates['ack']!), 0.6)],
      correct: correct(),
      messages: count,
      perSecond: rates,
      cpuMicrosecondsPerMessage: cpus,
    };
  });
}

async function onStage(work: (stage: Stage) => Promise<Report>): Promise<Report> {
  const servers = await startServers();
  const pool = new pg.Pool({ connectionString: servers.postgres, max: 55 });
  pool.on('error', () => {});
  try {
    await pool.query('create table stock (key text primary key, effects integer not null default 0)');
    await pool.query(`insert into stock (key) select 'key-' || n from generate_series(0, $1) n`, [workload.keys - 1]);
    await pool.query('create table seen (id text primary key)');
    const first = subscriber(servers, pool, 'waybill'); // makes the queue
    await first.start();
    await first.stop();
    const rates: Record<string, number[]> = {};
    const cpus: Record<string, unknown> = {};
    let [filled, expected] = [0, 0];
    let correct = true;
    const run: Stage['run'] = async (way, count) => {
      await fill(servers, 'bench', count, filled);
      filled += count;
      await drain(servers, count);
      const { rate, cpu } = await measured(servers, count, () => apply(servers, pool, way, count));
      (rates[way] ??= []).push(Math.round(rate));
      cpus[way] = cpu;
      if (way !== 'ack') expected += count;
      const { rows } = await pool.query('select sum(effects)::int as n from stock');
      if (rows[0].n !== expected) console.log(`${way}: ${rows[0].n} effects, ${expected} expected`);
      correct &&= rows[0].n === expected;
      expected = rows[0].n;
    };
    return await work({ servers, pool, run, rates, cpus, correct: () => correct });
  } finally {
    await pool.end();
    await servers.close();
  }
}

function apply(servers: Servers, pool: pg.Pool, way: Way, count: number): Promise<void> {
  if (way === 'serial') return byHand(servers, pool, count, 1);
  if (way === 'pool') return byHand(servers, pool, count, 50);
  if (way === 'ack') return byHand(servers, undefined, count, 500);
  return applied(subscriber(servers, pool, way), count);
}

function subscriber(servers: Servers, pool: pg.Pool, way: 'waybill' | 'tuned' | 'set'): Bus<any> {
  const prefetch = way === 'waybill' ? {} : { prefetch: forThroughput.prefetch };
  const bus = createBus({ service: 'stock', store: postgres(pool, { schema: 'stock' }), transport: rabbitmq(servers.amqp, prefetch), logger: silent });
  if (way === 'set') {
    bus.subscribeBatch(Counted, { name: 'all', batch: 500 }, async (events, { tx }: { tx: pg.PoolClient }) => {
      await tx.query('update stock set effects = effects + n from (select key, count(*)::int as n from unnest($1::text[]) as key group by key) c where stock.key = c.key', [events.map(({ key }) => key)]);
    });
  } else {
    bus.subscribe(Counted, { name: 'all', ...(way === 'tuned' && forThroughput.lanes) }, async (event, { tx }: { tx: pg.PoolClient }) => {
      await tx.query(update, [event.key]);
    });
  }
  return bus;
}

async function applied(bus: Bus<any>, count: number): Promise<void> {
  let n = 0;
  const done = new Promise<void>((resolve) => bus.on('applied', ({ type }) => type === Counted.type && ++n === count && resolve()));
  await bus.start();
  await done;
  await bus.stop();
}

/** Inbox row and effect in one transaction per message, so many at once; without a pool: acknowledged only. */
async function byHand(servers: Servers, pool: pg.Pool | undefined, count: number, atOnce: number): Promise<void> {
  const connection = await amqplib.connect(servers.amqp, { noDelay: true });
  const channel = await connection.createChannel();
  await channel.prefetch(atOnce);
  await new Promise<void>((resolve, reject) => {
    let done = 0;
    const one = async (message: amqplib.ConsumeMessage): Promise<void> => {
      if (message.properties.type !== Counted.type) return channel.ack(message); // a publisher says that it is current
      if (pool) {
        const { key } = JSON.parse(message.content.toString()) as { key: string };
        const client = await pool.connect();
        await client.query('begin');
        const { rowCount } = await client.query('insert into seen values ($1) on conflict do nothing', [message.properties.messageId]);
        if (rowCount) await client.query(update, [key]);
        await client.query('commit');
        client.release();
        channel.ack(message);
        done++;
      } else if (++done % (atOnce / 2) === 0 || done === count) channel.ack(message, true);
      if (done === count) resolve();
    };
    void channel.consume(queue, (message) => void one(message!).catch(reject));
  });
  await channel.close(); // in order: what was acknowledged before it has arrived
  await connection.close();
}
