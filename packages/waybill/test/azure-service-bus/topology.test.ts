/** What is told of the namespace beforehand beside what stands there: settings and filters, too; with rights and without. */
import './long-timers.ts';
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { azureServiceBus, type AzureServiceBusOptions } from 'waybill/transports/azure-service-bus';
import { Priced, Ship } from '../support/contracts.ts';
import { endsOf, place } from './instances.ts';
import { sdkAdministration } from './sdk.ts';
import type { StandIn } from './stand-in/index.ts';
import { quiet } from './whole-bus.ts';

function orders(t: TestContext, { url }: Pick<StandIn, 'url'>, options: AzureServiceBusOptions & { name?: string; formerly?: string[] } = {}) {
  const { name = 'prices', formerly = [], ...rest } = options;
  const bus = createBus({ service: 'orders', store: 'sqlite::memory:', transport: azureServiceBus(url, rest), logger: quiet, migrate: 'check' });
  endsOf.get(t)?.unshift(() => bus.stop({ drainMs: 0 })); // without a stand-in it opens nothing
  bus.subscribe(Priced, { name, formerly, order: 'by-key' }, async () => {});
  bus.handle(Ship, async () => {});
  return operations(bus);
}

const statesOf = ({ entities }: Awaited<ReturnType<ReturnType<typeof orders>['topology']>>) => new Set(entities.map(({ state }) => state));

describe('the topology at Azure Service Bus', { concurrency: 4 }, () => {
  it('is told without asking anybody: a topic, subscriptions with their rules, queues, and the settings of each', async (t) => {
    const { entities } = await orders(t, { url: 'sb://Root:c2VjcmV0@localhost:1' }, { prefix: 'shop', lockMs: 60_000 }).topology();
    const settings = { requiresSession: true, lockDuration: 'PT60S', maxDeliveryCount: 500 };
    const commands = { ...settings, requiresSession: false };
    assert.deepEqual(entities.filter(({ name }) => !name.includes('heartbeat')), [
      { kind: 'topic', name: 'shop/events', subscription: undefined, settings: {} },
      { kind: 'subscription', name: 'shop/events/orders.prices', subscription: 'orders.prices', settings },
      { kind: 'rule', name: `shop/events/orders.prices/${Priced.type}`, subscription: 'orders.prices', settings: { subject: Priced.type } },
      { kind: 'rule', name: `shop/events/orders.prices/${Priced.type}_ce`, subscription: 'orders.prices', settings: { cloudEvents_type: Priced.type } },
      { kind: 'rule', name: `shop/events/orders.prices/${Priced.type}_ce1`, subscription: 'orders.prices', settings: { 'cloudEvents:type': Priced.type } },
      { kind: 'queue', name: 'shop/commands/orders/orders.ship.v1', subscription: 'orders.orders.ship', settings: commands },
      { kind: 'queue', name: 'shop/commands/orders/waybill.history.v1', subscription: 'orders.$history', settings: commands },
    ]);
  });

  it('is applied by a bus that itself creates nothing, and is what a start makes', async (t) => {
    const standIn = await place(t);
    const { topology, applyTopology } = orders(t, standIn);
    assert.deepEqual(statesOf(await topology({ compare: true })), new Set(['missing']));
    assert.equal(standIn.namespace.topics.size, 0, 'looking made nothing');
    assert.deepEqual(await applyTopology(), { left: [] });
    await applyTopology();
    assert.deepEqual(statesOf(await topology({ compare: true })), new Set(['there']));
    const before = await topology();
    const bus = createBus({ service: 'orders', store: 'sqlite::memory:', transport: azureServiceBus(standIn.url), logger: quiet });
    endsOf.get(t)!.unshift(() => bus.stop({ drainMs: 0 }));
    bus.subscribe(Priced, { name: 'prices', order: 'by-key' }, async () => {});
    bus.handle(Ship, async () => {});
    await bus.start();
    const stands = [...standIn.namespace.topics.keys(), ...standIn.namespace.queues.keys()].toSorted();
    assert.deepEqual(stands, before.entities.filter(({ kind }) => kind === 'topic' || kind === 'queue').map(({ name }) => name).toSorted());
  });

  it('tells what was made otherwise: a lock, a session, a filter, another owner', async (t) => {
    const standIn = await place(t);
    const administration = sdkAdministration(standIn);
    await administration.createTopic('waybill/events');
    await administration.createSubscription('waybill/events', 'orders.prices', {
      requiresSession: false, lockDuration: 'PT1M', maxDeliveryCount: 500, userMetadata: 'orders.elsewhere',
      defaultRuleOptions: { name: Priced.type, filter: { sqlExpression: '1=1' } },
    });
    const { entities } = await orders(t, standIn, { lockMs: 60_000 }).topology({ compare: true });
    const [subscription, rule, other] = entities.slice(1);
    assert.deepEqual([subscription!.state, subscription!.detail], ['different', 'it belongs to orders.elsewhere, requiresSession is false'], 'a minute is sixty seconds');
    assert.equal(rule!.state, 'different');
    assert.match(rule!.detail!, /1=1/);
    assert.equal(other!.state, 'missing');
  });

  for (const status of [401, 403] as const) {
    it(`is looked at over AMQP where the administration refuses (${status}), which shows neither settings nor rules`, async (t) => {
      const standIn = await place(t);
      await orders(t, standIn).applyTopology();
      standIn.deny(true, status);
      const { topology, applyTopology } = orders(t, standIn);
      for (const { kind, state } of (await topology({ compare: true })).entities) assert.equal(state, kind === 'rule' ? 'unseen' : 'there');
      await applyTopology(); // all of it is there
      standIn.namespace.removeSubscription('waybill/events', 'orders.prices');
      assert.ok((await topology({ compare: true })).entities.some(({ kind, state }) => kind === 'subscription' && state === 'missing'));
      await assert.rejects(applyTopology(), { code: 'TOPOLOGY_MISSING' });
    });
  }

  it('leaves to the start what takes over from a former name, as long as that is there', async (t) => {
    const standIn = await place(t);
    await orders(t, standIn, { name: 'old' }).applyTopology();
    const renamed = orders(t, standIn, { name: 'new', formerly: ['old'] });
    assert.deepEqual(await renamed.applyTopology(), { left: ['orders.new'] });
    assert.deepEqual([...standIn.namespace.topic('waybill/events').subscriptions.keys()], ['orders.old']);
    standIn.namespace.removeSubscription('waybill/events', 'orders.old');
    assert.deepEqual(await renamed.applyTopology(), { left: [] });
    assert.deepEqual([...standIn.namespace.topic('waybill/events').subscriptions.keys()], ['orders.new']);
  });

  it('cannot be compared while the namespace is away', async (t) => {
    const standIn = await place(t);
    await standIn.leave();
    const { topology, applyTopology } = orders(t, standIn, { timeoutMs: 500 });
    await assert.rejects(topology({ compare: true }), { code: 'TRANSPORT_UNREACHABLE' });
    await assert.rejects(applyTopology(), { code: 'TRANSPORT_UNREACHABLE' });
  });
});
