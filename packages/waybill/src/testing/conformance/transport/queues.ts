/** What a subscription's queue is: declared, bound, renamed, removed. */
import assert from 'node:assert/strict';
import { WaybillError } from '../../../contract/errors.ts';
import { apply, labels, message, receive, receiveNothing, send, to, within, type TransportCase } from './world.ts';

export const queueCases: readonly TransportCase[] = [
  {
    name: 'a declared queue keeps what is sent before anybody consumes',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('a'), message('b'));
      const consumer = await basket.session.consume(to('basket.prices'));
      assert.deepEqual(labels(await receive(world, consumer, 2)), ['a', 'b']);
    },
  },
  {
    name: 'a subscription from now on does not get what was sent before it was declared',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await send(catalog, message('before'));
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('after'));
      const consumer = await basket.session.consume(to('basket.prices'));
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['after']);
    },
  },
  {
    name: 'a queue outlives the sessions of its service and goes on filling',
    async run(world) {
      const [catalog, first] = [await world.start('catalog'), await world.start('basket')];
      await first.session.declare(to('basket.prices'));
      await send(catalog, message('a'));
      await first.stop();
      await send(catalog, message('b'));
      const second = await world.start('basket');
      await second.session.declare(to('basket.prices'));
      const consumer = await second.session.consume(to('basket.prices'));
      assert.deepEqual(labels(await receive(world, consumer, 2)), ['a', 'b']);
    },
  },
  {
    name: 'each subscription gets a copy of its own',
    async run(world) {
      const [catalog, basket, ordering] = [await world.start('catalog'), await world.start('basket'), await world.start('ordering')];
      await basket.session.declare(to('basket.prices'));
      await basket.session.declare(to('basket.audit'));
      await ordering.session.declare(to('ordering.prices'));
      await send(catalog, message('a'));
      for (const [peer, name] of [[basket, 'basket.prices'], [basket, 'basket.audit'], [ordering, 'ordering.prices']] as const) {
        const consumer = await peer.session.consume(to(name));
        const got = await receive(world, consumer, 1);
        assert.deepEqual(labels(got), ['a'], name);
        await apply(peer, consumer, got);
      }
    },
  },
  {
    name: 'two services never share a queue, however alike their names are',
    async run(world) {
      const catalog = await world.start('catalog');
      const services = ['shop', 'shop-eu', 'shop2'];
      const peers = [];
      for (const service of services) {
        const peer = await world.start(service);
        await peer.session.declare(to(`${service}.prices`));
        peers.push(peer);
      }
      await send(catalog, message('a'));
      for (const peer of peers) {
        const consumer = await peer.session.consume(to(`${peer.service}.prices`));
        assert.deepEqual(labels(await receive(world, consumer, 1)), ['a'], peer.service);
      }
    },
  },
  {
    name: 'a service receives its own events',
    async run(world) {
      const catalog = await world.start('catalog');
      await catalog.session.declare(to('catalog.prices'));
      await send(catalog, message('a'));
      const consumer = await catalog.session.consume(to('catalog.prices'));
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['a']);
    },
  },
  {
    name: 'a subscription gets what every service sends, of each in its order',
    async run(world) {
      const [catalog, ordering, basket] = [await world.start('catalog'), await world.start('ordering'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      for (let batch = 0; batch < 3; batch++) {
        await send(catalog, message(`catalog ${batch}`));
        await send(ordering, message(`ordering ${batch}`, { source: 'ordering' }));
      }
      const got = labels(await receive(world, await basket.session.consume(to('basket.prices')), 6));
      for (const source of ['catalog', 'ordering']) {
        assert.deepEqual(got.filter((label) => label.startsWith(source)), [0, 1, 2].map((batch) => `${source} ${batch}`));
      }
    },
  },
  {
    name: 'a queue takes the types that it binds and no others',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      const both = to('basket.products', {
        bindings: [
          { type: 'catalog.added.v1', kind: 'event' },
          { type: 'catalog.renamed.v2', kind: 'event' },
        ],
      });
      await basket.session.declare(both);
      await send(
        catalog,
        message('added', { type: 'catalog.added.v1' }),
        message('added 2', { type: 'catalog.added.v2' }),
        message('added 10', { type: 'catalog.added.v10' }),
        message('other', { type: 'catalog.removed.v1' }),
        message('renamed', { type: 'catalog.renamed.v2' }),
      );
      const consumer = await basket.session.consume(both);
      assert.deepEqual(labels(await receive(world, consumer, 2)), ['added', 'renamed']);
    },
  },
  {
    name: 'a binding is of one kind: no event comes as a command',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      const type = 'basket.clear.v1';
      const declaration = to('basket.clear', { bindings: [{ type, kind: 'command' }] });
      await basket.session.declare(declaration);
      await send(catalog, message('event', { type }));
      await send(catalog, message('command', { type, kind: 'command', recipient: 'basket' }));
      const got = await receive(world, await basket.session.consume(declaration), 1);
      assert.deepEqual([labels(got), got[0]!.kind], [['command'], 'command']);
    },
  },
  {
    name: 'declaring again changes nothing: what is queued stays, and nothing is doubled',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('a'));
      await basket.session.declare(to('basket.prices'));
      const other = await world.start('basket');
      await other.session.declare(to('basket.prices'));
      await send(catalog, message('b'));
      const consumer = await basket.session.consume(to('basket.prices'));
      const got = await receive(world, consumer, 2);
      await apply(basket, consumer, got);
      await send(catalog, message('end'));
      assert.deepEqual(labels([...got, ...(await receive(world, consumer, 1))]), ['a', 'b', 'end']);
    },
  },
  {
    name: 'a type that is added later reaches the queue that is there',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      const one = to('basket.products', { bindings: [{ type: 'catalog.added.v1', kind: 'event' }] });
      const two = to('basket.products', { bindings: [...one.bindings, { type: 'catalog.added.v2', kind: 'event' }] });
      await basket.session.declare(one);
      await send(catalog, message('first', { type: 'catalog.added.v1' }));
      await basket.session.declare(two);
      await send(catalog, message('second', { type: 'catalog.added.v2' }), message('third', { type: 'catalog.added.v1' }));
      const consumer = await basket.session.consume(two);
      assert.deepEqual(labels(await receive(world, consumer, 3)), ['first', 'second', 'third']);
    },
  },
  {
    name: 'a subscription that begins in the past gets what was sent before it',
    needs: ['history'],
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await send(catalog, message('before'));
      const declaration = to('basket.prices', { from: 'beginning' });
      await basket.session.declare(declaration);
      await send(catalog, message('after'));
      const consumer = await basket.session.consume(declaration);
      assert.deepEqual(labels(await receive(world, consumer, 2)), ['before', 'after']);
    },
  },
  {
    name: 'a transport that keeps nothing of the past refuses to begin there',
    without: ['history'],
    async run(world) {
      const basket = await world.start('basket');
      for (const from of ['beginning', Date.UTC(2026, 0, 1)] as const) {
        await assert.rejects(
          basket.session.declare(to('basket.prices', { from })),
          (error) => WaybillError.is(error, 'CAPABILITY_MISSING'),
          `from: ${from}`,
        );
      }
    },
  },
  {
    name: 'a subscription that begins at a point in time gets what was sent since',
    needs: ['history'],
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      const nextMs = async (): Promise<number> => {
        const sinceMs = Math.floor(world.clock.now()) + 1;
        while (world.clock.now() < sinceMs) await world.clock.turn();
        return sinceMs;
      };
      await send(catalog, message('before', { time: Math.floor(world.clock.now()) }));
      const from = await nextMs();
      await send(catalog, message('since', { time: from }));
      const declaration = to('basket.prices', { from });
      await basket.session.declare(declaration);
      await send(catalog, message('after', { time: await nextMs() }));
      const consumer = await basket.session.consume(declaration);
      assert.deepEqual(labels(await receive(world, consumer, 2)), ['since', 'after']);
    },
  },
  {
    name: 'where a subscription begins counts only when it is created',
    needs: ['history'],
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await send(catalog, message('before'));
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('after'));
      const again = to('basket.prices', { from: 'beginning' });
      await basket.session.declare(again);
      const consumer = await basket.session.consume(again);
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['after']);
    },
  },
  {
    name: 'a renamed subscription takes along what is queued, and gets each message once from then on',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.old'));
      await send(catalog, message('applied'), message('queued'));
      const before = await basket.session.consume(to('basket.old'));
      await apply(basket, before, await receive(world, before, 1));
      await before.close();

      const renamed = to('basket.new', { formerly: ['basket.old', 'basket.older'] });
      await basket.session.declare(renamed);
      await basket.session.declare(renamed);
      await send(catalog, message('later'), message('end'));
      const consumer = await basket.session.consume(renamed);
      assert.deepEqual(labels(await receive(world, consumer, 3)), ['queued', 'later', 'end']);
    },
  },
  {
    name: 'a renamed subscription leaves nothing under its old name',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.old'));
      await send(catalog, message('queued'));
      await basket.session.declare(to('basket.new', { formerly: ['basket.old'] }));
      await basket.session.declare(to('basket.old'));
      await send(catalog, message('later'));
      const consumer = await basket.session.consume(to('basket.old'));
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['later']);
    },
  },
  {
    name: 'a subscription that never existed under its former name is created',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      const declaration = to('basket.prices', { formerly: ['basket.never'] });
      await basket.session.declare(declaration);
      await send(catalog, message('a'));
      const consumer = await basket.session.consume(declaration);
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['a']);
    },
  },
  {
    name: 'removing a subscription drops what is queued when that is asked for',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('dropped'));
      await basket.session.remove('basket.prices', 'drop');
      await send(catalog, message('nobody takes it'));
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('fresh'));
      const consumer = await basket.session.consume(to('basket.prices'));
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['fresh']);
    },
  },
  {
    name: 'removing a subscription waits until what is queued has been applied',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('a'), message('b'));
      const consumer = await basket.session.consume(to('basket.prices'));
      let removed = false;
      const removal = basket.session.remove('basket.prices', 'apply').then(() => (removed = true));
      const got = await receive(world, consumer, 2);
      assert.deepEqual(labels(got), ['a', 'b']);
      await apply(basket, consumer, got.slice(0, 1));
      assert.equal(removed, false, 'removed while a message was not applied');
      await apply(basket, consumer, got.slice(1));
      await within(world, removal, 'the removal was to end once everything was applied');
    },
  },
  {
    name: 'a subscription that was removed gets nothing any more',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await within(world, basket.session.remove('basket.prices', 'apply'), 'an empty queue was to be removed at once');
      await send(catalog, message('nobody takes it'));
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('fresh'));
      const consumer = await basket.session.consume(to('basket.prices'));
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['fresh']);
    },
  },
  {
    name: 'removing a subscription leaves the others alone',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await basket.session.declare(to('basket.prices-too'));
      await send(catalog, message('a'));
      await basket.session.remove('basket.prices', 'drop');
      await send(catalog, message('b'));
      const consumer = await basket.session.consume(to('basket.prices-too'));
      assert.deepEqual(labels(await receive(world, consumer, 2)), ['a', 'b']);
    },
  },
  {
    name: 'removing what is not there is harmless',
    async run(world) {
      const basket = await world.start('basket');
      await assert.doesNotReject(within(world, basket.session.remove('basket.never', 'drop'), 'the removal was to end'));
      await assert.doesNotReject(within(world, basket.session.remove('basket.never', 'apply'), 'the removal was to end'));
    },
  },
  {
    name: 'a consumer whose subscription was removed may commit nothing',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('a'));
      const consumer = await basket.session.consume(to('basket.prices'));
      const got = await receive(world, consumer, 1);
      const other = await world.start('basket');
      await other.session.remove('basket.prices', 'drop');
      // The other instance hears of it a moment later.
      const untilMs = world.clock.monotonic() + world.patienceMs;
      for (let refused = false; !refused; await world.clock.turn()) {
        await basket.store.transaction((tx) => consumer.settleIn(tx, got)).catch(() => (refused = true));
        assert.ok(refused || world.clock.monotonic() < untilMs, 'it may still commit');
      }
      await receiveNothing(world, consumer, 'the subscription is gone');
    },
  },
];
