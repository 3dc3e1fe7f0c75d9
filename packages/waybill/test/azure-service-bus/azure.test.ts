/** What the suite does not ask: rights, entities that are there already, other senders, sessions whose holder died. */
import './long-timers.ts';
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { ServiceBusClient } from '@azure/service-bus';
import { createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { systemClock } from '../../src/contract/clock.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import type { Consumer, Delivery, TransportSession } from '../../src/contract/transport.ts';
import { memory } from '../../src/stores/memory/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import { labels, message } from '../../src/testing/conformance/message.ts';
import { to } from '../../src/testing/conformance/transport/world.ts';
import { azureServiceBus } from '../../src/transports/azure-service-bus/index.ts';
import { Priced } from '../support/contracts.ts';
import { message as azureMessage, sdkAdministration, sdkClient } from './sdk.ts';
import { startStandIn, type StandIn } from './stand-in/index.ts';
import { until } from './until.ts';
import { quiet } from './whole-bus.ts';

const prices = to('basket.prices');
const byKey = to('basket.prices', { order: 'by-key' });
const signal = new AbortController().signal;
const code = (wanted: string) => (error: unknown) => WaybillError.is(error, wanted as never) || assert.fail(String(error));

interface Instance {
  readonly session: TransportSession;
  readonly client: ServiceBusClient;
  readonly warnings: () => unknown[];
}

/** What to close after a test, the newest first: with its broker away the SDK takes a minute to close. */
const endsOf = new WeakMap<TestContext, (() => Promise<void>)[]>();

async function start(t: TestContext, standIn: StandIn, migrate: 'auto' | 'check' = 'auto'): Promise<Instance> {
  const reports: { name: string; detail: unknown }[] = [];
  const host = recordingHost('basket', systemClock(), reports, migrate);
  const client = sdkClient(standIn, 3_000);
  const ends = endsOf.get(t)!;
  ends.unshift(() => client.close());
  const session = await azureServiceBus(client, { administration: sdkAdministration(standIn) }).connect({ ...host, store: await memory().open(host) });
  ends.unshift(() => session.close());
  return { session, client, warnings: () => reports.filter(({ name }) => name === 'warn') };
}

async function place(t: TestContext): Promise<StandIn> {
  const standIn = await startStandIn();
  const ends = [() => standIn.close()];
  endsOf.set(t, ends);
  t.after(async () => {
    for (const end of ends) await end();
  });
  return standIn;
}

async function take(consumer: Consumer, count: number, maxMs = 10_000): Promise<Delivery[]> {
  const got: Delivery[] = [];
  const untilMs = Date.now() + maxMs;
  while (got.length < count && Date.now() < untilMs) {
    try {
      got.push(...(await consumer.receive(count - got.length, { waitMs: 1_000, signal })));
    } catch (error) {
      if (!WaybillError.is(error, 'TRANSPORT_UNREACHABLE')) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50)); // as the inbox does
    }
  }
  assert.equal(got.length, count, labels(got).join());
  return got;
}

