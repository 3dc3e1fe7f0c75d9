/** What the suite does not ask: rights, entities that are there already, other senders, sessions whose holder died. */
import './long-timers.ts';
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { systemClock } from '../../src/contract/clock.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import type { Consumer } from '../../src/contract/transport.ts';
import { memory } from '../../src/stores/memory/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import { labels, message } from '../../src/testing/conformance/message.ts';
import { to } from '../../src/testing/conformance/transport/world.ts';
import { azureServiceBus } from '../../src/transports/azure-service-bus/index.ts';
import { Priced, Ship } from '../support/contracts.ts';
import { endsOf, type Instance, place, sendInsisting, signal, start, take } from './instances.ts';
import { message as azureMessage, sdkAdministration } from './sdk.ts';
import { until } from './until.ts';
import { quiet } from './whole-bus.ts';

const prices = to('basket.prices');
const byKey = to('basket.prices', { order: 'by-key' });
const code = (wanted: string) => (error: unknown) => WaybillError.is(error, wanted as never) || assert.fail(String(error));

describe('azure-service-bus', { concurrency: 4 }, () => {
  for (const status of [401, 403] as const) {
    it(`looks for entities where it may not manage (${status}), and works with those that are there`, async (t) => {
      const standIn = await place(t);
      await (await start(t, standIn)).session.declare(prices);
      standIn.deny(true, status);
      const { session, warnings } = await start(t, standIn);
      assert.equal(warnings().length, 1);
      await session.declare(prices);
      await assert.rejects(session.declare(to('basket.others')), { code: 'TOPOLOGY_MISSING', message: status === 401 ? /claims are required/ : /prevented to connect/ });
      await assert.rejects(session.listen(() => {}), code('CAPABILITY_MISSING'));
      await assert.rejects(session.remove('basket.prices', 'drop'), code('CAPABILITY_MISSING'));
      await session.send([message('a')]);
      assert.deepEqual(labels(await take(await session.consume(prices), 1)), ['a']);
    });
  }

  it('makes the same entities once, however many instances start at once, and again', async (t) => {
    const standIn = await place(t);
    const taking = { ...prices, bindings: [...prices.bindings, { type: 'catalog.removed.v1', kind: 'event' as const }, { type: 'basket.clear.v1', kind: 'command' as const }] };
    const instances = await Promise.all([1, 2, 3].map(() => start(t, standIn)));
    await Promise.all(instances.map(({ session }) => session.declare(taking)));
    await instances[0]!.session.declare(taking);
    const rules = standIn.namespace.subscription('waybill/events', 'basket.prices').rules;
    assert.equal(rules.size, 6);
    for (const { filter } of rules.values()) assert.ok('correlation' in filter); // never SQL, and nothing that takes everything
    assert.deepEqual([...standIn.namespace.queues.keys()], ['waybill/commands/basket/basket.clear.v1']);
  });

  it("creates nothing with migrate: 'check', and says what is missing", async (t) => {
    const standIn = await place(t);
    await assert.rejects(start(t, standIn, { migrate: 'check' }), code('TOPOLOGY_MISSING'));
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
      assert.match(message!, new RegExp(`waybill/events holds 1: ${Priced.type} x \\(Session id is null\\., delivered 0 times\\)$`));
      assert.deepEqual(more, []);
    }
  });

  it('tells of a subscription that somebody has removed', async (t) => {
    const standIn = await place(t);
    const { session } = await start(t, standIn);
    await session.declare(prices); // and nobody receives, who would make it again
    standIn.namespace.removeSubscription('waybill/events', 'basket.prices');
    assert.ok((await session.examine!()).some(({ code, severity }) => code === 'QUEUE_MISSING' && severity === 'unsafe'));
  });

  for (const declaration of [prices, byKey]) {
    it(`makes again what somebody deletes by hand, once, and goes on (order ${declaration.order})`, async (t) => {
      const standIn = await place(t);
      const instances = [await start(t, standIn), await start(t, standIn)];
      const taking = { ...declaration, bindings: [...declaration.bindings, { type: 'basket.clear.v1', kind: 'command' as const }] };
      const consumers: Consumer[] = [];
      for (const { session } of instances) {
        await session.declare(taking);
        consumers.push(await session.consume(taking));
      }
      const got = new Set<string>();
      const ended = new AbortController();
      const pulling = consumers.map(async (consumer) => {
        while (!ended.signal.aborted) {
          const some = await consumer.receive(10, { waitMs: 500, signal: ended.signal }).catch(() => setTimeout(50, []));
          for (const label of labels(some)) got.add(label);
          await consumer.settle(some);
        }
      });
      const [{ session }] = instances as [Instance];
      const made = () => instances.flatMap((one) => one.reports('queue-made'));
      const command = (label: string) => message(label, { kind: 'command', recipient: 'basket', type: 'basket.clear.v1', key: 'k' });
      await sendInsisting(session, [message('before', { key: 'k' }), command('before too')]);
      await until(() => got.size === 2);
      standIn.namespace.removeSubscription('waybill/events', 'basket.prices');
      await until(() => made().length === 1);
      standIn.namespace.removeQueue('waybill/commands/basket/basket.clear.v1');
      await until(() => made().length === 2);
      await sendInsisting(session, [message('after', { key: 'k' }), command('after too')]);
      await until(() => got.size === 4, 100_000); // who waits for a session of the old queue asks anew after a minute
      assert.deepEqual(made(), [{ subscription: 'basket.prices' }, { subscription: 'basket.prices' }]);
      assert.deepEqual(
        instances.flatMap((one) => one.warnings()).flatMap((warning) => (warning as { detail: { details: { entities: string[] } } }).detail.details.entities).toSorted(),
        ['the queue waybill/commands/basket/basket.clear.v1', 'the subscription basket.prices of the topic waybill/events'],
      );
      ended.abort();
      await Promise.all(pulling);
    });
  }

  it('does not make again what another instance removed or renamed, until it is declared again', async (t) => {
    const standIn = await place(t);
    const [one, two] = [await start(t, standIn), await start(t, standIn)];
    const gone = async (name: string, end: () => Promise<void>): Promise<void> => {
      await two.session.declare(to(name));
      const consumer = await two.session.consume(to(name));
      const waiting = consumer.receive(1, { waitMs: 500, signal });
      await end();
      assert.deepEqual(await waiting, []);
      await until(() => !consumer.active);
      assert.equal(standIn.namespace.topics.get('waybill/events')!.subscriptions.has(name), false);
    };
    await gone('basket.prices', () => one.session.remove('basket.prices', 'drop'));
    await gone('basket.old', () => one.session.declare(to('basket.new', { formerly: ['basket.old'] })));
    assert.deepEqual([...one.warnings(), ...two.warnings()], []);
    await one.session.declare(prices);
    const consumer = await one.session.consume(prices);
    const taking = take(consumer, 1);
    standIn.namespace.removeSubscription('waybill/events', 'basket.prices');
    await until(() => one.reports('queue-made').length === 1);
    await sendInsisting(two.session, [message('a')]);
    assert.deepEqual(labels(await taking), ['a']);
  });

  it('goes on asking where it may make nothing, until somebody has made it again', async (t) => {
    const standIn = await place(t);
    const [maker, user] = [await start(t, standIn), await start(t, standIn, { migrate: 'check' })];
    await maker.session.declare(prices);
    await user.session.declare(prices);
    const consumer = await user.session.consume(prices);
    const waiting = consumer.receive(1, { waitMs: 20_000, signal });
    standIn.namespace.removeSubscription('waybill/events', 'basket.prices');
    await assert.rejects(waiting, code('TOPOLOGY_MISSING'));
    await maker.session.declare(prices);
    await sendInsisting(maker.session, [message('a')]);
    assert.deepEqual(labels(await take(consumer, 1)), ['a']);
  });

  for (const detects of [true, false]) {
    it(`sends the same under the same id, ${detects ? 'which a topic that detects duplicates drops' : 'of which a topic as we make it drops nothing'}`, async (t) => {
      const standIn = await place(t);
      if (detects) standIn.namespace.createTopic('waybill/events', { duplicatesMs: 60_000 });
      const { session } = await start(t, standIn);
      await session.declare(prices);
      for (const label of ['a', 'a', 'b']) await session.send([message(label)]);
      const expected = detects ? ['a', 'b'] : ['a', 'a', 'b'];
      assert.deepEqual(labels(await take(await session.consume(prices), expected.length)), expected);
    });
  }

  it('has a topology that names what stands at the broker', async (t) => {
    const standIn = await place(t);
    const bus = createBus({ service: 'orders', store: 'sqlite::memory:', transport: azureServiceBus(standIn.url, { prefix: 'shop' }), logger: quiet });
    endsOf.get(t)!.unshift(() => bus.stop({ drainMs: 0 }));
    bus.subscribe(Priced, { name: 'prices', order: 'by-key' }, async () => {});
    bus.handle(Ship, async () => {});
    await bus.start();
    assert.deepEqual((await operations(bus).topology()).takes, [
      { subscription: 'orders.prices', kind: 'event', types: [Priced.type], sources: [], places: ['the subscription shop/events/orders.prices'] },
      { subscription: 'orders.orders.ship', kind: 'command', types: [Ship.type], sources: [], places: ['the queue shop/commands/orders/orders.ship.v1'] },
    ]);
  });

  it('has names that Azure takes for whatever ours are, and what is sent to them arrives', async (t) => {
    const standIn = await place(t); // which takes no others
    const { session } = await start(t, standIn);
    const odd = ['ü.世界/$x', 'A b', `${'long.'.repeat(60)}v1`, `${'long.'.repeat(60)}v2`, '$Default', '-', '...', 'x'.repeat(51), 'Ä'.repeat(300)];
    for (const [n, type] of odd.entries()) {
      const declaration = { ...prices, name: `basket.${type}`, bindings: [{ type, kind: 'event' as const }, { type, kind: 'command' as const }] };
      await session.declare(declaration);
      const outcomes = await session.send([message(`event ${n}`, { type, headers: { 'ce-type': type } }), message(`command ${n}`, { type, kind: 'command', recipient: 'basket', headers: { 'ce-type': type } })]);
      assert.deepEqual(outcomes.map(({ kind }) => kind), ['stored', 'stored'], type);
      const consumer = await session.consume(declaration);
      const got = await take(consumer, 2);
      assert.deepEqual(labels(got).sort(), [`command ${n}`, `event ${n}`], type);
      await consumer.settle(got);
      await consumer.close();
    }
    assert.equal(standIn.namespace.topic('waybill/events').subscriptions.size, odd.length);
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
        await sendInsisting(session, [message('a')]);
        await consumer.settle(await take(consumer, 1));
        const sender = await start(t, standIn);
        let cuts = 0;
        standIn.cut();
        standIn.faults.cutAt = (at) => at === step && cuts++ < 1;
        const waiting = take(consumer, 1, 30_000); // half of what the SDK takes
        await until(() => cuts > 0);
        standIn.faults.clear();
        await sendInsisting(sender.session, [message('b')]);
        assert.deepEqual(labels(await waiting), ['b']);
      });
    }
  }

  for (const declaration of [prices, byKey]) {
    it(`keeps the locks of all that is in hand for as long as it is, order ${declaration.order}`, async (t) => {
      const standIn = await place(t);
      const many = 100;
      const lockMs = 4_000;
      await sdkAdministration(standIn).createTopic('waybill/events');
      standIn.namespace.createSubscription('waybill/events', 'basket.prices', { lockMs, requiresSession: declaration.order === 'by-key' });
      const { entity } = standIn.namespace.subscription('waybill/events', 'basket.prices');
      const { session } = await start(t, standIn);
      await session.declare(declaration);
      await session.send(Array.from({ length: many }, (_, n) => message(String(n), { key: `k${n % 8}` })));
      const consumer = await session.consume(declaration);
      const got = await take(consumer, many);
      /** Of the message, or of its session. */
      const endOf = (stored: (typeof all)[number]): number => (declaration.order === 'by-key' ? entity.session(String(stored.message.group_id)).untilMs : (stored.lock?.untilMs ?? 0));
      const all = [...entity.messages.values()];
      const first = Math.max(...all.map(endOf));
      await until(() => all.every((stored) => endOf(stored) > first + lockMs)); // each has ended twice by then, if nobody renewed it
      assert.deepEqual(all.filter(({ count, lock }) => count > 0 || !lock), []);
      await consumer.settle(got);
      await consumer.close();
      assert.equal(entity.messages.size, 0);
    });
  }
});
