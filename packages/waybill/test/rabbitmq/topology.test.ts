/** The plan beside what the node says of itself: arguments and routing keys, too; what differs; and who may not configure. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { rabbitmq, type RabbitOptions } from 'waybill/transports/rabbitmq';
import { needs } from '../../../../test/support/needs.ts';
import { Priced, Ship } from '../support/contracts.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';
import { definitions } from './over-rabbitmq.ts';

const { skip } = needs('rabbitmq');
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

describe('the topology at RabbitMQ', { skip }, () => {
  let server: RabbitServer;
  before(async () => {
    server = await rabbitServer([]);
  });
  after(() => server?.close());

  const orders = (options: RabbitOptions, url = server.url) => {
    const bus = createBus({ service: 'orders', store: 'sqlite::memory:', transport: rabbitmq(url, { settleMs: 0, ...options }), logger: quiet, migrate: 'check' });
    bus.subscribe(Priced, { name: 'prices', order: 'by-key' }, async () => {});
    bus.handle(Ship, async () => {});
    return bus;
  };

  it('is applied as it was planned, to the last routing key, and by a bus that itself creates nothing', async () => {
    await using bus = orders({ system: 'shop' });
    const planned = (await operations(bus).topology()).entities;
    assert.deepEqual(await operations(bus).applyTopology(), { left: [] });
    await operations(bus).applyTopology(); // again
    const { exchanges, queues, bindings } = await definitions(server, 'shop');
    const stands = [
      ...exchanges.map(({ name, type, durable }) => ['exchange', name, { type, durable }]),
      ...queues.map(({ name, durable, arguments: given }) => ['queue', name, { durable, ...given }]),
      ...Object.entries(Object.groupBy(bindings, ({ source, destination }) => `${source} to ${destination}`)).map(([name, all]) => ['bindings', name, { keys: all!.map((one) => one.routing_key).toSorted().join(' ') }]),
    ];
    const byName = (a: readonly unknown[], b: readonly unknown[]): number => (`${a[0] as string} ${a[1] as string}` < `${b[0] as string} ${b[1] as string}` ? -1 : 1);
    assert.deepEqual(stands.toSorted(byName), planned.map(({ kind, name, settings }) => [kind, name, { ...settings }]).toSorted(byName));
    const { entities, takes } = await operations(bus).topology({ compare: true });
    assert.deepEqual(entities.filter(({ state, kind }) => state !== (kind === 'bindings' ? 'unseen' : 'there')), []);
    assert.equal(takes[0]!.places.length, 8, 'the partitions');
  });

  it('tells what was made otherwise, and what is missing', async () => {
    await using quorum = orders({ system: 'mixed' });
    await operations(quorum).applyTopology();
    await using classic = orders({ system: 'mixed', queues: 'classic' });
    classic.subscribe(Priced, { name: 'others' }, async () => {});
    const { entities } = await operations(classic).topology({ compare: true });
    const queue = (name: string) => entities.find((one) => one.kind === 'queue' && one.name === name)!;
    assert.equal(queue('mixed.orders.orders.ship').state, 'different');
    assert.match(queue('mixed.orders.orders.ship').detail!, /x-queue-type/);
    assert.equal(queue('mixed.orders.others').state, 'missing');
    assert.equal(queue('mixed.orders.prices~members').state, 'there');
  });

  it('is seen by a user who may not configure anything', async () => {
    await using bus = orders({ system: 'rights' });
    await operations(bus).applyTopology();
    await server.ctl('add_user', 'looker', 'secret');
    await server.ctl('set_permissions', '-p', '/', 'looker', '^$', '.*', '.*');
    await using looking = orders({ system: 'rights' }, server.urlOf({ user: 'looker', password: 'secret' }));
    const { entities } = await operations(looking).topology({ compare: true });
    assert.deepEqual(entities.filter(({ state, kind }) => state !== (kind === 'bindings' ? 'unseen' : 'there')), []);
    await assert.rejects(operations(looking).applyTopology(), { code: 'TRANSPORT_DENIED' });
  });

  it('cannot be compared while the broker is away, and is told all the same', async () => {
    await using bus = orders({ system: 'away' }, 'amqp://guest:guest@127.0.0.1:1/');
    assert.ok((await operations(bus).topology()).entities.length > 5);
    await assert.rejects(operations(bus).topology({ compare: true }), { code: 'TRANSPORT_UNREACHABLE' });
    await assert.rejects(operations(bus).applyTopology(), { code: 'TRANSPORT_UNREACHABLE' });
  });
});
