import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock } from '../../contract/clock.ts';
import type { AmqpMessage } from './client.ts';
import type { Link } from './link.ts';
import { Reader } from './reader.ts';

/** A reader over a channel that only notes what it is told: `+7` acknowledges 7, `+≤7` all up to it, `-7` gives it back. */
async function opened({ prefetch = 8, bytesMax = Infinity } = {}) {
  const told: string[] = [];
  const heavy: number[] = [];
  let deliver: (message: AmqpMessage | null) => void = () => {};
  let tag = 0;
  const channel = {
    on() {},
    prefetch: async () => {},
    async consume(_queue: string, onMessage: typeof deliver) {
      deliver = onMessage;
      return { consumerTag: 't' };
    },
    ack: ({ fields }: AmqpMessage, allUpTo: boolean) => told.push(`+${allUpTo ? '≤' : ''}${fields.deliveryTag}`),
    nack: ({ fields }: AmqpMessage) => told.push(`-${fields.deliveryTag}`),
    cancel: async () => {},
    close: async () => void told.push('closed'),
  };
  const reader = new Reader(
    'q',
    {
      clock: systemClock(),
      came() {},
      remember() {},
      isSuspect: () => false,
      unreadable: async () => {},
      heavy: (_, eachBytes) => heavy.push(eachBytes),
      ended() {},
    },
    true,
  );
  await reader.open({ channel: async () => channel } as unknown as Link, { prefetch, bytesMax });
  return {
    reader,
    told,
    heavy,
    come(count: number, bytes = 10) {
      for (let i = 0; i < count; i++) {
        const fields = { deliveryTag: ++tag, redelivered: false, exchange: '', routingKey: '' };
        deliver({ content: Buffer.alloc(bytes), fields, properties: { appId: 's', headers: {} } });
      }
    },
  };
}

describe('a reader', () => {
  it('acknowledges what it has settled with one frame', async () => {
    const { reader, told, come } = await opened();
    come(5);
    const held = reader.take(5);
    reader.settle(held.slice(0, 3));
    reader.settle(held.slice(3));
    assert.deepEqual(told, ['+≤3', '+≤5']);
  });

  it('lets what lies behind something unsettled wait for it', async () => {
    const { reader, told, come } = await opened();
    come(6);
    const held = reader.take(6);
    reader.settle(held.slice(2, 4));
    reader.settle(held.slice(5));
    assert.deepEqual(told, []);
    reader.settle(held.slice(0, 2));
    assert.deepEqual(told, ['+≤4']);
    reader.settle(held.slice(4, 5));
    assert.deepEqual(told, ['+≤4', '+≤6']);
  });

  it('acknowledges one by one before half of the prefetch waits', async () => {
    const { reader, told, come } = await opened();
    come(8);
    const held = reader.take(8);
    reader.settle(held.slice(1, 5));
    assert.deepEqual(told, []);
    reader.settle(held.slice(5, 6));
    assert.deepEqual(told, ['+2', '+3', '+4', '+5', '+6']);
    reader.settle(held.slice(6, 7));
    reader.settle(held.slice(0, 1));
    assert.deepEqual(told.slice(5), ['+≤7']);
    reader.settle(held.slice(7));
    assert.deepEqual(told.slice(6), ['+≤8']);
  });

  it('with a prefetch of one acknowledges each', async () => {
    const { reader, told, come } = await opened({ prefetch: 1 });
    come(2);
    const held = reader.take(2);
    reader.settle(held.slice(1));
    assert.deepEqual(told, ['+2']);
  });

  it('acknowledges all that it has settled before it closes', async () => {
    const { reader, told, come } = await opened();
    come(3);
    reader.settle(reader.take(3).slice(1, 2));
    await reader.close();
    assert.deepEqual(told, ['+2', 'closed']);
  });

  it('takes one message, however large', async () => {
    const { reader, heavy, come } = await opened({ bytesMax: 100 });
    come(1, 500);
    assert.deepEqual([heavy, reader.take(1).length], [[], 1]);
  });

  it('hands out large messages a few at a time', async () => {
    const { reader, come } = await opened();
    come(5, 100);
    const counts = Array.from({ length: 4 }, () => reader.take(10, 150).length);
    assert.deepEqual(counts, [2, 2, 1, 0]);
    come(5, 100);
    assert.equal(reader.take(10).length, 5);
  });

  it('tells when it has too many bytes in hand, settled ones not counted', async () => {
    const { reader, told, heavy, come } = await opened({ bytesMax: 100 });
    come(8);
    reader.settle(reader.take(4));
    come(4, 15);
    assert.deepEqual(heavy, []); // 40 + 60
    come(1, 25);
    assert.deepEqual(heavy, [125 / 9]);
    reader.share(); // as who is told does
    come(1, 100); // on its way meanwhile
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(heavy.length, 1);
    assert.equal(told.filter((one) => one.startsWith('-')).length, 10);
    assert.equal(told.at(-1), 'closed');
  });
});
