/**
 * A queue of messages, each of which updates one row of PostgreSQL exactly once: by the bus; one transaction after another;
 * 50 at a time over a pool; and merely acknowledged, without any database. Interleaved, in one run; effects are counted.
 */
import amqplib from 'amqplib';
import pg from 'pg';
import type { Report } from '../run.ts';
import { createBus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { Counted, fill, busOf, keys, silent } from './contract.ts';
import { measured, median, rounded, type Servers, startServers } from './servers.ts';

export async function inbox({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 8_000 : 40_000;
  const few = quick ? 1_000 : 5_000;
  const servers = await startServers();
  const pool = new pg.Pool({ connectionString: servers.postgres, max: 50 });
  pool.on('error', () => {});
  const admin = await amqplib.connect(servers.amqp);
  try {
    await pool.query('create table stock (key text primary key, effects integer not null default 0)');
    await pool.query(`insert into stock (key) select 'key-' || n from generate_series(0, $1) n`, [keys - 1]);
    await pool.query('create table seen (id text primary key)');
    const subscriber = () => {
      const bus = createBus({ service: 'stock', store: postgres(pool, { schema: 'stock' }), transport: rabbitmq(servers.amqp), logger: silent });
      bus.subscribe(Counted, { name: 'all' }, async (event, { tx }) => {
        await tx.query('update stock set effects = effects + 1 where key = $1', [event.key]);
      });
      return bus;
    };
    const first = subscriber();
    await first.start();
    await first.stop();
    const rates: Record<'waybill' | 'serial' | 'pool' | 'ack', number[]> = { waybill: [], serial: [], pool: [], ack: [] };
    const cpus: Record<string, unknown> = {};
    let expected = 0;
    const queue = async (messages: number): Promise<void> => {
      await fill(servers, 'bench', messages, (expected += messages));
      const relay = busOf(servers, 'bench');
      let sent = 0;
      const done = new Promise<void>((resolve) => relay.on('sent', ({ type }) => type === Counted.type && ++sent === messages && resolve()));
      await relay.start();
      await done;
      await relay.stop();
    };
    const note = (name: keyof typeof rates, { rate, cpu }: { rate: number; cpu: Record<string, number> }): void => {
      rates[name].push(rate);
      cpus[name] = cpu;
    };
    let correct = true;
    const effects = async (): Promise<number> => Number((await pool.query('select sum(effects) as n from stock')).rows[0].n);
    let effectsBefore = await effects();
    const counts = async (messages: number): Promise<void> => {
      const now = await effects();
      correct &&= now - effectsBefore === messages;
      effectsBefore = now;
    };
    for (let round = 0; round < 3; round++) {
      await queue(count);
      note('waybill', await measured(servers, count, () => applied(subscriber(), count)));
      await counts(count);
      await queue(few);
      note('serial', await measured(servers, few, () => byHand(servers, pool, few, 1)));
      await counts(few);
      await queue(count);
      note('pool', await measured(servers, count, () => byHand(servers, pool, count, 50)));
      await counts(count);
      await queue(count);
      note('ack', await measured(servers, count, () => byHand(servers, undefined, count, 500)));
    }
    const ratio = (name: 'serial' | 'pool' | 'ack'): number => median(rates.waybill) / median(rates[name]);
    const beside = (name: 'serial' | 'pool' | 'ack', what: string, goal: number) => ({ beside: what, measured: rounded(ratio(name)), goal, holds: ratio(name) >= goal });
    return {
      name: 'inbox',
      ratios: [beside('serial', 'one transaction after another', 16), beside('pool', '50 at a time over a pool', 4), beside('ack', 'acknowledged only, no database', 0.25)],
      correct,
      messages: count,
      perSecond: Object.fromEntries(Object.entries(rates).map(([name, values]) => [name, values.map(Math.round)])),
      cpuMicrosecondsPerMessage: cpus,
    };
  } finally {
    await admin.close();
    await pool.end();
    await servers.close();
  }
}

async function applied(bus: { on(name: 'applied', fn: (of: { type: string }) => void): unknown; start(): Promise<void>; stop(): Promise<void> }, count: number): Promise<void> {
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
      if (pool) {
        const { key } = JSON.parse(message.content.toString()) as { key: string };
        const client = await pool.connect();
        await client.query('begin');
        const { rowCount } = await client.query('insert into seen values ($1) on conflict do nothing', [message.properties.messageId]);
        if (rowCount) await client.query('update stock set effects = effects + 1 where key = $1', [key]);
        await client.query('commit');
        client.release();
        channel.ack(message);
        done++;
      } else if (++done % (atOnce / 2) === 0 || done === count) channel.ack(message, true);
      if (done === count) resolve();
    };
    void channel.consume('waybill.stock.all', (message) => void one(message!).catch(reject));
  });
  await channel.close();
  await connection.close();
}
