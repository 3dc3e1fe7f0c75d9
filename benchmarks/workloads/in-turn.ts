/**
 * The limit of relaying few keys: the same client, without a database, publishes messages of as many bytes to an exchange of
 * the same kind and quorum queues of the same number, and of each key one is unconfirmed at a time.
 */
import amqplib from 'amqplib';

const exchange = 'in-turn';
/** As many as a subscription in order by key has. */
const queues = 8;
const headers = { 'cloudEvents:specversion': '1.0', 'cloudEvents:source': 'desk', 'cloudEvents:time': new Date().toISOString(), 'cloudEvents:correlationid': 'a3d1f1f0-7a0c-7c7e-8a51-000000000000' };

/** @returns messages confirmed per second */
export async function inTurn(amqp: string, { keys, count, bytes }: { keys: number; count: number; bytes: number }): Promise<number> {
  const connection = await amqplib.connect(amqp, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange(exchange, 'topic', { durable: true });
  for (let n = 0; n < queues; n++) {
    await channel.assertQueue(`${exchange}~${n}`, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    for (let key = n; key < keys; key += queues) await channel.bindQueue(`${exchange}~${n}`, exchange, `event.${key}.#`);
  }
  const body = Buffer.alloc(bytes, 'x');
  let sent = 0;
  const chain = (key: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const next = (error?: unknown): void => {
        if (error) return reject(error instanceof Error ? error : new Error('not confirmed'));
        if (sent >= count) return resolve();
        const messageId = `0000-${sent++}`;
        channel.publish(exchange, `event.${key}.bench.load.v1`, body, { persistent: true, mandatory: true, messageId, type: 'bench.load.v1', appId: 'desk', contentType: 'application/json', headers }, next);
      };
      next();
    });
  const began = performance.now();
  await Promise.all(Array.from({ length: keys }, (_, key) => chain(key)));
  const perSecond = count / ((performance.now() - began) / 1_000);
  for (let n = 0; n < queues; n++) await channel.deleteQueue(`${exchange}~${n}`);
  await connection.close();
  return perSecond;
}
