import { type Clock, sleep } from '../../contract/clock.ts';
import { type AmqpChannel, type AmqpMessage, goodbye } from './client.ts';
import type { Link } from './link.ts';
import { route } from './names.ts';
import { routeHeader } from './wire.ts';

/** Taken, copied and confirmed together. */
const pieceMax = 200;
/** So long is a piece collected. A queue with a single active consumer takes no `basic.get`, so it is consumed. */
const collectMs = 20;

/**
 * Moves what is queued, in its order, each message acknowledged only after its copy was confirmed. Properties and body
 * stay; the first routing key goes along in a header, because the new one names the queue.
 */
export async function moveMessages(options: {
  link: Link;
  clock: Clock;
  exchange: string;
  from: string;
  target: (slot: number) => string;
  left: () => Promise<number>;
}): Promise<void> {
  const { link, clock, exchange, from, target } = options;
  const [source, copies] = [await link.channel(), await link.confirmChannel()];
  let came: AmqpMessage[] = [];
  try {
    await source.prefetch(pieceMax);
    await source.consume(from, (message) => message && came.push(message), { noAck: false });
    for (;;) {
      await sleep(clock, collectMs);
      const piece = came;
      came = [];
      if (piece.length > 0) {
        await publishAll(copies, exchange, piece.map((message) => copyOf(message, target)));
        source.ack(piece.at(-1)!, true);
      } else if ((await options.left()) === 0 && came.length === 0) return;
    }
  } finally {
    for (const channel of [source, copies]) await goodbye(channel, clock);
  }
}

/** A received message on its way to another queue, with more headers. */
export interface Copy {
  readonly routingKey: string;
  readonly message: AmqpMessage;
  readonly headers: Readonly<Record<string, unknown>>;
}

function copyOf(message: AmqpMessage, target: (slot: number) => string): Copy {
  const first = String(message.properties.headers?.[routeHeader] ?? message.fields.routingKey);
  return { routingKey: route.toQueue(target(route.slot(first))), message, headers: { [routeHeader]: first } };
}

/** Publishes copies on a confirm channel; rejects unless each is in a queue. */
export async function publishAll(channel: AmqpChannel, exchange: string, copies: readonly Copy[]): Promise<void> {
  let lost = 0;
  const count = (): void => void lost++;
  channel.on('return', count);
  for (const { routingKey, message, headers } of copies) {
    const { headers: before, ...properties } = message.properties;
    channel.publish(exchange, routingKey, message.content, { ...properties, persistent: true, mandatory: true, headers: { ...before, ...headers } });
  }
  await channel.waitForConfirms();
  channel.removeListener('return', count);
  if (lost > 0) throw new Error(`${lost} of ${copies.length} copies reached no queue`);
}
