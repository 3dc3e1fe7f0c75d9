import amqplib from 'amqplib';
import { createBus, defineEvent, type Bus } from 'waybill';
import * as z from 'zod';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { filler, workload } from '../workload.ts';
import { type Measured, measured, type Servers } from './servers.ts';

export const Counted = defineEvent('bench.counted', {
  schema: z.object({ key: z.string(), n: z.number(), filler: z.string() }),
  key: (event) => event.key,
});
export const payload = (n: number): { key: string; n: number; filler: string } => ({ key: `key-${n % workload.keys}`, n, filler: filler(50) });
export const silent = { debug() {}, info() {}, warn() {}, error() {} };

export function busOf(servers: Servers, service: string, options: { relay?: 'inline' | 'off'; system?: string; schema?: string } = {}): Bus<any> {
  const { relay = 'inline', system = 'waybill', schema } = options;
  return createBus({ service, store: schema === undefined ? servers.postgres : postgres(servers.postgres, { schema }), transport: rabbitmq(servers.amqp, { system }), relay, logger: silent });
}

/** Writes `count` messages as a service would that is busy: 100 to a transaction, no relay running. */
export async function fill(servers: Servers, service: string, count: number, from: number, schema?: string): Promise<void> {
  const bus = busOf(servers, service, { relay: 'off', ...(schema !== undefined && { schema }) });
  for (let n = 0; n < count; n += 100) {
    const size = Math.min(100, count - n);
    await bus.publishAll(Array.from({ length: size }, (_, i) => Counted.of(payload(from + n + i))));
  }
  await bus.stop();
}

/** Everything in a queue, in its order: how often each number came, and keys whose first copies are out of order. */
export async function drainQueue(
  servers: Servers,
  queue: string,
  count: number,
): Promise<{ distinct: number; copies: number; inverted: number; sample: amqplib.ConsumeMessage }> {
  const connection = await amqplib.connect(servers.amqp, { noDelay: true });
  const channel = await connection.createChannel();
  await channel.prefetch(1_000);
  const seen = new Set<number>();
  const last = new Map<string, number>();
  let copies = 0;
  let sample: amqplib.ConsumeMessage | undefined;
  let inverted = 0;
  await new Promise<void>((resolve) => {
    let quiet = setTimeout(resolve, 3_000);
    void channel.consume(queue, (message) => {
      if (message!.properties.type !== Counted.type) return channel.ack(message!); // a publisher says that it is current
      const { key, n } = JSON.parse(message!.content.toString()) as { key: string; n: number };
      copies++;
      sample ??= message!;
      if (!seen.has(n) && n <= (last.get(key) ?? -1)) inverted++;
      last.set(key, Math.max(n, last.get(key) ?? -1));
      seen.add(n);
      channel.ack(message!);
      clearTimeout(quiet);
      quiet = setTimeout(resolve, seen.size >= count ? 200 : 3_000);
    });
  });
  await connection.close();
  return { distinct: seen.size, copies, inverted, sample: sample! };
}

/**
 * The limit: copies of a message that the bus sent (same bytes, same properties, same exchange and queue), in a window of
 * 1,000 confirms with the same client and no database. From the first to the last: connected before.
 */
export async function publishRaw(servers: Servers, sample: amqplib.ConsumeMessage, count: number, window = 1_000): Promise<Measured> {
  const connection = await amqplib.connect(servers.amqp, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  const { exchange, routingKey } = sample.fields;
  const publish = (): Promise<void> => new Promise<void>((resolve, reject) => {
    let sent = 0;
    let confirmed = 0;
    const pump = (): void => {
      while (sent < count && sent - confirmed < window) {
        sent++;
        channel.publish(exchange, routingKey, sample.content, { ...sample.properties, persistent: true, mandatory: true } as amqplib.Options.Publish, (error) => {
          if (error) return reject(error instanceof Error ? error : new Error(String(error)));
          if (++confirmed === count) resolve();
          else if (sent - confirmed < window / 2) pump();
        });
      }
    };
    pump();
  });
  const rate = await measured(servers, count, publish);
  await connection.close();
  return rate;
}

export async function purge(servers: Servers, queue: string): Promise<void> {
  const connection = await amqplib.connect(servers.amqp);
  const channel = await connection.createChannel();
  await channel.purgeQueue(queue);
  await connection.close();
}
