/**
 * `inbox`: a queue of messages, each of which updates one row of PostgreSQL exactly once: by the bus at its defaults and at
 * settings for throughput; one transaction after another; 50 at a time over a pool; and merely acknowledged, without any
 * database. `inbox-batch`: the same by a handler that takes whole batches and writes them with one statement. Interleaved,
 * in one run; effects are counted. The clock runs from the 1,000th message on: what starting costs is another benchmark's.
 *
 * The update is a named statement, in every way alike: the server parses and plans it once for each connection. `unnamed`:
 * the bus again, with a statement that is planned each time, as it has to be behind a pooler in transaction mode.
 */
import amqplib from 'amqplib';
import pg from 'pg';
import { createBus, type Bus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { atLeast, median, type Report } from '../report.ts';
import { workload } from '../workload.ts';
import { Counted, fill, silent } from './contract.ts';
import { type Measured, measured, medianCpu, type Servers, startServers } from './servers.ts';
import { drain } from './sink.ts';

const queue = 'waybill.stock.all';
const text = 'update stock set effects = effects + 1 where key = $1';
const update = (key: string) => ({ name: 'effect', text, values: [key] });
/** Before the clock runs. */
const warmCount = 1_000;
/** What a service that is all throughput would set: fewer lanes, so that each transaction holds more. */
const forThroughput = { lanes: { concurrency: 8 }, prefetch: 1_600 };

type Way = 'waybill' | 'unnamed' | 'tuned' | 'serial' | 'pool' | 'ack' | 'set';

interface Stage {
  readonly servers: Servers;
  readonly pool: pg.Pool;
  /** Runs one way over a queue of so many, and notes rate and processor time; false when effects are missing or doubled. */
  run(way: Way, count: number): Promise<void>;
  readonly rates: Record<string, number[]>;
  readonly cpus: Record<string, Measured['cpu'][]>;
  readonly correct: () => boolean;
}

export async function inbox({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 5_000 : 40_000;
  const few = quick ? 1_000 : 5_000;
  return onStage(async ({ run, rates, cpus, correct }) => {
    for (let round = 0; round < 3; round++) {
      await run('waybill', count);
      await run('unnamed', count);
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
      unnamedBesideNamed: median(rates['unnamed']!) / median(rates['waybill']!),
      perSecond: rates,
      cpuMicrosecondsPerMessage: medians(cpus),
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
      cpuMicrosecondsPerMessage: medians(cpus),
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
    const cpus: Record<string, Measured['cpu'][]> = {};
    let [filled, expected] = [0, 0];
    let correct = true;
    const run: Stage['run'] = async (way, count) => {
      const all = count + warmCount;
      await fill(servers, 'bench', all, filled);
      filled += all;
      await drain(servers, all);
      const warm = Promise.withResolvers<void>();
      const done = apply(servers, pool, way, all, (n) => n === warmCount && warm.resolve());
      await Promise.race([warm.promise, done]);
      const { rate, cpu } = await measured(servers, count, async () => void (await done));
      await (await done)();
      (rates[way] ??= []).push(Math.round(rate));
      (cpus[way] ??= []).push(cpu);
      if (way !== 'ack') expected += all;
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

function medians(cpus: Record<string, Measured['cpu'][]>): Record<string, Measured['cpu']> {
  return Object.fromEntries(Object.entries(cpus).map(([way, rounds]) => [way, medianCpu(rounds.map((cpu) => ({ rate: 0, cpu })))]));
}

/** @param told how many are done */
type Told = (n: number) => unknown;

/** Resolves when all is done; what ends then is not measured. */
function apply(servers: Servers, pool: pg.Pool, way: Way, count: number, told: Told): Promise<() => Promise<unknown>> {
  if (way === 'serial') return byHand(servers, pool, { count, atOnce: 1 }, told);
  if (way === 'pool') return byHand(servers, pool, { count, atOnce: 50 }, told);
  if (way === 'ack') return byHand(servers, undefined, { count, atOnce: 500 }, told);
  return applied(subscriber(servers, pool, way), count, told);
}

function subscriber(servers: Servers, pool: pg.Pool, way: 'waybill' | 'unnamed' | 'tuned' | 'set'): Bus<any> {
  const prefetch = way === 'tuned' ? { prefetch: forThroughput.prefetch } : {};
  const bus = createBus({ service: 'stock', store: postgres(pool, { schema: 'stock' }), transport: rabbitmq(servers.amqp, prefetch), logger: silent });
  if (way === 'set') {
    bus.subscribeBatch(Counted, { name: 'all', batch: 500 }, async (events, { tx }: { tx: pg.PoolClient }) => {
      await tx.query('update stock set effects = effects + n from (select key, count(*)::int as n from unnest($1::text[]) as key group by key) c where stock.key = c.key', [events.map(({ key }) => key)]);
    });
  } else {
    bus.subscribe(Counted, { name: 'all', ...(way === 'tuned' && forThroughput.lanes) }, async (event, { tx }: { tx: pg.PoolClient }) => {
      if (way === 'unnamed') await tx.query(text, [event.key]);
      else await tx.query(update(event.key));
    });
  }
  return bus;
}

async function applied(bus: Bus<any>, count: number, told: Told): Promise<() => Promise<unknown>> {
  let n = 0;
  const done = new Promise<void>((resolve) =>
    bus.on('applied', ({ type }) => {
      if (type !== Counted.type) return;
      told(++n);
      if (n === count) resolve();
    }),
  );
  await bus.start();
  await done;
  return () => bus.stop();
}

/** Inbox row and effect in one transaction per message, so many at once; without a pool: acknowledged only. */
async function byHand(servers: Servers, pool: pg.Pool | undefined, { count, atOnce }: { count: number; atOnce: number }, told: Told): Promise<() => Promise<unknown>> {
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
        const { rowCount } = await client.query({ name: 'seen', text: 'insert into seen values ($1) on conflict do nothing', values: [message.properties.messageId] });
        if (rowCount) await client.query(update(key));
        await client.query('commit');
        client.release();
        channel.ack(message);
        done++;
      } else if (++done % (atOnce / 2) === 0 || done === count) channel.ack(message, true);
      told(done);
      if (done === count) resolve();
    };
    void channel.consume(queue, (message) => void one(message!).catch(reject));
  });
  return async () => {
    await channel.close(); // in order: what was acknowledged before it has arrived
    await connection.close();
  };
}