describe('azure-service-bus', { concurrency: 4 }, () => {
  it('looks for entities where it may not manage, and works with those that are there', async (t) => {
    const standIn = await place(t);
    await (await start(t, standIn)).session.declare(prices);
    standIn.deny(true);
    const { session, warnings } = await start(t, standIn);
    assert.equal(warnings().length, 1);
    await session.declare(prices);
    await assert.rejects(session.declare(to('basket.others')), code('TOPOLOGY_MISSING'));
    await assert.rejects(session.listen(() => {}), code('CAPABILITY_MISSING'));
    await assert.rejects(session.remove('basket.prices', 'drop'), code('CAPABILITY_MISSING'));
    await session.send([message('a')]);
    assert.deepEqual(labels(await take(await session.consume(prices), 1)), ['a']);
  });

  it("creates nothing with migrate: 'check', and says what is missing", async (t) => {
    const standIn = await place(t);
    await assert.rejects(start(t, standIn, 'check'), code('TOPOLOGY_MISSING'));
    assert.equal(standIn.namespace.topics.size, 0);
  });

  it('refuses a subscription that cannot be made to fit', async (t) => {
    const { session } = await start(t, await place(t));
    await session.declare(prices);
    await assert.rejects(session.declare(byKey), code('TOPOLOGY_CONFLICT'));
  });

  it('takes CloudEvents of other senders, by either spelling of the attributes', async (t) => {
    const { session, client } = await start(t, await place(t));
    await session.declare(prices);
    const sender = client.createSender('waybill/events');
    for (const prefix of ['cloudEvents_', 'cloudEvents:']) {
      const properties = { [`${prefix}specversion`]: '1.0', [`${prefix}id`]: '1', [`${prefix}source`]: 'elsewhere', [`${prefix}type`]: 'catalog.price-changed.v1' };
      await sender.sendMessages(azureMessage(Buffer.from('{}'), { applicationProperties: properties, contentType: 'application/json' }));
    }
    for (const { headers } of await take(await session.consume(prices), 2)) {
      assert.deepEqual(headers, { 'ce-specversion': '1.0', 'ce-id': '1', 'ce-source': 'elsewhere', 'ce-type': 'catalog.price-changed.v1', 'content-type': 'application/json' });
    }
  });

  it('suspects what was in a session whose holder died, and nothing of one that was left in peace', async (t) => {
    const standIn = await place(t);
    const [one, two, three] = [await start(t, standIn), await start(t, standIn), await start(t, standIn)];
    await one.session.declare(byKey);
    await one.session.send([message('x1', { key: 'x' }), message('x2', { key: 'x' })]);
    await take(await one.session.consume(byKey), 1);
    await one.client.close(); // its session ends, but nobody says goodbye
    const second = await two.session.consume(byKey);
    const got = await take(second, 2);
    assert.deepEqual(got.map(({ suspect, redelivered }) => [suspect, redelivered]), [[true, true], [true, true]]);
    await second.settle(got);
    await second.close();
    await two.session.send([message('x3', { key: 'x' })]);
    const [last] = await take(await three.session.consume(byKey), 1);
    assert.deepEqual([labels([last!]), last!.suspect, last!.redelivered], [['x3'], false, false]);
  });

  it('tells of what Azure itself has given up, each time, and leaves it there', async (t) => {
    const standIn = await place(t);
    const bus = createBus({ service: 'basket', store: 'sqlite::memory:', transport: azureServiceBus(standIn.url), logger: quiet });
    endsOf.get(t)!.unshift(() => bus.stop({ drainMs: 0 }));
    bus.subscribe(Priced, { order: 'by-key' }, async () => {});
    await bus.start();
    const findings = async () => (await operations(bus).doctor()).filter(({ code }) => code === 'DEAD_LETTERED_BY_BROKER').map(({ message }) => message);
    assert.deepEqual(await findings(), []);
    const sender = (await start(t, standIn)).client.createSender('waybill/events');
    await sender.sendMessages(azureMessage('no session', { subject: Priced.type, applicationProperties: { cloudEvents_id: 'x' } }));
    for (const _ of [1, 2, 3]) {
      const [message, ...more] = await findings();
      assert.match(message!, new RegExp(`waybill/events holds 1: ${Priced.type} x \\(Session id is null\\.\\)$`));
      assert.deepEqual(more, []);
    }
  });

  it('tells of a subscription that somebody has removed', async (t) => {
    const standIn = await place(t);
    const bus = createBus({ service: 'basket', store: 'sqlite::memory:', transport: azureServiceBus(standIn.url), logger: quiet });
    endsOf.get(t)!.unshift(() => bus.stop({ drainMs: 0 }));
    bus.subscribe(Priced, async () => {});
    await bus.start();
    const [name] = (await operations(bus).subscriptions.list()).map((one) => one.name);
    standIn.namespace.removeSubscription('waybill/events', name!);
    assert.ok((await operations(bus).doctor()).some(({ code, severity }) => code === 'QUEUE_MISSING' && severity === 'unsafe'));
  });

  it('drops what it sends twice where the topic detects duplicates', async (t) => {
    const standIn = await place(t);
    standIn.namespace.createTopic('waybill/events', { duplicatesMs: 60_000 });
    const { session } = await start(t, standIn);
    await session.declare(prices);
    for (const label of ['a', 'a', 'b']) await session.send([message(label)]);
    assert.deepEqual(labels(await take(await session.consume(prices), 2)), ['a', 'b']);
  });

  for (const declaration of [prices, byKey]) {
    it(`survives a service that is rude to who stops receiving, order ${declaration.order}`, async (t) => {
      const standIn = await place(t);
      const { session } = await start(t, standIn);
      await session.declare(declaration);
      await session.send([message('a')]);
      const consumer = await session.consume(declaration);
      await consumer.settle(await take(consumer, 1));
      assert.deepEqual(await consumer.receive(1, { waitMs: 200, signal }), []); // credit is out
      standIn.faults.rude = true;
      await consumer.close(); // a rejection that nobody handles would end this test
      standIn.faults.clear();
    });
  }

  for (const step of ['attach', 'token'] as const) {
    for (const declaration of [prices, byKey]) {
      it(`does without the SDK where that stands still: cut at ${step}, order ${declaration.order}`, async (t) => {
        const standIn = await place(t);
        const reports: { name: string; detail: unknown }[] = [];
        const host = recordingHost('basket', systemClock(), reports);
        const session = await azureServiceBus(standIn.url, { timeoutMs: 500 }).connect({ ...host, store: await memory().open(host) });
        endsOf.get(t)!.unshift(() => session.close());
        await session.declare(declaration);
        const consumer = await session.consume(declaration);
        await session.send([message('a')]);
        await consumer.settle(await take(consumer, 1));
        const sender = await start(t, standIn);
        let cuts = 0;
        standIn.cut();
        standIn.faults.cutAt = (at) => at === step && cuts++ < 1;
        const waiting = take(consumer, 1, 30_000); // half of what the SDK takes
        await until(() => cuts > 0);
        standIn.faults.clear();
        await sender.session.send([message('b')]);
        assert.deepEqual(labels(await waiting), ['b']);
      });
    }
  }

  it('keeps a lock for as long as the message is in hand', async (t) => {
    const standIn = await place(t);
    await sdkAdministration(standIn).createTopic('waybill/events');
    standIn.namespace.createSubscription('waybill/events', 'basket.prices', { lockMs: 1_200 });
    const { session } = await start(t, standIn);
    await session.declare(prices);
    await session.send([message('a')]);
    const consumer = await session.consume(prices);
    const got = await take(consumer, 1);
    await new Promise((resolve) => setTimeout(resolve, 2_500)); // two locks long
    const { entity } = standIn.namespace.subscription('waybill/events', 'basket.prices');
    assert.deepEqual([...entity.messages.values()].map(({ count, lock }) => [count, lock !== undefined]), [[0, true]]);
    await consumer.settle(got);
    await consumer.close();
    assert.equal(entity.messages.size, 0);
  });
});
