/** A reader that leaves while messages are on their way to it, at a broker. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import amqplib from 'amqplib';
import { systemClock } from '../../src/contract/clock.ts';
import { Link } from '../../src/transports/rabbitmq/link.ts';
import { Reader, type ReaderEvents } from '../../src/transports/rabbitmq/reader.ts';
import { Recollection } from '../../src/transports/rabbitmq/recollection.ts';
import { needs } from '../../../../test/support/needs.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';

const { skip } = needs('rabbitmq');
const count = 2_000;

describe('a reader that leaves RabbitMQ', { skip }, () => {
  let server: RabbitServer;
  before(async () => {
    server = await rabbitServer([]);
  });
  after(() => server?.close());

  it('knows what was on its way then, when it comes again', async () => {
    const clock = systemClock();
    const link = new Link(() => amqplib.connect(server.url, { noDelay: true }), clock);
    const setup = await link.confirmChannel();
    await setup.assertQueue('leaving', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    for (let n = 0; n < count; n++) setup.publish('', 'leaving', Buffer.alloc(500), { persistent: true, messageId: String(n), appId: 'desk', type: 'x' });
    await setup.waitForConfirms();

    const recollection = new Recollection();
    let [ended, late] = [false, 0];
    const events: ReaderEvents = {
      clock,
      came: () => first.leave(),
      remember(entries) {
        if (ended) late += entries.length;
        recollection.remember(entries.flatMap(({ message, delivery }) => (delivery.suspect ? [] : message)));
      },
      isSuspect: (message) => !recollection.knows(message),
      unreadable: () => assert.fail('all of it can be read'),
      heavy() {},
      ended(_reader, _how, inHand) {
        this.remember(inHand);
        ended = true;
      },
    };
    const first = new Reader('leaving', events, true);
    await first.open(link, { prefetch: 1_000, bytesMax: Infinity });
    while (!ended) await clock.turn();
    await first.close();

    const all = Promise.withResolvers<void>();
    const second: Reader = new Reader('leaving', { ...events, came: () => second.buffer.length === count && all.resolve() }, true);
    await second.open(link, { prefetch: count, bytesMax: Infinity });
    await all.promise;
    const [again, suspect] = [second.buffer.filter(({ delivery }) => delivery.redelivered), second.buffer.filter(({ delivery }) => delivery.suspect)];
    assert.ok(late > 0, 'something was on its way');
    assert.ok(again.length >= late, 'and came again');
    assert.equal(suspect.length, 0);
    await link.close();
  });
});
