import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock } from '../../contract/clock.ts';
import type { AmqpMessage } from './client.ts';
import { type ConsumerHost, QueueConsumer } from './consumer.ts';
import { Recollection } from './recollection.ts';

/** A consumer of one queue with messages that nobody has received, by a clock whose timers come late when the process stood still. */
async function consumer() {
  let nowMs = 0;
  let timers: { readonly atMs: number; readonly fn: () => void }[] = [];
  let deliver: (message: AmqpMessage | null) => void = () => {};
  const told: string[] = [];
  const channel = {
    on() {},
    prefetch: async () => {},
    async consume(_queue: string, onMessage: typeof deliver) {
      deliver = onMessage;
      return { consumerTag: 't' };
    },
    ack() {},
    nack: () => told.push('given back'),
    cancel: async () => void told.push('cancelled'),
    close: async () => {},
  };
  const host = {
    link: { channel: async () => channel, together() {} },
    clock: {
      ...systemClock(),
      monotonic: () => nowMs,
      random: () => 0.5,
      after(ms: number, fn: () => void) {
        const timer = { atMs: nowMs + ms, fn };
        timers.push(timer);
        return () => void (timers = timers.filter((other) => other !== timer));
      },
    },
    declaration: { name: 'desk.all', bindings: [] },
    queues: ['desk.all'],
    prefetch: 10,
    recollection: new Recollection(),
    members: undefined,
    tell() {},
    onClose() {},
  } as unknown as ConsumerHost;
  const it = new QueueConsumer(host);
  await it.open();
  for (let tag = 1; tag <= 3; tag++) {
    deliver({ content: Buffer.alloc(10), fields: { deliveryTag: tag, redelivered: false, exchange: '', routingKey: '' }, properties: { appId: 's', messageId: `m${tag}`, headers: {} } });
  }
  const turn = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  };
  return {
    told,
    /** Timers come when they are due. */
    async passes(ms: number) {
      for (const endMs = nowMs + ms; ; ) {
        const next = timers.toSorted((one, other) => one.atMs - other.atMs)[0];
        if (next === undefined || next.atMs > endMs) return void (nowMs = endMs);
        timers = timers.filter((other) => other !== next);
        nowMs = Math.max(nowMs, next.atMs);
        next.fn();
        await turn();
      }
    },
    standsStill: (ms: number) => void (nowMs += ms),
  };
}

describe('a consumer of RabbitMQ', () => {
  it('leaves what its worker does not ask for to other instances', async () => {
    const { told, passes } = await consumer();
    await passes(4_000);
    assert.deepEqual(told, []);
    await passes(4_000);
    assert.deepEqual(told, ['cancelled', 'given back', 'given back', 'given back']);
  });

  it('keeps what it has when the whole process stood still: nobody could ask', async () => {
    const { told, passes, standsStill } = await consumer();
    await passes(1_000);
    standsStill(20_000);
    await passes(4_000);
    assert.deepEqual(told, []);
    await passes(4_000);
    assert.equal(told[0], 'cancelled', 'the worker had its time again');
  });
});
