import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { virtualClock } from '../../testing/clock.ts';
import type { AzureClient, AzureHandlers, AzureReceived } from './client.ts';
import { Clients } from './clients.ts';
import type { Sink } from './held.ts';
import { Links } from './links.ts';

const silentMs = 10_000;
const never = new Promise<never>(() => {});
const message = (sequenceNumber: number): AzureReceived => ({ body: 'x', sequenceNumber: { toString: () => `${sequenceNumber}`, subtract: () => 0 } });

/** SDK clients of a namespace in which something stands still, numbered as they were made. */
function ground(peek: (client: number) => Promise<readonly AzureReceived[]>) {
  const clock = virtualClock();
  const opened: number[] = [];
  const closed: number[] = [];
  const handlers: AzureHandlers[] = [];
  let made = 0;
  const make = (): AzureClient => {
    const number = ++made;
    const receiver = {
      subscribe(given: AzureHandlers) {
        opened.push(number);
        handlers.push(given);
        return { close: async () => {} };
      },
      peekMessages: () => peek(number),
      completeMessage: async () => {},
      close: async () => {},
    };
    return { createReceiver: () => receiver, close: async () => void closed.push(number) } as unknown as AzureClient;
  };
  const arrived: string[] = [];
  const sink: Sink = {
    arrived: (_source, one, _suspect, free) => {
      arrived.push(String(one.sequenceNumber));
      free();
    },
    lost: () => {},
    broken: (error) => assert.fail(String(error)),
    gone: () => assert.fail('it is there'),
    anew: () => links.want(10),
    hungry: () => true,
  };
  const clients = new Clients(make(), make, clock);
  const links: Links = new Links({ kind: 'event', topic: 'topic', name: 'subscription' }, { clients, sink, clock, silentMs, lockMs: 30_000, concurrency: 16 });
  links.want(10);
  return { clock, opened, closed, arrived, links, bring: (at: number, one: AzureReceived) => handlers[at]!.processMessage(one) };
}

describe('links to an entity', () => {
  it('stay open while nothing is there to be brought', async () => {
    const { clock, opened, links } = ground(async () => []);
    await clock.advance(20 * silentMs);
    assert.deepEqual(opened, [1]);
    await links.close();
  });

  it('are opened anew, over the same client, when they do not bring what is there', async () => {
    const { clock, opened, closed, links } = ground(async () => [message(7)]);
    await clock.advance(1.5 * silentMs);
    assert.deepEqual([opened, closed], [[1, 1], []]);
    await links.close();
  });

  it('are opened anew over another client when nothing answers, and the old one is closed', async () => {
    const { clock, opened, closed, links, arrived, bring } = ground((client) => (client === 1 ? never : Promise.resolve([])));
    await clock.advance(20 * silentMs);
    assert.deepEqual([opened, closed], [[1, 2], [1]]);
    await bring(1, message(8));
    assert.deepEqual(arrived, ['8']);
    await links.close();
  });

  it('give each next client twice the time while none answers', async () => {
    const { clock, opened, links } = ground(() => never);
    await clock.advance(600_000);
    assert.ok(opened.length >= 5 && opened.length <= 12, `${opened.length} clients in ten minutes`);
    await links.close();
  });

  it('are not asked after while messages come', async () => {
    const { clock, opened, links, bring } = ground(() => assert.fail('asked'));
    for (let n = 0; n < 10; n++) {
      await clock.advance(silentMs * 0.9);
      await bring(0, message(n));
    }
    assert.deepEqual(opened, [1]);
    await links.close();
  });

  it('are not asked after once they are closed', async () => {
    const { clock, opened, closed, links } = ground(() => assert.fail('asked'));
    await links.close();
    await clock.advance(20 * silentMs);
    assert.deepEqual([opened, closed], [[1], []]);
  });
});
