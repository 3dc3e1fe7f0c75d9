/** What the suite does not ask: the faults, the bound, virtual time. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError } from '../../contract/errors.ts';
import type { Consumer, Delivery, TransportSession } from '../../contract/transport.ts';
import { memory as memoryStore } from '../../stores/memory/index.ts';
import { virtualClock, type VirtualClock } from '../../testing/clock.ts';
import { recordingHost } from '../../testing/conformance/host.ts';
import { labels, message } from '../../testing/conformance/message.ts';
import { to } from '../../testing/conformance/transport/world.ts';
import { memory, type MemoryTransport } from './index.ts';
import { queueLengthMax } from './queue.ts';

const prices = to('basket.prices');
const signal = new AbortController().signal;
const unreachable = (error: unknown): boolean => WaybillError.is(error, 'TRANSPORT_UNREACHABLE');

async function start(transport: MemoryTransport = memory(), clock: VirtualClock = virtualClock()): Promise<{
  clock: VirtualClock;
  transport: MemoryTransport;
  session: TransportSession;
  consumer: Consumer;
}> {
  const host = recordingHost('basket', clock);
  const session = await transport.connect({ ...host, store: await memoryStore().open(host) });
  await session.declare(prices);
  return { clock, transport, session, consumer: await session.consume(prices) };
}

function now(consumer: Consumer, max = 100): Promise<readonly Delivery[]> {
  return consumer.receive(max, { waitMs: 0, signal });
}

describe('memory transport', () => {
  it('waits by its clock alone', async () => {
    const { clock, consumer } = await start();
    let got: readonly Delivery[] | undefined;
    void consumer.receive(1, { waitMs: 60_000, signal }).then((deliveries) => (got = deliveries));
    await clock.advance(59_999);
    assert.equal(got, undefined);
    await clock.advance(1);
    assert.deepEqual(got, []);
  });

  it('leaves no timer behind once a receive has ended', async () => {
    const { clock, session, consumer } = await start();
    const stop = new AbortController();
    const waiting = [consumer.receive(1, { waitMs: 60_000, signal }), consumer.receive(1, { waitMs: 60_000, signal: stop.signal })];
    await session.send([message('a')]);
    stop.abort();
    assert.deepEqual((await Promise.all(waiting)).map(labels), [['a'], []]);
    assert.equal(clock.next(), undefined);
  });

  it('is one broker per value: two values know nothing of each other', async () => {
    const [one, two] = [await start(), await start()];
    await one.session.send([message('a')]);
    assert.deepEqual([labels(await now(one.consumer)), labels(await now(two.consumer))], [['a'], []]);
  });

  it('stores a message twice when a fault says so', async () => {
    const { transport, session, consumer } = await start();
    transport.faults.set({ duplicate: ({ id }) => id === 'id of b' });
    await session.send([message('a'), message('b')]);
    assert.deepEqual(labels(await now(consumer)), ['a', 'b', 'b']);
  });

  it('ends receives that wait when it goes away, and takes back what was unsettled', async () => {
    const { transport, session, consumer } = await start();
    await session.send([message('a')]);
    const [held] = await now(consumer);
    const waiting = consumer.receive(1, { waitMs: 60_000, signal });
    transport.faults.set({ away: true });
    await assert.rejects(waiting, unreachable);
    await assert.rejects(session.declare(prices), unreachable);
    transport.faults.clear();
    await consumer.settle([held!]); // too late: the acknowledgement is lost
    const [again] = await now(consumer);
    assert.deepEqual([labels([again!]), again!.redelivered, again!.suspect], [['a'], true, true]);
  });

  it('may go away between storing and answering', async () => {
    const { transport, session, consumer } = await start();
    transport.faults.set({ away: 'after-storing' });
    await assert.rejects(session.send([message('a')]), unreachable);
    transport.faults.clear();
    await session.send([message('a')]); // unknown, so sent again
    assert.deepEqual(labels(await now(consumer)), ['a', 'a']);
  });

  it('takes no batch that would overfill a queue, stores nothing of it, and goes on once there is room', async () => {
    const { session, consumer } = await start();
    const a = message('a');
    await session.send(Array.from({ length: queueLengthMax - 1 }, () => a));
    await assert.rejects(session.send([message('b'), message('c')]), unreachable);
    await session.send([message('b')]);
    await assert.rejects(session.send([message('c')]), unreachable);
    await consumer.settle(await now(consumer, queueLengthMax - 1));
    await session.send([message('c')]);
    assert.deepEqual(labels(await now(consumer)), ['b', 'c']);
  });

  it('suspects what a consumer held when it closed, and nothing that it had not received', async () => {
    const { session, consumer } = await start();
    await session.send([message('held'), message('queued')]);
    await now(consumer, 1);
    await consumer.close();
    const got = await now(await session.consume(prices));
    assert.deepEqual(got.map(({ suspect }) => suspect), [true, false]);
  });

  it('gives a removal up when its session closes', async () => {
    const { session } = await start();
    await session.send([message('a')]);
    const removal = session.remove(prices.name, 'apply');
    await session.close();
    await assert.rejects(removal, (error) => WaybillError.is(error, 'STOPPED'));
  });

  it('brings a subscription that is being removed back to life when it is declared again', async () => {
    const { session, consumer } = await start();
    await session.send([message('a')]);
    const removal = session.remove(prices.name, 'apply');
    await session.send([message('nobody takes it')]);
    await session.declare(prices);
    await session.send([message('b')]);
    const got = await now(consumer);
    assert.deepEqual(labels(got), ['a', 'b']);
    await consumer.settle(got);
    await removal;
    await session.send([message('c')]);
    assert.deepEqual(labels(await now(consumer)), ['c']);
  });

  it('relieves the consumers of a renamed subscription: what they hold comes to those who know the new name', async () => {
    const { session, consumer } = await start();
    await session.send([message('a')]);
    const held = await now(consumer);
    const renamed = to('basket.new', { formerly: [prices.name] });
    await session.declare(renamed);
    await session.send([message('b')]);
    await consumer.release(held);
    assert.equal(consumer.active, false);
    assert.deepEqual(labels(await now(consumer)), []);
    assert.throws(() => void consumer.settleIn({} as never, held), (error) => WaybillError.is(error, 'LEASE_LOST'));
    assert.deepEqual(labels(await now(await session.consume(renamed))), ['a', 'b']);
  });
});
