/**
 * What RabbitMQ does to a client when something is wrong, as cases; and for each a client that does not hear of it, which
 * the case must notice. The client is the user's amqplib, between the transport and the broker: so what is sabotaged is
 * the very word that the transport has to act on.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import amqplib from 'amqplib';
import type { WireMessage } from '../../src/contract/message.ts';
import type { Consumer, TransportSession } from '../../src/contract/transport.ts';
import { labels, message } from '../../src/testing/conformance/message.ts';
import { instead } from '../../src/testing/conformance/sabotage.ts';
import { to } from '../../src/testing/conformance/transport/world.ts';
import type { AmqpChannel, AmqpConnection } from '../../src/transports/rabbitmq/client.ts';
import type { Session } from '../../src/transports/rabbitmq/session.ts';
import type { RabbitServer } from '../support/rabbitmq-server.ts';

export interface TroubleWorld {
  readonly server: RabbitServer;
  /** The first word of this world's names at the broker. */
  readonly system: string;
  connect(service: string): Promise<TransportSession>;
  /** Messages that were handed to the client to be published. */
  handedOver(): number;
  /** Resolves when the broker has said that it takes nothing now. */
  readonly blocked: Promise<void>;
  /** What has not come after this many milliseconds will not. Only waited for when something is wrong. */
  readonly patienceMs: number;
}

export interface TroubleCase {
  readonly name: string;
  /** It changes what all of the broker goes by: nothing else may run meanwhile. @default false */
  readonly alone?: boolean;
  run(world: TroubleWorld): Promise<void>;
}

const prices = to('basket.prices');
const never = new AbortController().signal;
/** Nothing happens for so long: it will not. */
const quietMs = 500;

/** Until `count` different ones have come, or too long. What the broker takes back in between comes again. */
async function take(consumer: Consumer, count: number, waitMs: number): Promise<string[]> {
  const got = new Set<string>();
  for (const untilMs = performance.now() + waitMs; got.size < count && performance.now() < untilMs; ) {
    const some = await consumer.receive(50, { waitMs: 100, signal: never }).catch(() => sleep(50, []));
    for (const label of labels(some)) got.add(label);
    await consumer.settle(some);
  }
  return [...got].sort();
}

const alarms: Readonly<Record<string, { readonly on: readonly string[]; readonly off: readonly string[] }>> = {
  memory: { on: ['set_vm_memory_high_watermark', 'absolute', '1MB'], off: ['set_vm_memory_high_watermark', 'absolute', '512MB'] },
  disk: { on: ['set_disk_free_limit', '1000000GB'], off: ['set_disk_free_limit', '50MB'] },
};

