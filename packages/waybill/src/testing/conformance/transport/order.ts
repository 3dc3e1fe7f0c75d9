/** Order per key. */
import assert from 'node:assert/strict';
import { apply, labels, message, receive, receiveNothing, send, to, type TransportCase } from './world.ts';

const byKey = to('basket.prices', { order: 'by-key' });

export const orderCases: readonly TransportCase[] = [
  {
    name: 'messages of a key come in the order they were sent, one batch after another',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(byKey);
      for (let batch = 0; batch < 5; batch++) {
        await send(catalog, ...['x', 'y', 'x'].map((key, i) => message(`${key} ${batch}.${i}`, { key })));
      }
      const consumer = await basket.session.consume(byKey);
      const got: string[] = [];
      while (got.length < 15) {
        const some = await receive(world, consumer, Math.min(4, 15 - got.length));
        await apply(basket, consumer, some);
        got.push(...labels(some));
      }
      for (const key of ['x', 'y']) {
        const ofKey = got.filter((label) => label.startsWith(key));
        assert.deepEqual(ofKey, ofKey.toSorted());
      }
    },
  },
  {
    name: 'a key that is unsettled at one consumer is not given to another',
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(byKey);
      await send(catalog, message('x1', { key: 'x' }), message('x2', { key: 'x' }));
      const first = await one.session.consume(byKey);
      const held = await receive(world, first, 1);
      const second = await two.session.consume(byKey);
      await receiveNothing(world, second, 'x1 is not settled');
      await apply(one, first, held);
      await first.close();
      assert.deepEqual(labels(await receive(world, second, 1)), ['x2']);
    },
  },
  {
    name: 'while a key is unsettled at one consumer, another gets the other keys and what has none',
    needs: ['shares'],
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(byKey);
      await send(catalog, message('x1', { key: 'x' }), message('x2', { key: 'x' }), message('y1', { key: 'y' }), message('no key'));
      await receive(world, await one.session.consume(byKey), 1);
      assert.deepEqual(labels(await receive(world, await two.session.consume(byKey), 2)).toSorted(), ['no key', 'y1']);
    },
  },
  {
    name: 'a consumer that takes over gets what was unsettled first, in order',
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(byKey);
      const sent = ['x1', 'y1', 'x2', 'y2'].map((label) => message(label, { key: label[0]! }));
      await send(catalog, ...sent);
      const first = await one.session.consume(byKey);
      await receive(world, first, 3);
      await send(catalog, message('x3', { key: 'x' }));
      await first.close();
      const got = labels(await receive(world, await two.session.consume(byKey), 5));
      assert.deepEqual(got.filter((label) => label.startsWith('x')), ['x1', 'x2', 'x3']);
      assert.deepEqual(got.filter((label) => label.startsWith('y')), ['y1', 'y2']);
    },
  },
];
