/** What the suite does not ask: a window with trouble in it, alarms, cancelled consumers, foreign messages, order over instances. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import amqplib, { type ChannelModel } from 'amqplib';
import { systemClock } from '../../src/contract/clock.ts';
import { heartbeatType } from '../../src/contract/control.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import type { WireMessage } from '../../src/contract/message.ts';
import type { Consumer, Declaration, TransportSession } from '../../src/contract/transport.ts';
import { memory } from '../../src/stores/memory/index.ts';
import { type RecordingHost, recordingHost } from '../../src/testing/conformance/host.ts';
import { labels, message } from '../../src/testing/conformance/message.ts';
import { to } from '../../src/testing/conformance/transport/world.ts';
import { rabbitmq, type RabbitOptions } from '../../src/transports/rabbitmq/index.ts';
import { slotOf } from '../../src/transports/rabbitmq/names.ts';
import { needs } from '../../../../test/support/needs.ts';
import { faultProxy } from '../support/fault-proxy.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';

const { skip } = needs('rabbitmq');
const signal = new AbortController().signal;
const prices = to('basket.prices');
const clock = systemClock();
/** Nothing comes for so long: nothing will. */
const quietMs = 600;

describe('the RabbitMQ transport', { skip }, () => {
  let server: RabbitServer;
  let admin: ChannelModel;
  let systems = 0;
  const open: { close(): Promise<void> }[] = [];

  before(async () => {
    server = await rabbitServer([`max_message_size = ${2_000_000}`]);
    admin = await amqplib.connect(server.url);
  });
  after(async () => {
    for (const one of open) await one.close();
    await admin.close();
    await server.close();
  });

  const newSystem = (): string => `t${systems++}`;
  const connect = async (
    service: string,
    options: RabbitOptions & { url?: string; migrate?: 'auto' | 'check' },
  ): Promise<TransportSession & { host: RecordingHost }> => {
    const { url = server.url, migrate = 'auto', ...rest } = options;
    const host = recordingHost(service, clock, [], migrate);
    const store = await memory().open(host);
    const session = await rabbitmq(url, { settleMs: 0, ...rest }).connect({ ...host, store });
    open.push(session);
    return Object.assign(session, { host });
  };
  const take = async (consumer: Consumer, count: number, waitMs = 30_000): Promise<string[]> => {
    const got: string[] = [];
    const untilMs = performance.now() + waitMs;
    while (got.length < count && performance.now() < untilMs) {
      const some = await consumer.receive(count - got.length, { waitMs: 200, signal });
      got.push(...labels(some));
      await consumer.settle(some);
    }
    return got;
  };
  /** Until `count` different ones have come, and then whatever else comes before it is quiet. */
  const takeAll = async (consumer: Consumer, count: number): Promise<string[]> => {
    const got: string[] = [];
    for (const untilMs = performance.now() + 60_000; new Set(got).size < count && performance.now() < untilMs; ) got.push(...(await take(consumer, 100, 200)));
    for (let more = ['']; more.length > 0; got.push(...more)) more = await take(consumer, 1_000, quietMs);
    return got;
  };
  const numbered = (count: number, of: (i: number) => Partial<WireMessage> = () => ({})): WireMessage[] =>
    Array.from({ length: count }, (_, i) => message(`m${i}`, of(i)));

  it('tells returned, stored and refused apart in the middle of a window', async () => {
    const system = newSystem();
    const [catalog, basket] = [await connect('catalog', { system }), await connect('basket', { system })];
    await basket.declare(prices);
    const batch = numbered(300, (i) => {
      if (i % 50 === 7) return { kind: 'command', recipient: 'nobody' };
      if (i === 111) return { body: new Uint8Array(2_000_001) };
      return {};
    });
    const outcomes = await catalog.send(batch);
    const expected = batch.map(({ kind, body }) => (kind === 'command' ? 'unroutable' : body.length > 2_000_000 ? 'refused' : 'stored'));
    assert.deepEqual(outcomes.map(({ kind }) => kind), expected);
    const sent = batch.filter((_, i) => expected[i] === 'stored').map(({ body }) => new TextDecoder().decode(body));
    const got = await takeAll(await basket.consume(prices), sent.length);
    assert.deepEqual([...new Set(got)].toSorted(), sent.toSorted(), 'those in flight beside the refused one were sent again, none was lost');
  });

  it('lets nothing overtake its own key while a queue that is full refuses messages in the middle of a window', async () => {
    const system = newSystem();
    const [catalog, basket] = [await connect('catalog', { system }), await connect('basket', { system })];
    await basket.declare(prices);
    await server.ctl('set_policy', system, `^${system}\\.basket\\.prices$`, '{"max-length":20,"overflow":"reject-publish"}', '--apply-to', 'queues');
    const consumer = await basket.consume(prices);
    const got: string[] = [];
    let answered = false;
    const consuming = (async () => {
      for (let quiet = 0; quiet < 3; ) {
        const some = await consumer.receive(5, { waitMs: 250, signal });
        quiet = some.length > 0 || !answered ? 0 : quiet + 1;
        await sleep(5);
        got.push(...labels(some));
        await consumer.settle(some);
      }
    })();
    const outcomes = await catalog.send(numbered(600, (i) => ({ key: `k${i % 30}` })));
    answered = true;
    await consuming;
    const stored = outcomes.flatMap(({ kind }, i) => (kind === 'stored' ? [i] : []));
    assert.ok(outcomes.every(({ kind }) => kind === 'stored' || kind === 'refused'));
    assert.deepEqual([...new Set(got)].map((label) => Number(label.slice(1))).toSorted((a, b) => a - b), stored);
    for (let key = 0; key < 30; key++) {
      const ofKey = got.map((label) => Number(label.slice(1))).filter((i) => i % 30 === key);
      assert.deepEqual(ofKey, ofKey.toSorted((a, b) => a - b), `key ${key}`);
    }
  });

  it('sends what is behind in its key only after the broker has answered, and several calls at once keep the order', async () => {
    const system = newSystem();
    const proxy = await faultProxy(server.port);
    const url = server.url.replace(`:${server.port}`, `:${proxy.port}`);
    const [catalog, basket] = [await connect('catalog', { system, url }), await connect('basket', { system })];
    const byKey = to('basket.ordered', { order: 'by-key' });
    await basket.declare(byKey);
    const batches = Array.from({ length: 4 }, (_, b) =>
      Array.from({ length: 50 }, (_, i) => message(`${b * 50 + i}`, { id: `id ${b * 50 + i}`, key: `k${i % 5}` })),
    );
    proxy.delayMs = 5;
    const outcomes = await Promise.all(batches.map((batch) => catalog.send(batch)));
    proxy.delayMs = 0;
    assert.ok(outcomes.flat().every(({ kind }) => kind === 'stored'));
    const got = (await take(await basket.consume(byKey), 200)).map(Number);
    for (let key = 0; key < 5; key++) {
      const ofKey = got.filter((i) => i % 5 === key);
      assert.equal(ofKey.length, 40);
      assert.deepEqual(ofKey, ofKey.toSorted((a, b) => a - b));
    }
    await proxy.close();
  });

  it('rejects every call in flight when the connection is cut, and what is sent again keeps its order', async () => {
    const system = newSystem();
    const proxy = await faultProxy(server.port);
    const url = server.url.replace(`:${server.port}`, `:${proxy.port}`);
    const [catalog, basket] = [await connect('catalog', { system, url }), await connect('basket', { system })];
    await basket.declare(prices);
    const batches = [0, 1, 2, 3].map((b) => numbered(200, (i) => ({ id: `${b}.${i}`, key: `k${i % 7}`, body: Buffer.from(`${b * 200 + i}`) })));
    await catalog.send([message('first')]);
    proxy.cutAfterBytes = 40_000;
    const first = await Promise.allSettled(batches.map((batch) => catalog.send(batch)));
    const unknown = first.findIndex(({ status }) => status === 'rejected');
    assert.ok(unknown >= 0, 'the cut came in the middle');
    assert.ok(first.slice(unknown).every(({ status }) => status === 'rejected'), 'nothing behind the unknown counts');
    proxy.cutAfterBytes = Infinity;
    for (let untilMs = performance.now() + 30_000; ; await sleep(100)) {
      const again = await Promise.allSettled(batches.slice(unknown).map((batch) => catalog.send(batch)));
      if (again.every(({ status }) => status === 'fulfilled')) break;
      assert.ok(performance.now() < untilMs, 'it connects again');
    }
    const got = (await takeAll(await basket.consume(prices), 801)).filter((label) => label !== 'first').map(Number);
    const once = [...new Set(got)];
    assert.equal(once.length, 800, 'nothing is lost');
    for (let key = 0; key < 7; key++) {
      const ofKey = once.filter((n) => (n % 200) % 7 === key);
      assert.deepEqual(ofKey, ofKey.toSorted((a, b) => a - b), `first copies of key ${key}`);
    }
    await proxy.close();
  });

  it('holds publishers back while the broker is in alarm, with flat memory, and goes on afterwards', async () => {
    const system = newSystem();
    const [catalog, basket] = [await connect('catalog', { system }), await connect('basket', { system })];
    await basket.declare(prices);
    await catalog.send([message('before')]);
    const alarm = (bytes: string): Promise<string> => server.ctl('set_vm_memory_high_watermark', 'absolute', bytes);
    await alarm('1MB');
    const body = new Uint8Array(100_000);
    let settled = 0;
    let sending: Promise<unknown>[];
    try {
      const rss = process.memoryUsage().rss;
      sending = Array.from({ length: 4 }, (_, b) =>
        catalog.send(numbered(500, (i) => ({ id: `${b}.${i}`, body }))).then((outcomes) => (settled += outcomes.length)),
      );
      const consumer = await basket.consume(prices);
      assert.deepEqual((await take(consumer, 1)).slice(0, 1), ['before'], 'consuming goes on');
      await sleep(1_500);
      assert.equal(settled, 0, 'nothing is taken in alarm');
      assert.ok(process.memoryUsage().rss - rss < 60e6, `grew by ${Math.round((process.memoryUsage().rss - rss) / 1e6)} MB`);
    } finally {
      await alarm('512MB');
    }
    await Promise.all(sending);
    assert.equal(settled, 2_000);
  });

  it('makes a queue again that somebody deleted by hand, and says so', async () => {
    const system = newSystem();
    const [catalog, basket] = [await connect('catalog', { system }), await connect('basket', { system })];
    await basket.declare(prices);
    const consumer = await basket.consume(prices);
    const channel = await admin.createChannel();
    await channel.deleteQueue(`${system}.basket.prices`);
    const isSaid = (): boolean => basket.host.reports.some(({ name }) => name === 'warn');
    for (const untilMs = performance.now() + 30_000; !isSaid() && performance.now() < untilMs; ) assert.deepEqual(await take(consumer, 1, 200), []);
    assert.ok(isSaid());
    await catalog.send([message('after')]);
    assert.deepEqual(await take(consumer, 1), ['after']);
    await channel.close();
  });

  it('puts a message that is none into the dead-letter queue, with the reason, and goes on', async () => {
    const system = newSystem();
    const [catalog, basket] = [await connect('catalog', { system }), await connect('basket', { system })];
    await basket.declare(prices);
    const channel = await admin.createConfirmChannel();
    channel.publish(system, `queue.${system}.basket.prices`, Buffer.from('bytes'), { messageId: 'odd', headers: { nested: { table: 1 } } });
    await channel.waitForConfirms();
    await catalog.send([message('good')]);
    const consumer = await basket.consume(prices);
    assert.deepEqual(await take(consumer, 1), ['good']);
    let dead: Awaited<ReturnType<typeof channel.get>> = false;
    for (const untilMs = performance.now() + 30_000; !dead && performance.now() < untilMs; ) dead = await channel.get(`${system}.basket~dead`);
    assert.ok(dead);
    assert.deepEqual([dead.content.toString(), dead.properties.messageId, dead.properties.headers!['nested']], ['bytes', 'odd', { table: 1 }]);
    assert.match(String(dead.properties.headers!['waybill-dead-reason']), /"nested"/);
    assert.equal(dead.properties.headers!['waybill-dead-queue'], `${system}.basket.prices`);
    await channel.close();
  });

  it('keeps what the broker drops by a policy, but no heartbeat that ran out', async () => {
    const system = newSystem();
    const [catalog, basket] = [await connect('catalog', { system }), await connect('basket', { system })];
    await basket.declare(prices);
    await server.ctl('set_policy', system, `^${system}\\.basket\\.prices$`, '{"message-ttl":50}', '--apply-to', 'queues');
    const channel = await admin.createChannel();
    channel.publish(system, `beat.${system}.basket.prices`, Buffer.from('beat'));
    await catalog.send([message('kept'), message('kept too')]);
    const dead: string[] = [];
    const left = async (): Promise<number> => (await channel.checkQueue(`${system}.basket.prices`)).messageCount;
    for (const untilMs = performance.now() + 30_000; (dead.length < 2 || (await left()) > 0) && performance.now() < untilMs; await sleep(20)) {
      const found = await channel.get(`${system}.basket~dead`, { noAck: true });
      if (found) dead.push(found.content.toString());
    }
    assert.deepEqual([dead.toSorted(), await left()], [['kept', 'kept too'], 0]);
    assert.equal((await channel.checkQueue(`${system}.basket~dead`)).messageCount, 0);
    await channel.close();
  });

  it('gives heartbeats to who reads, one of a source at a time, and none to a queue that nobody reads', async () => {
    for (const order of ['any', 'by-key'] as const) {
      const system = newSystem();
      const [catalog, basket] = [await connect('catalog', { system }), await connect('basket', { system })];
      const declaration = to('basket.prices', { order, bindings: [...prices.bindings, { type: heartbeatType, kind: 'event' }] });
      const queues = order === 'any' ? 1 : 8;
      await basket.declare(declaration);
      let time = Date.now();
      const beat = (label: string) => catalog.send([message(label, { type: heartbeatType, time: ++time })]);
      for (let i = 0; i < 5; i++) await beat(`unheard ${i}`);
      const counted = await admin.createChannel();
      const names = order === 'any' ? [`${system}.basket.prices`] : Array.from({ length: 8 }, (_, i) => `${system}.basket.prices~${i}`);
      for (const name of names) assert.equal((await counted.checkQueue(name)).messageCount, 0);
      await counted.close();

      const consumer = await basket.consume(declaration);
      consumer.progress(); // who asks gets each, and not every other one
      const signal = new AbortController().signal;
      const all = async (count: number) => {
        const got: string[] = [];
        for (const untilMs = performance.now() + 30_000; got.length < count && performance.now() < untilMs; ) {
          const some = await consumer.receive(100, { waitMs: 100, signal });
          got.push(...labels(some));
          await consumer.settle(some);
        }
        return got;
      };
      await beat('heard');
      assert.deepEqual(await all(queues), Array.from({ length: queues }, () => 'heard'));
      for (let i = 0; i < 5; i++) await beat(`next ${i}`);
      const behind = Promise.withResolvers<void>(); // what comes to the same place behind them
      const { address } = await basket.listen(() => behind.resolve());
      await catalog.send([message('reply', { kind: 'reply', recipient: address })]);
      await behind.promise;
      const next = await all(queues);
      assert.deepEqual([next.length, new Set(next).size], [queues, 1], 'the others came while that one was under way');
      assert.deepEqual(await consumer.receive(100, { waitMs: 300, signal }), []);
      await beat('last');
      assert.deepEqual(await all(queues), Array.from({ length: queues }, () => 'last'));
    }
  });

  it('shares the partitions of a by-key subscription over its instances, and hands them on in order', async () => {
    const system = newSystem();
    const catalog = await connect('catalog', { system });
    const byKey: Declaration = to('basket.ordered', { order: 'by-key' });
    const [one, two] = [await connect('basket', { system }), await connect('basket', { system })];
    await one.declare(byKey);
    const seen: { by: number; n: number; key: number }[] = [];
    const busy = new Map<number, number>();
    const stop = new AbortController();
    const work = async (session: TransportSession, by: number): Promise<void> => {
      const consumer = await session.consume(byKey);
      while (!stop.signal.aborted) {
        const some = await consumer.receive(10, { waitMs: 100, signal: stop.signal });
        for (const label of labels(some)) {
          const [n, key] = label.split(' ').map(Number) as [number, number];
          assert.ok(!busy.has(key) || busy.get(key) === by, 'one instance at a time');
          busy.set(key, by);
          seen.push({ by, n, key });
        }
        await sleep(1);
        for (const label of labels(some)) busy.delete(Number(label.split(' ')[1]));
        await consumer.settle(some);
      }
    };
    const workers = [work(one, 1), work(two, 2)];
    let n = 0;
    const bothWork = (): boolean => seen.length > 400 && [1, 2].every((by) => seen.slice(-200).some((s) => s.by === by));
    const done = (): number => new Set(seen.map((s) => s.n)).size;
    let shared = false;
    for (const untilMs = performance.now() + 60_000; !shared && performance.now() < untilMs; await sleep(10)) {
      if (n - seen.length < 500) await catalog.send(Array.from({ length: 20 }, () => message(`${n} ${n % 40}`, { id: `${n}`, key: `key ${n++ % 40}` })));
      shared = bothWork();
    }
    for (const untilMs = performance.now() + 30_000; done() < n && performance.now() < untilMs; ) await sleep(50);
    stop.abort();
    await Promise.all(workers);
    assert.ok(shared, 'both work');
    const firsts = [...new Map(seen.toReversed().map((s) => [s.n, s])).values()].toReversed();
    assert.equal(firsts.length, n);
    for (let key = 0; key < 40; key++) {
      const ofKey = firsts.filter((s) => s.key === key).map((s) => s.n);
      assert.deepEqual(ofKey, ofKey.toSorted((a, b) => a - b), `key ${key}`);
    }
  });

  it('changes the order of a subscription, and its name, with what is queued', async () => {
    const system = newSystem();
    const [catalog, basket] = [await connect('catalog', { system }), await connect('basket', { system })];
    await basket.declare(prices);
    await catalog.send(numbered(20, (i) => ({ key: `k${i % 3}` })));
    const byKey = to('basket.prices', { order: 'by-key' });
    await basket.declare(byKey);
    const renamed = to('basket.costs', { order: 'by-key', formerly: ['basket.prices'] });
    await basket.declare(renamed);
    await catalog.send([message('m20', { key: 'k2' })]);
    const got = await takeAll(await basket.consume(renamed), 21);
    assert.equal(got.length, 21);
    for (let key = 0; key < 3; key++) {
      const ofKey = got.map((label) => Number(label.slice(1))).filter((i) => i % 3 === key);
      assert.deepEqual(ofKey, ofKey.toSorted((a, b) => a - b));
    }
  });

  it('refuses a queue that is there with other arguments, and with migrate check what is not there', async () => {
    const system = newSystem();
    const basket = await connect('basket', { system });
    await basket.declare(prices);
    const other = await connect('basket', { system, queues: 'classic' });
    await assert.rejects(other.declare(prices), (error) => WaybillError.is(error, 'TOPOLOGY_CONFLICT'));
    const careful = await connect('basket', { system, migrate: 'check' });
    await careful.declare(prices);
    await assert.rejects(careful.declare(to('basket.other')), (error) => WaybillError.is(error, 'TOPOLOGY_MISSING'));
  });

  it('tells a wrong password from a broker that is away, and prints neither', async () => {
    const wrong = server.urlOf({ user: 'guest', password: 'sesame' });
    await assert.rejects(connect('basket', { url: wrong }), (error) => WaybillError.is(error, 'TRANSPORT_DENIED') && !String(error.message).includes('sesame'));
    const away = 'amqp://guest:sesame@127.0.0.1:1/';
    await assert.rejects(connect('basket', { url: away }), (error) => WaybillError.is(error, 'TRANSPORT_UNREACHABLE') && !String(error.message).includes('sesame'));
  });

  it('works for a user who may touch nothing but what is its service\'s', async () => {
    const system = newSystem();
    await connect('catalog', { system }); // makes the exchange
    await server.ctl('add_user', `${system}-basket`, 'secret');
    const mine = `^${system}(\\.basket[.~].*)?$`;
    await server.ctl('set_permissions', `${system}-basket`, mine, mine, mine);
    const url = server.urlOf({ user: `${system}-basket`, password: 'secret' });
    const basket = await connect('basket', { system, url });
    await basket.declare(prices);
    await basket.declare(to('basket.ordered', { order: 'by-key' }));
    await basket.send([message('own')]);
    assert.deepEqual(await take(await basket.consume(prices), 1), ['own']);
    await basket.listen(() => {});
    await basket.remove('basket.prices', 'drop');
    await assert.rejects(connect('catalog', { system, url }), (error) => WaybillError.is(error, 'TRANSPORT_DENIED'), 'as another service');
  });

  it('spreads keys over the slots', () => {
    const counts = Array.from({ length: 16 }, () => 0);
    for (let i = 0; i < 16_000; i++) counts[slotOf(`order-${i}`)]!++;
    assert.ok(counts.every((count) => count > 700 && count < 1_300), counts.join());
    assert.equal(slotOf('order-1'), 12, 'part of the wire format: it may never change');
  });
});