export const troubleCases: readonly TroubleCase[] = [
  {
    name: 'what a full queue refuses is said to be refused, and nothing else',
    async run({ server, system, connect, patienceMs }) {
      const [catalog, basket] = [await connect('catalog'), await connect('basket')];
      await basket.declare(prices);
      await server.ctl('set_policy', system, `^${system}\\.basket\\.prices$`, '{"max-length":5,"overflow":"reject-publish"}', '--apply-to', 'queues');
      const all = Array.from({ length: 40 }, (_, i) => message(`m${i}`));
      const stored: string[] = [];
      for (let i = 0; i < all.length; i += 10) {
        const some = all.slice(i, i + 10);
        const outcomes = await catalog.send(some);
        stored.push(...labels(some.filter((_, at) => outcomes[at]!.kind === 'stored')));
      }
      assert.deepEqual(await take(await basket.consume(prices), stored.length, patienceMs), stored.sort());
    },
  },
  {
    name: 'a command that no queue takes is said to be unroutable',
    async run({ connect }) {
      const catalog = await connect('catalog');
      const outcomes = await catalog.send([message('a', { kind: 'command', recipient: 'nobody' })]);
      assert.deepEqual(outcomes.map(({ kind }) => kind), ['unroutable']);
    },
  },
  ...Object.entries(alarms).map(([kind, { on, off }]): TroubleCase => ({
    name: `while the broker is in alarm (${kind}) nothing more is handed to it, and afterwards everything`,
    alone: true,
    async run({ server, connect, handedOver, blocked }) {
      const [catalog, basket] = [await connect('catalog'), await connect('basket')];
      await basket.declare(prices);
      await basket.close(); // its echo would be told of the alarm too, and perhaps first
      await catalog.send([message('before')]); // it has its channel
      await server.ctl(...on);
      const sending: Promise<unknown>[] = [];
      const send = (...messages: WireMessage[]): void => void sending.push(catalog.send(messages));
      try {
        send(message('first')); // the broker says it to who publishes
        await blocked;
        const before = handedOver();
        const body = new Uint8Array(10_000);
        send(...Array.from({ length: 200 }, (_, i) => message(`${i}`, { body, id: `m${i}` })));
        await sleep(quietMs);
        assert.equal(handedOver(), before);
      } finally {
        for (const one of sending) one.catch(() => {}); // it is closed when the case has failed
        await server.ctl(...off);
      }
      await Promise.all(sending);
      assert.equal(handedOver(), 202);
    },
  })),
  {
    name: 'a queue that somebody deleted is made again, and consumed',
    async run({ server, system, connect, patienceMs }) {
      const [catalog, basket] = [await connect('catalog'), await connect('basket')];
      await basket.declare(prices);
      const consumer = await basket.consume(prices);
      const taking = take(consumer, 1, patienceMs);
      await server.ctl('delete_queue', `${system}.basket.prices`);
      await untilRouted(catalog, message('after'), patienceMs);
      assert.deepEqual(await taking, ['after']);
    },
  },
  {
    name: 'an exchange that somebody deleted is made again, and all is bound to it',
    async run({ server, system, connect, patienceMs }) {
      const [basket, catalog] = [await connect('basket'), await connect('catalog')];
      await basket.declare(prices);
      const consumer = await basket.consume(prices);
      await deleteExchange(server, system);
      await untilExchange(server, system, patienceMs); // nobody publishes, and somebody notices
      await untilRouted(catalog, message('after'), patienceMs);
      assert.deepEqual(await take(consumer, 1, patienceMs), ['after']);
    },
  },
  {
    name: 'an exchange that was deleted and at once made anew, by a publisher say, is bound again',
    async run({ server, system, connect, patienceMs }) {
      const [basket, catalog] = [await connect('basket'), await connect('catalog')];
      await basket.declare(prices);
      const consumer = await basket.consume(prices);
      await deleteExchange(server, system, 'and make it anew');
      await untilRouted(catalog, message('after'), patienceMs);
      assert.deepEqual(await take(consumer, 1, patienceMs), ['after']);
    },
  },
  {
    name: 'a publisher that finds the exchange gone waits until the queues are bound again',
    async run({ server, system, connect, patienceMs }) {
      const [basket, catalog] = [await connect('basket'), await connect('catalog')];
      await basket.declare(prices);
      const consumer = await basket.consume(prices);
      await catalog.send([message('0')]); // it has its channel
      const sent = ['0'];
      await deleteExchange(server, system);
      for (const untilMs = performance.now() + patienceMs; sent.length <= 20 && performance.now() < untilMs; ) {
        const label = `${sent.length}`;
        const [outcome] = await catalog.send([message(label)]).catch(() => sleep(50, [undefined])); // again, under the same id
        if (!outcome) continue;
        assert.equal(outcome.kind, 'stored', `message ${label} went nowhere`);
        sent.push(label);
      }
      assert.deepEqual(await take(consumer, 21, patienceMs), sent.sort());
    },
  },
  {
    name: 'what is held for longer than the consumer time-out comes again, and nothing is lost',
    alone: true,
    async run({ server, system, connect, patienceMs }) {
      await server.ctl('eval', 'application:set_env(rabbit, consumer_timeout, 1000), application:set_env(rabbit, channel_tick_interval, 300).');
      try {
        const [catalog, basket] = [await connect('catalog'), await connect('basket')];
        await basket.declare(prices);
        await catalog.send(['a', 'b', 'c'].map((label) => message(label)));
        const consumer = await basket.consume(prices);
        const held: string[] = [];
        while (held.length < 2) held.push(...labels(await consumer.receive(1, { waitMs: patienceMs, signal: never })));
        assert.deepEqual(held, ['a', 'b']);
        await sleep(2_500); // the broker closes the channel meanwhile
        await catalog.send([message('d')]);
        assert.deepEqual(await take(consumer, 4, patienceMs), ['a', 'b', 'c', 'd']);
        await untilEmpty(server, `${system}.basket.prices`, patienceMs);
      } finally {
        await server.ctl('eval', 'application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, 60000).');
      }
    },
  },
  {
    name: 'a message outlives more crashes than RabbitMQ 4 allows by default',
    async run({ connect, patienceMs }) {
      const [catalog, basket] = [await connect('catalog'), await connect('basket')];
      await basket.declare(prices);
      await catalog.send([message('kept')]);
      for (let crash = 0; crash <= defaultDeliveryLimit; crash++) {
        const victim = await connect('basket');
        const got = await (await victim.consume(prices)).receive(1, { waitMs: patienceMs, signal: never });
        assert.deepEqual(labels(got), ['kept'], `after ${crash} crashes`);
        (victim as Session).cut();
      }
      assert.deepEqual(await take(await basket.consume(prices), 1, patienceMs), ['kept']);
    },
  },
];

