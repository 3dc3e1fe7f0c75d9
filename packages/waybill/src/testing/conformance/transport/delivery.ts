/** A consumer's life: what it receives, keeps, settles, gives back. */
import assert from 'node:assert/strict';
import { apply, can, labels, message, receive, receiveNothing, send, to, within, type TransportCase } from './world.ts';

const prices = to('basket.prices');
const never = new AbortController().signal;
/** Longer than any test: a wait that only something else can end. */
const longMs = 3_600_000;

export const deliveryCases: readonly TransportCase[] = [
  {
    name: 'competing consumers: each message reaches one of them',
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(prices);
      const sent = Array.from({ length: 20 }, (_, i) => `m${i}`);
      await send(catalog, ...sent.map((label) => message(label)));
      const got: string[] = [];
      const peers = [one, two].map((peer) => ({ peer, consumer: peer.session.consume(prices) }));
      const consumers = await Promise.all(peers.map(async ({ peer, consumer }) => ({ peer, consumer: await consumer })));
      for (let untilMs = Infinity; got.length < sent.length && world.clock.monotonic() < untilMs; ) {
        const before = got.length;
        for (const { peer, consumer } of consumers) {
          const some = await consumer.receive(3, { waitMs: world.quietMs, signal: never });
          if (some.length > 0) await apply(peer, consumer, some);
          got.push(...labels(some));
        }
        if (got.length > before || untilMs === Infinity) untilMs = world.clock.monotonic() + world.patienceMs;
      }
      assert.deepEqual(got.toSorted(), sent.toSorted());
    },
  },
  {
    name: 'a queue that is shared gives work to each of its consumers',
    needs: ['shares'],
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(prices);
      await send(catalog, message('a'), message('b'));
      const first = await receive(world, await one.session.consume(prices), 1);
      const second = await receive(world, await two.session.consume(prices), 1);
      assert.deepEqual(labels([...first, ...second]), ['a', 'b']);
    },
  },
  {
    name: 'what a consumer has received stays with it: no other gets it',
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(prices);
      await send(catalog, message('a'));
      await receive(world, await one.session.consume(prices), 1);
      await receiveNothing(world, await two.session.consume(prices), 'it is unsettled at the other consumer');
    },
  },
  {
    name: 'a consumer that is alone may work',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      const consumer = await basket.session.consume(prices);
      await send(catalog, message('a'));
      await receive(world, consumer, 1);
      assert.equal(consumer.active, true);
    },
  },
  {
    name: 'receive gives no more than was asked for, and the rest later',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'), message('b'), message('c'));
      const consumer = await basket.session.consume(prices);
      const first = await consumer.receive(2, { waitMs: world.patienceMs, signal: never });
      assert.ok(first.length >= 1 && first.length <= 2, `${first.length} came`);
      const rest = await receive(world, consumer, 3 - first.length);
      assert.deepEqual(labels([...first, ...rest]), ['a', 'b', 'c']);
    },
  },
  {
    name: 'a long queue comes whole and in order',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      const sent = Array.from({ length: 2_500 }, (_, i) => `${i}`);
      for (let at = 0; at < sent.length; at += 500) await send(catalog, ...sent.slice(at, at + 500).map((label) => message(label)));
      const consumer = await basket.session.consume(prices);
      const got: string[] = [];
      while (got.length < sent.length) {
        const some = await receive(world, consumer, Math.min(100, sent.length - got.length));
        await apply(basket, consumer, some);
        got.push(...labels(some));
      }
      assert.deepEqual(got, sent);
    },
  },
  {
    name: 'what a subscription does not take keeps nothing from it',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      const others = Array.from({ length: 500 }, (_, i) => message(`other ${i}`, { type: 'catalog.viewed.v1' }));
      for (let batch = 0; batch < 6; batch++) await send(catalog, ...others);
      await send(catalog, message('a'));
      assert.deepEqual(labels(await receive(world, await basket.session.consume(prices), 1)), ['a']);
    },
  },
  {
    name: 'receive waits for a message, and ends when it comes',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      const consumer = await basket.session.consume(prices);
      const coming = consumer.receive(10, { waitMs: longMs, signal: never });
      await send(catalog, message('a'));
      assert.deepEqual(labels(await within(world, coming, 'receive was to end with the message')), ['a']);
    },
  },
  {
    name: 'receive ends empty when its time is up',
    async run(world) {
      const basket = await world.start('basket');
      await basket.session.declare(prices);
      const consumer = await basket.session.consume(prices);
      for (const waitMs of [0, 5]) {
        assert.deepEqual(await within(world, consumer.receive(10, { waitMs, signal: never }), 'receive was to end'), []);
      }
    },
  },
  {
    name: 'receive ends empty when its signal is aborted, before or during the wait',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      const consumer = await basket.session.consume(prices);
      const stop = new AbortController();
      const waiting = consumer.receive(10, { waitMs: longMs, signal: stop.signal });
      stop.abort();
      assert.deepEqual(await within(world, waiting, 'receive was to end with its signal'), []);
      await send(catalog, message('a'));
      const tooLate = consumer.receive(10, { waitMs: longMs, signal: stop.signal });
      assert.deepEqual(await within(world, tooLate, 'receive was to end at once'), []);
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['a'], 'the message was not taken by an aborted receive');
    },
  },
  {
    name: 'a message that was settled never comes again',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'), message('b'));
      const consumer = await basket.session.consume(prices);
      await apply(basket, consumer, await receive(world, consumer, 2));
      await consumer.close();
      await send(catalog, message('end'));
      const next = await basket.session.consume(prices);
      assert.deepEqual(labels(await receive(world, next, 1)), ['end']);
    },
  },
  {
    name: 'what was not settled comes again when the consumer closes',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'), message('b'));
      const consumer = await basket.session.consume(prices);
      await receive(world, consumer, 2);
      await consumer.close();
      const next = await basket.session.consume(prices);
      assert.deepEqual(labels(await receive(world, next, 2)), ['a', 'b']);
    },
  },
  {
    name: 'what was not settled comes to another instance when the session closes',
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(prices);
      await send(catalog, message('a'), message('b'));
      await receive(world, await one.session.consume(prices), 2);
      await one.session.close();
      assert.deepEqual(labels(await receive(world, await two.session.consume(prices), 2)), ['a', 'b']);
    },
  },
  {
    name: 'an instance that stood by takes over when the other closes',
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(prices);
      await send(catalog, message('a'));
      const first = await one.session.consume(prices);
      await receive(world, first, 1);
      const second = await two.session.consume(prices);
      const coming = second.receive(10, { waitMs: longMs, signal: never });
      await first.close();
      assert.deepEqual(labels(await within(world, coming, 'the message was to come to the other instance')), ['a']);
      assert.equal(second.active, true);
    },
  },
  {
    name: 'settling some leaves the others: a later one does not vouch for an earlier one',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'), message('b'), message('c'));
      const consumer = await basket.session.consume(prices);
      const [, b] = await receive(world, consumer, 3);
      await apply(basket, consumer, [b!]);
      await consumer.close();
      const next = await basket.session.consume(prices);
      await send(catalog, message('end'));
      const again: string[] = [];
      while (again.at(-1) !== 'end') again.push(...labels(await receive(world, next, 1)));
      // A transport that keeps a position may bring b once more; what nobody settled it must bring.
      assert.deepEqual(again.filter((label) => label !== 'b'), ['a', 'c', 'end']);
    },
  },
  {
    name: 'what was released comes again',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'), message('b'));
      const consumer = await basket.session.consume(prices);
      const got = await receive(world, consumer, 2);
      await consumer.release(got);
      const again = await receive(world, consumer, 2);
      assert.deepEqual(labels(again), ['a', 'b']);
      await apply(basket, consumer, again);
      await send(catalog, message('end'));
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['end']);
    },
  },
  {
    name: 'what goes back keeps its place before what was sent later',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'), message('b'));
      const consumer = await basket.session.consume(prices);
      const got = await receive(world, consumer, 2);
      await send(catalog, message('c'));
      await consumer.release(got);
      assert.deepEqual(labels(await receive(world, consumer, 3)), ['a', 'b', 'c']);
      await consumer.close();
      const next = await basket.session.consume(prices);
      assert.deepEqual(labels(await receive(world, next, 3)), ['a', 'b', 'c']);
    },
  },
  {
    name: 'a message that comes again says so, and one that comes first says that',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('released'));
      const consumer = await basket.session.consume(prices);
      const [first] = await receive(world, consumer, 1);
      assert.equal(first!.redelivered, false, 'the first time');
      await consumer.release([first!]);
      const [second] = await receive(world, consumer, 1);
      assert.equal(second!.redelivered, true, 'after a release');
      await consumer.close();
      const next = await basket.session.consume(prices);
      const [third] = await receive(world, next, 1);
      assert.equal(third!.redelivered, true, 'after a close');
      await apply(basket, next, [third!]);
    },
  },
  {
    name: 'a message that was given back is under no suspicion',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'));
      const consumer = await basket.session.consume(prices);
      const [first] = await receive(world, consumer, 1);
      assert.equal(first!.suspect, false, 'the first time');
      await consumer.release([first!]);
      const [second] = await receive(world, consumer, 1);
      assert.equal(second!.suspect, false, 'after a release');
    },
  },
  {
    name: 'what was in flight when a process died comes again, under suspicion',
    needs: ['kill'],
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(prices);
      await send(catalog, message('a'));
      await receive(world, await one.session.consume(prices), 1);
      await can(world.kill)(one);
      const [again] = await receive(world, await two.session.consume(prices), 1);
      assert.deepEqual([labels([again!]), again!.redelivered, again!.suspect], [['a'], true, true]);
    },
  },
  {
    name: 'how often the broker has handed a message out in vain is told',
    needs: ['counts', 'kill'],
    async run(world) {
      const [catalog, one, two] = [await world.start('catalog'), await world.start('basket'), await world.start('basket')];
      await one.session.declare(prices);
      await send(catalog, message('a'));
      const [first] = await receive(world, await one.session.consume(prices), 1);
      assert.equal(first!.deliveryCount, 0, 'the first time');
      await can(world.kill)(one);
      const [again] = await receive(world, await two.session.consume(prices), 1);
      assert.ok(again!.deliveryCount !== undefined && again!.deliveryCount >= 1, `${again!.deliveryCount} when it came again`);
    },
  },
  {
    name: 'no count is made up where the broker does not count',
    without: ['counts'],
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'));
      const consumer = await basket.session.consume(prices);
      await receive(world, consumer, 1);
      await consumer.close();
      const [again] = await receive(world, await basket.session.consume(prices), 1);
      assert.equal(again!.deliveryCount, undefined);
    },
  },
  {
    name: 'a consumer that was closed lets nothing commit',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'));
      const consumer = await basket.session.consume(prices);
      const got = await receive(world, consumer, 1);
      await basket.store.transaction((tx) => consumer.settleIn(tx, [])); // the fence alone: open
      await consumer.close();
      for (const deliveries of [got, []]) {
        const committing = basket.store.transaction(async (tx) => {
          await basket.store.ports.inbox.insert(tx, 'basket.prices', [{ source: 'catalog', id: 'a' }]);
          await consumer.settleIn(tx, deliveries);
        });
        await assert.rejects(committing, `with ${deliveries.length} deliveries`);
      }
      assert.equal(await basket.store.ports.inbox.has('basket.prices', { source: 'catalog', id: 'a' }), false);
    },
  },
  {
    name: 'a transaction that is undone settles nothing',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      await send(catalog, message('a'));
      const consumer = await basket.session.consume(prices);
      const got = await receive(world, consumer, 1);
      const undone = basket.store.transaction(async (tx) => {
        await consumer.settleIn(tx, got);
        throw new Error('undo');
      });
      await assert.rejects(undone, /undo/);
      await consumer.close();
      const next = await basket.session.consume(prices);
      assert.deepEqual(labels(await receive(world, next, 1)), ['a']);
    },
  },
  {
    name: 'closing a consumer ends a receive that waits, and it receives nothing any more',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      const consumer = await basket.session.consume(prices);
      const waiting = consumer.receive(10, { waitMs: longMs, signal: never }).catch(() => []);
      await within(world, consumer.close(), 'close was to end');
      assert.deepEqual(await within(world, waiting, 'receive was to end with its consumer'), []);
      await send(catalog, message('a'));
      const tooLate = await consumer.receive(10, { waitMs: world.quietMs, signal: never }).catch(() => []);
      assert.deepEqual(labels(tooLate), []);
      const next = await basket.session.consume(prices);
      assert.deepEqual(labels(await receive(world, next, 1)), ['a']);
    },
  },
  {
    name: 'closing the session ends a receive that waits',
    async run(world) {
      const basket = await world.start('basket');
      await basket.session.declare(prices);
      const consumer = await basket.session.consume(prices);
      const waiting = consumer.receive(10, { waitMs: longMs, signal: never }).catch(() => []);
      await within(world, basket.session.close(), 'close was to end');
      assert.deepEqual(await within(world, waiting, 'receive was to end with its session'), []);
    },
  },
  {
    name: 'closing twice is harmless',
    async run(world) {
      const basket = await world.start('basket');
      await basket.session.declare(prices);
      const consumer = await basket.session.consume(prices);
      const inbox = await basket.session.listen(() => {});
      for (const closable of [consumer, consumer, inbox, inbox, basket.session, basket.session]) {
        await assert.doesNotReject(within(world, closable.close(), 'close was to end'));
      }
    },
  },
  {
    name: 'progress names each source, and passes a message only when it is settled',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(prices);
      const time = world.clock.now();
      await send(catalog, message('a', { time }));
      const consumer = await basket.session.consume(prices);
      const got = await receive(world, consumer, 1);
      const before = consumer.progress().find(({ source }) => source === 'catalog');
      assert.ok(before === undefined || before.appliedUntilMs < time, 'passed before it was settled');
      assert.ok(before?.waiting === undefined || before.waiting >= 1, 'it waits');
      await apply(basket, consumer, got);
      const untilMs = world.clock.monotonic() + world.patienceMs;
      for (;;) {
        await receiveNothing(world, consumer, 'there is no more');
        const after = consumer.progress().find(({ source }) => source === 'catalog');
        const passed = after !== undefined && after.appliedUntilMs >= time;
        if (passed || world.clock.monotonic() > untilMs) {
          assert.ok(passed, `applied until ${after?.appliedUntilMs}, sent at ${time}`);
          assert.ok(after.waiting === undefined || after.waiting === 0, `${after.waiting} wait`);
          return;
        }
        await world.clock.turn();
      }
    },
  },
];
