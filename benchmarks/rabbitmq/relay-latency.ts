/**
 * 100 messages a second: from the COMMIT being sent to the broker's confirm, beside a bare commit and a bare confirm at
 * the same pace, in turn in one run; and what the relay costs while there is nothing to send. `relay-open-writer` is the
 * same while an unrelated write transaction stays open. Every message is confirmed, or the run fails.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import amqplib from 'amqplib';
import pg from 'pg';
import { atMost, median, quantile, type Report } from '../report.ts';
import { drainQueue } from './contract.ts';
import { notedBus, noteConfirms, paced } from './paced.ts';
import { type Servers, startServers } from './servers.ts';
import { bindSink, sinkQueue } from './sink.ts';

const everyMs = 10;

export async function relayLatency({ quick }: { quick: boolean }): Promise<Report> {
  const ms = quick ? 3_000 : 10_000;
  const servers = await startServers();
  const confirms = noteConfirms(servers.amqp);
  try {
    await bindSink(servers);
    const bus = notedBus(servers, confirms);
    await bus.start();
    await paced(bus, confirms, { everyMs, ms: 500 }); // warm
    const [p50s, p99s, sums, sums99] = [[], [], [], []] as number[][];
    let count = 50;
    for (let round = 0; round < 3; round++) {
      const times = await paced(bus, confirms, { everyMs, ms });
      count += times.length;
      p50s!.push(quantile(times, 0.5));
      p99s!.push(quantile(times, 0.99));
      const bare = await bareSum(servers, ms);
      sums!.push(bare.p50);
      sums99!.push(bare.p99);
    }
    const [cpu, began] = [process.cpuUsage(), performance.now()];
    await sleep(quick ? 3_000 : 10_000);
    const { user, system } = process.cpuUsage(cpu);
    const idle = (user + system) / 1_000 / (performance.now() - began);
    await bus.stop();
    const { distinct, inverted } = await drainQueue(servers, sinkQueue, 0);
    return {
      name: 'relay-latency',
      ratios: [
        atMost('p50, in bare commits and confirms', median(p50s!) / median(sums!), 1.5),
        atMost('p99, in bare commits and confirms', median(p99s!) / median(sums!), 5),
        atMost('idle relay, share of a core', idle, 0.01),
      ],
      correct: distinct > 0 && inverted === 0,
      messages: count,
      milliseconds: { p50: p50s, p99: p99s, bareCommitAndConfirm: sums, bareCommitAndConfirmP99: sums99 },
    };
  } finally {
    await servers.close();
  }
}

export async function relayOpenWriter({ quick }: { quick: boolean }): Promise<Report> {
  const ms = quick ? 3_000 : 10_000;
  const servers = await startServers();
  const confirms = noteConfirms(servers.amqp);
  const pool = new pg.Pool({ connectionString: servers.postgres });
  pool.on('error', () => {});
  try {
    await bindSink(servers);
    await pool.query('create table unrelated (n integer)');
    const bus = notedBus(servers, confirms);
    await bus.start();
    await paced(bus, confirms, { everyMs, ms: 500 });
    const [free, open] = [[], []] as number[][];
    for (let round = 0; round < 3; round++) {
      free!.push(quantile(await paced(bus, confirms, { everyMs, ms }), 0.99));
      const writer = await pool.connect();
      await writer.query('begin');
      await writer.query('insert into unrelated values (1)');
      open!.push(quantile(await paced(bus, confirms, { everyMs, ms }), 0.99));
      await writer.query('commit');
      writer.release();
    }
    await bus.stop();
    const { inverted } = await drainQueue(servers, sinkQueue, 0);
    return {
      name: 'relay-open-writer',
      ratios: [atMost('p99 without the open transaction', median(open!) / median(free!), 2)],
      correct: inverted === 0,
      p99Ms: { free, open },
    };
  } finally {
    await pool.end();
    await servers.close();
  }
}

/** Relay mode `log` beside `inline`, in turn: the same messages, and the same idle time. */
export async function relayLog({ quick }: { quick: boolean }): Promise<Report> {
  const ms = quick ? 3_000 : 10_000;
  const servers = await startServers('logical');
  const confirms = noteConfirms(servers.amqp);
  try {
    await bindSink(servers);
    const times = { inline: [] as number[], log: [] as number[] };
    const idle = { inline: [] as number[], log: [] as number[] };
    let streams = 0;
    for (let round = 0; round < 3; round++) {
      for (const mode of ['inline', 'log'] as const) {
        const bus = notedBus(servers, confirms, mode);
        const streaming = new Promise<void>((resolve) => bus.on('log-slot', ({ state }) => state === 'streaming' && resolve()));
        await bus.start();
        if (mode === 'log') await streaming.then(() => streams++);
        await paced(bus, confirms, { everyMs, ms: 500 }); // warm
        times[mode].push(quantile(await paced(bus, confirms, { everyMs, ms }), 0.5));
        const before = servers.cpu();
        await sleep(ms);
        const { node, postgres } = servers.cpu();
        idle[mode].push((node - before.node + postgres - before.postgres) / ms);
        await bus.stop();
      }
    }
    const { inverted } = await drainQueue(servers, sinkQueue, 0);
    return {
      name: 'relay-log',
      ratios: [atMost('p50 in relay mode inline', median(times.log) / median(times.inline), 1.5)],
      correct: inverted === 0 && streams === 3,
      p50Ms: times,
      idleShareOfACore: idle,
    };
  } finally {
    await servers.close();
  }
}

/** A commit of one row, and a publish that is confirmed, each alone: their medians, added. */
/** Both in turn, and how long they take one after the other. */
async function bareSum(servers: Servers, ms: number): Promise<{ p50: number; p99: number }> {
  const client = new pg.Client(servers.postgres);
  await client.connect();
  await client.query('create table if not exists bare (n integer, body text)');
  const connection = await amqplib.connect(servers.amqp, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('bare', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  const [commits, confirms, both] = [[], [], []] as number[][];
  const body = Buffer.alloc(200, 'x');
  for (let until = performance.now() + ms; performance.now() < until; ) {
    await client.query('begin');
    await client.query('insert into bare values (1, $1)', [body.toString()]);
    let began = performance.now();
    await client.query('commit');
    commits!.push(performance.now() - began);
    began = performance.now();
    channel.publish('', 'bare', body, { persistent: true });
    await channel.waitForConfirms();
    confirms!.push(performance.now() - began);
    both!.push(commits!.at(-1)! + confirms!.at(-1)!);
    await sleep(everyMs);
  }
  await channel.deleteQueue('bare');
  await connection.close();
  await client.end();
  return { p50: median(commits!) + median(confirms!), p99: quantile(both!, 0.99) };
}