/** Made anew in the same breath, nobody finds that it was missing. */
export async function deleteExchange({ url }: Pick<RabbitServer, 'url'>, system: string, then?: 'and make it anew'): Promise<void> {
  await aside(url, async (channel) => {
    await Promise.all([channel.deleteExchange(system), then && channel.assertExchange(system, 'topic', { durable: true })]);
  });
}

async function aside<R>(url: string, work: (channel: amqplib.Channel) => Promise<R>): Promise<R> {
  const connection = await amqplib.connect(url);
  try {
    const channel = await connection.createChannel();
    channel.on('error', () => {});
    return await work(channel);
  } finally {
    await connection.close();
  }
}

async function untilExchange({ url }: RabbitServer, system: string, patienceMs: number): Promise<void> {
  const stands = (): Promise<boolean> => aside(url, (channel) => channel.checkExchange(system).then(() => true, () => false));
  for (const untilMs = performance.now() + patienceMs; performance.now() < untilMs; await sleep(100)) if (await stands()) return;
  assert.fail('the exchange is not made again');
}

async function untilRouted(catalog: TransportSession, sent: WireMessage, patienceMs: number): Promise<void> {
  for (const untilMs = performance.now() + patienceMs; performance.now() < untilMs; await sleep(50)) {
    const outcomes = await catalog.send([sent]).catch(() => []);
    if (outcomes[0]?.kind === 'stored') return;
  }
  assert.fail('the queue is not bound again');
}

/** https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling: from 4.0 on. */
const defaultDeliveryLimit = 20;

async function untilEmpty(server: RabbitServer, queue: string, patienceMs: number): Promise<void> {
  const count = async (): Promise<string | undefined> => (await server.ctl('list_queues', 'name', 'messages')).split('\n').find((line) => line.startsWith(`${queue}\t`))?.split('\t')[1];
  for (const untilMs = performance.now() + patienceMs; performance.now() < untilMs; await sleep(100)) if ((await count()) === '0') return;
  assert.equal(await count(), '0', 'all is acknowledged');
}

// --- sabotage ---------------------------------------------------------------------------------------------------------

/** A client that keeps something from the transport: `name` completes "a client that …". */
export interface TroubleSabotage {
  readonly name: string;
  /** Names of the cases that must notice. */
  readonly breaks: readonly string[];
  connection?(honest: AmqpConnection): Partial<AmqpConnection>;
  channel?(honest: AmqpChannel): Partial<AmqpChannel>;
}

const named = (pattern: RegExp): string[] => troubleCases.map(({ name }) => name).filter((name) => pattern.test(name));
/** Events of these names are not passed on. */
const deafTo = (...names: readonly string[]) => (honest: { on(event: string, listener: (detail?: any) => void): unknown }) => ({
  on: (event: string, listener: (detail?: any) => void) => honest.on(event, names.includes(event) ? () => {} : listener),
});

export const troubleSabotages: readonly TroubleSabotage[] = [
  {
    name: 'takes a nack for an ack',
    breaks: named(/full queue/),
    channel: (honest) => ({
      on(event, listener) {
        if (event === 'ack') honest.on('nack', listener);
        return event === 'nack' ? undefined : honest.on(event, listener);
      },
    }),
  },
  { name: 'says nothing of returns', breaks: named(/unroutable|made anew/), channel: deafTo('return') },
  { name: 'says nothing of an alarm', breaks: named(/in alarm/), connection: deafTo('blocked') },
  {
    name: 'says nothing of a consumer that was cancelled',
    breaks: named(/a queue that somebody deleted/),
    channel: (honest) => ({ consume: (queue, onMessage, options) => honest.consume(queue, (one) => one && onMessage(one), options) }),
  },
  { name: 'says nothing of a channel that was closed', breaks: named(/time-out|all is bound/), channel: deafTo('close', 'error') },
  { name: 'does not say why a channel was closed', breaks: named(/finds the exchange gone/), channel: deafTo('error') },
  {
    name: 'leaves the delivery limit at RabbitMQ 4’s default',
    breaks: named(/outlives/),
    channel: (honest) => ({
      assertQueue(queue, options) {
        const { arguments: given } = options as { arguments?: Record<string, unknown> };
        return honest.assertQueue(queue, { ...options, arguments: { ...given, ...(given?.['x-delivery-limit'] !== undefined && { 'x-delivery-limit': defaultDeliveryLimit }) } });
      },
    }),
  },
];

export function sabotaged(honest: AmqpConnection, { connection, channel }: Pick<TroubleSabotage, 'connection' | 'channel'>): AmqpConnection {
  const open = (how: 'createChannel' | 'createConfirmChannel') => async (): Promise<AmqpChannel> => {
    const opened = await honest[how]();
    return instead(opened, channel?.(opened) ?? {});
  };
  return instead(honest, { createChannel: open('createChannel'), createConfirmChannel: open('createConfirmChannel'), ...connection?.(honest) });
}
