/**
 * A backlog of committed rows, PostgreSQL → one RabbitMQ quorum queue, against the same client publishing without any
 * database (`relay-drain`), and against the relays that are usually written (`relay-vs-usual`): one message at a time, and
 * 500 claimed, published, confirmed and marked. Interleaved, in one run; each drained queue is read back and checked.
 */
import amqplib from 'amqplib';
import pg from 'pg';
import { atLeast, median, type Report } from '../report.ts';
import { drainQueue, fill, publishRaw, purge } from './contract.ts';
import { measured, type Servers, startServers } from './servers.ts';
import { bindSink, drain, sinkQueue } from './sink.ts';

export async function relayDrain({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 20_000 : 100_000;
  const servers = await startServers();
  try {
    await bindSink(servers);
    const [ours, limit] = [[], []] as { rate: number; cpu: Record<string, number> }[][];
    const checks = [];
    for (let round = 0; round < 3; round++) {
      await fill(servers, 'bench', count, round * count);
      ours!.push(await measured(servers, count, () => drain(servers, count)));
      checks.push(await drainQueue(servers, sinkQueue, count));
      const { sample } = checks.at(-1)!;
      limit!.push(await measured(servers, count, () => publishRaw(servers, sample, count)));
      await purge(servers, sinkQueue);
    }
    const ratio = median(ours!.map(({ rate }) => rate)) / median(limit!.map(({ rate }) => rate));
    return {
      name: 'relay-drain',
      ratios: [atLeast('the same messages in pipelined confirms with the same client, no database', ratio, 0.9)],
      correct: checks.every(({ distinct, inverted }) => distinct === count && inverted === 0),
      messages: count,
      
      perSecond: { waybill: ours!.map(({ rate }) => Math.round(rate)), limit: limit!.map(({ rate }) => Math.round(rate)) },
      cpuMicrosecondsPerMessage: { waybill: ours!.at(-1)!.cpu, limit: limit!.at(-1)!.cpu },
      copies: checks.map(({ copies }) => copies),
    };
  } finally {
    await servers.close();
  }
}

export async function relayVsUsual({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 20_000 : 100_000;
  const few = quick ? 1_000 : 5_000;
  const servers = await startServers();
  try {
    await bindSink(servers);
    const rates: Record<'waybill' | 'one' | 'claim', number[]> = { waybill: [], one: [], claim: [] };
    let correct = true;
    for (let round = 0; round < 3; round++) {
      await fill(servers, 'bench', count, round * count);
      rates.waybill.push((await measured(servers, count, () => drain(servers, count))).rate);
      const { distinct, inverted } = await drainQueue(servers, sinkQueue, count);
      correct &&= distinct === count && inverted === 0;
      if (!correct) console.log({ distinct, count, inverted });
      rates.one.push((await usual(servers, few, 1)) as number);
      rates.claim.push((await usual(servers, count, 500)) as number);
    }
    const beside = (name: 'one' | 'claim'): number => median(rates.waybill) / median(rates[name]);
    return {
      name: 'relay-vs-usual',
      ratios: [
        atLeast('one message at a time', beside('one'), 40),
        atLeast('claim 500, publish, confirm, mark', beside('claim'), 1.4),
      ],
      correct,
      messages: count,
      perSecond: Object.fromEntries(Object.entries(rates).map(([name, values]) => [name, values.map(Math.round)])),
    };
  } finally {
    await servers.close();
  }
}

/** The relay of the books, on a table and an index of its own. */
export async function usual(servers: Servers, count: number, batch: number, around: (work: () => Promise<void>) => Promise<unknown> = (work) => work()): Promise<number> {
  const pool = new pg.Pool({ connectionString: servers.postgres, max: 1 });
  await pool.query('drop table if exists usual');
  await pool.query('create table usual (id bigserial primary key, body text not null, published boolean not null default false)');
  await pool.query('create index on usual (id) where not published');
  await pool.query("insert into usual (body) select rpad('{', 200, 'x') from generate_series(1, $1)", [count]);
  const connection = await amqplib.connect(servers.amqp, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('usual', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  const work = async (): Promise<void> => {
    for (let sent = 0; sent < count; ) {
      const client = await pool.connect();
      await client.query('begin');
      const { rows } = await client.query<{ id: string; body: string }>('select id, body from usual where not published order by id limit $1 for update skip locked', [batch]);
      for (const { id, body } of rows) channel.publish('', 'usual', Buffer.from(body), { persistent: true, messageId: id });
      await channel.waitForConfirms();
      await client.query('update usual set published = true where id = any($1)', [rows.map(({ id }) => id)]);
      await client.query('commit');
      client.release();
      sent += rows.length;
    }
  };
  const { rate } = await measured(servers, count, async () => void (await around(work)));
  await channel.deleteQueue('usual');
  await connection.close();
  await pool.end();
  return rate;
}
