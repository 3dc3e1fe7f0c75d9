/**
 * A backlog of committed rows, PostgreSQL → one RabbitMQ quorum queue, against the same client publishing without any
 * database (`relay-drain`), and against the relays that are usually written (`relay-vs-usual`): one message at a time, and
 * 500 claimed, published, confirmed and marked. All send the same messages (bytes, properties, exchange, queue), connected
 * before the clock starts. Interleaved, in one run; each drained queue is read back and checked.
 */
import amqplib from 'amqplib';
import pg from 'pg';
import { atLeast, median, type Report } from '../report.ts';
import { drainQueue, publishRaw, purge } from './contract.ts';
import { type Measured, measured, medianCpu, type Servers, startServers } from './servers.ts';
import { bindSink, drainRunning, sinkQueue } from './sink.ts';

export async function relayDrain({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 20_000 : 100_000;
  const servers = await startServers();
  try {
    await bindSink(servers);
    const [ours, limit] = [[], []] as Measured[][];
    const checks = [];
    for (let round = 0; round < 3; round++) {
      ours!.push(await drainRunning(servers, count, round * count));
      checks.push(await drainQueue(servers, sinkQueue, count));
      const { sample } = checks.at(-1)!;
      limit!.push(await publishRaw(servers, sample, count));
      await purge(servers, sinkQueue);
    }
    const ratio = median(ours!.map(({ rate }) => rate)) / median(limit!.map(({ rate }) => rate));
    return {
      name: 'relay-drain',
      ratios: [atLeast('the same messages in pipelined confirms with the same client, no database', ratio, 0.9)],
      correct: checks.every(({ distinct, inverted }) => distinct === count && inverted === 0),
      messages: count,
      perSecond: { waybill: ours!.map(({ rate }) => Math.round(rate)), limit: limit!.map(({ rate }) => Math.round(rate)) },
      cpuMicrosecondsPerMessage: { waybill: medianCpu(ours!), limit: medianCpu(limit!) },
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
    const all: Record<'waybill' | 'one' | 'claim', Measured[]> = { waybill: [], one: [], claim: [] };
    let correct = true;
    for (let round = 0; round < 3; round++) {
      all.waybill.push(await drainRunning(servers, count, round * count));
      const { distinct, inverted, sample } = await drainQueue(servers, sinkQueue, count);
      correct &&= distinct === count && inverted === 0;
      if (!correct) console.log({ distinct, count, inverted });
      all.one.push(await usual(servers, sample, few, 1));
      await purge(servers, sinkQueue);
      all.claim.push(await usual(servers, sample, count, 500));
      await purge(servers, sinkQueue);
    }
    const rates = (name: keyof typeof all): number[] => all[name].map(({ rate }) => rate);
    const beside = (name: 'one' | 'claim'): number => median(rates('waybill')) / median(rates(name));
    return {
      name: 'relay-vs-usual',
      ratios: [
        atLeast('one message at a time', beside('one'), 40),
        atLeast('claim 500, publish, confirm, mark', beside('claim'), 1.4),
      ],
      correct,
      messages: count,
      perSecond: Object.fromEntries(Object.entries(all).map(([name, values]) => [name, values.map(({ rate }) => Math.round(rate))])),
      cpuMicrosecondsPerMessage: Object.fromEntries(Object.entries(all).map(([name, values]) => [name, medianCpu(values)])),
    };
  } finally {
    await servers.close();
  }
}

/**
 * The relay of the books, on a table and an index of its own: the same envelope out of a row, the same bytes to the same
 * exchange and queue as `sample`.
 */
export async function usual(
  servers: Servers,
  sample: amqplib.ConsumeMessage,
  count: number,
  batch: number,
  around: (work: () => Promise<void>) => Promise<unknown> = (work) => work(),
): Promise<Measured> {
  const { properties, fields, content } = sample;
  const pool = new pg.Pool({ connectionString: servers.postgres, max: 1 });
  await pool.query('drop table if exists usual');
  await pool.query(`create table usual (id bigserial primary key, message_id text not null, type text not null, routing_key text not null,
    headers text not null, body text not null, published boolean not null default false)`);
  await pool.query('create index on usual (id) where not published');
  await pool.query(`insert into usual (message_id, type, routing_key, headers, body)
    select gen_random_uuid(), $2, $3, $4, $5 from generate_series(1, $1)`, [count, properties.type, fields.routingKey, JSON.stringify(properties.headers), content.toString()]);
  const connection = await amqplib.connect(servers.amqp, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  type Row = Record<'id' | 'message_id' | 'type' | 'routing_key' | 'headers' | 'body', string>;
  const work = async (): Promise<void> => {
    for (let sent = 0; sent < count; ) {
      const client = await pool.connect();
      await client.query('begin');
      const { rows } = await client.query<Row>('select id, message_id, type, routing_key, headers, body from usual where not published order by id limit $1 for update skip locked', [batch]);
      for (const { message_id: messageId, type, routing_key: key, headers, body } of rows) {
        const { contentType, appId } = properties as { contentType: string; appId: string };
        channel.publish(fields.exchange, key, Buffer.from(body), { persistent: true, mandatory: true, messageId, type, appId, contentType, headers: JSON.parse(headers) as object });
      }
      await channel.waitForConfirms();
      await client.query('update usual set published = true where id = any($1)', [rows.map(({ id }) => id)]);
      await client.query('commit');
      client.release();
      sent += rows.length;
    }
  };
  const result = await measured(servers, count, async () => void (await around(work)));
  await connection.close();
  await pool.end();
  return result;
}
