import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { WaybillError } from '../../contract/errors.ts';
import type { Delivery } from '../../contract/transport.ts';
import {
  apply, applyNew, drain, effects, eventually, events, folder, inside, labels, message, never, place, price, publish, receive,
  start, stock, subscription,
} from '../../../test/transport-sqlite/world.ts';
import { systemClock } from '../../contract/clock.ts';
import { heartbeatType } from '../../contract/control.ts';
import { enterDirectory } from './directory.ts';
import { LeaseLost } from './index.ts';

const name = 'basket.prices';
const prices = subscription(name);

test('rows of other types are run over without a gap, however many', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const others = (from: number): ReturnType<typeof message>[] =>
    Array.from({ length: 4_100 }, (_, n) => message('catalog', `${from + n}`, { type: stock }));
  await publish(catalog, 'one', ...others(0), 'two', ...others(5_000));
  const consumer = await basket.session.consume(prices);
  assert.deepEqual(await applyNew(basket, consumer, name, 2), ['one', 'two']);
  await publish(catalog, 'three');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['three']);
});

test('many more rows than one read takes come in their order', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const sent = Array.from({ length: 5_000 }, (_, n) => `${n}`);
  await publish(catalog, ...sent);
  const consumer = await basket.session.consume(prices);
  assert.deepEqual(await applyNew(basket, consumer, name, sent.length), sent);
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 5_000);
});

test('bodies of a megabyte are read a few at a time', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const body = new Uint8Array(1024 * 1024).fill(7);
  for (let n = 0; n < 5; n++) await publish(catalog, ...Array.from({ length: 20 }, () => message('catalog', '', { body })));
  const read: number[] = [];
  const shared = enterDirectory(directory, systemClock()); // the same ones: one opens each ledger for the whole process
  t.after(() => shared.leave());
  const ledger = shared.ledgers.get('catalog')!;
  const { window } = ledger;
  ledger.window = (...how) => {
    const rows = window(...how);
    read.push(rows.length);
    return rows;
  };
  const consumer = await basket.session.consume(prices);
  let count = 0;
  while (count < 100) {
    const got = await receive(consumer, 1);
    assert.equal(got[0]!.body.length, body.length);
    await basket.store.transaction((tx) => consumer.settleIn(tx, got));
    await consumer.settle(got);
    count++;
  }
  assert.ok(read.every((rows, at) => rows <= (at === 0 ? 17 : 6)), read.join(' '));
});

test('sources take turns: a busy one does not hold up another', async (t) => {
  const directory = folder(t);
  const basket = await start(t, directory, 'basket');
  const buses = [await start(t, directory, 'catalog'), await start(t, directory, 'pricing'), await start(t, directory, 'stocks')];
  await basket.session.declare(prices);
  await publish(buses[0]!, ...Array.from({ length: 1_000 }, (_, n) => `catalog ${n}`));
  await publish(buses[1]!, 'pricing');
  await publish(buses[2]!, 'stocks');
  const consumer = await basket.session.consume(prices);
  const first = labels(await consumer.receive(10, { waitMs: 5_000, signal: never }));
  assert.ok(first.includes('pricing') && first.includes('stocks'), first.join(', '));
  assert.equal(first.length, 10, 'what the others leave is used');
});

test('no more than 2,000 rows of a source are open at once; settling some lets it go on', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, ...Array.from({ length: 2_600 }, (_, n) => `${n}`));
  const consumer = await basket.session.consume(prices);
  const got = await drain(consumer);
  assert.equal(got.length, 2_000);
  // The oldest stays open, all others are settled: still nothing more may come.
  await basket.store.transaction((tx) => consumer.settleIn(tx, got.slice(1)));
  await consumer.settle(got.slice(1));
  assert.deepEqual(await drain(consumer), []);
  await basket.store.transaction((tx) => consumer.settleIn(tx, got.slice(0, 1)));
  await consumer.settle(got.slice(0, 1));
  assert.equal((await drain(consumer)).length, 600);
});

test('only what is settled without a gap moves the position; the rest is read again and dropped by the inbox', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  await publish(catalog, '1', '2', '3', '4', '5');
  const before = await first.session.consume(prices);
  const got = await receive(before, 5);
  assert.deepEqual(await apply(first, before, name, [got[0]!, got[2]!, got[4]!]), ['1', '3', '5']);
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 1);
  assert.deepEqual(await apply(first, before, name, [got[1]!]), ['2']);
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 3);
  await before.close();

  const basket = await start(t, directory, 'basket');
  const after = await basket.session.consume(prices);
  const again = await receive(after, 2);
  assert.deepEqual(labels(again), ['4', '5']);
  assert.ok(again.every(({ redelivered, suspect }) => redelivered && !suspect), 'seen before, but nobody died');
  assert.deepEqual(await apply(basket, after, name, again), ['4']);
  assert.deepEqual(effects(directory, 'basket').map(({ label }) => label), ['1', '3', '5', '2', '4']);
});

test('several calls in one transaction settle together', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, '1', '2', '3');
  const consumer = await basket.session.consume(prices);
  const got = await receive(consumer, 3);
  await basket.store.transaction(async (tx) => {
    for (const one of got) await consumer.settleIn(tx, [one]);
  });
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 3);
});

test('a transaction that is undone moves nothing, and its rows can be settled in the next', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, '1', '2');
  const consumer = await basket.session.consume(prices);
  const got = await receive(consumer, 2);
  const undone = basket.store.transaction(async (tx) => {
    await consumer.settleIn(tx, got);
    throw new Error('undo');
  });
  await assert.rejects(undone, /undo/);
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 0);
  await apply(basket, consumer, name, [got[1]!]);
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 0, 'the first is not settled');
  await apply(basket, consumer, name, [got[0]!]);
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 2);
});

test('a lazy transaction is fenced too', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, '1');
  const consumer = await basket.session.consume(prices);
  const got = await receive(consumer, 1);
  await basket.store.transaction((tx) => consumer.settleIn(tx, got), { lazy: true });
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 1);
});

test("a service takes its own events, and of commands only its own", async (t) => {
  const directory = folder(t);
  const basket = await start(t, directory, 'basket');
  const other = await start(t, directory, 'other');
  const both = subscription('basket.all', { bindings: [...events(price), { type: 'clear.v1', kind: 'command' }] });
  await basket.session.declare(both);
  const command = (label: string, recipient: string): ReturnType<typeof message> =>
    message('basket', label, { kind: 'command', type: 'clear.v1', recipient });
  await publish(basket, 'event', command('mine', 'basket'), command('not mine', 'other'));
  await publish(other, command('mine too', 'basket'));
  const consumer = await basket.session.consume(both);
  assert.deepEqual((await applyNew(basket, consumer, 'basket.all', 3)).toSorted(), ['event', 'mine', 'mine too']);
  assert.deepEqual(await drain(consumer), []);
});

test('headers that are no JSON object come as a message that cannot be decoded, and hold up nothing', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, 'broken', 'next');
  inside(join(directory, 'catalog.db'), (db) => db.exec("update waybill_ledger set headers = 'not json' where position = 1"));
  const consumer = await basket.session.consume(prices);
  const got = await receive(consumer, 2);
  assert.deepEqual(got.map(({ headers }) => Object.keys(headers).length), [0, 2]);
});

test('deliveries that are not its own are no deliveries', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, '1');
  const consumer = await basket.session.consume(prices);
  const [got] = await receive(consumer, 1);
  const copy: Delivery = { ...got! };
  await assert.rejects(basket.store.transaction((tx) => consumer.settleIn(tx, [copy])), TypeError);
});

test('two consumers of one name in one bus are refused', async (t) => {
  const directory = folder(t);
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await basket.session.consume(prices);
  await assert.rejects(basket.session.consume(prices), (error) => WaybillError.is(error, 'DUPLICATE_SUBSCRIPTION'));
});

test('a commit under a lease that another instance has taken fails, and nothing of it stays', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, '1', '2');
  const consumer = await basket.session.consume(prices);
  const got = await receive(consumer, 2);
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = 'another', epoch = epoch + 1, expires = expires + 1"));
  await assert.rejects(apply(basket, consumer, name, got), LeaseLost);
  assert.deepEqual(effects(directory, 'basket'), []);
  assert.equal(consumer.active, false, 'it stands by');
  await assert.rejects(basket.store.transaction((tx) => consumer.settleIn(tx, [])), (error) => WaybillError.is(error, 'LEASE_LOST'));
  // The other one never renews: what was received comes again when its lease has run out.
  assert.deepEqual(await applyNew(basket, consumer, name, 2), ['1', '2']);
});

test('what was received under a lease that was lost is void, even when the lease has come back', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, '1');
  const consumer = await basket.session.consume(prices);
  const got = await receive(consumer, 1);
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = 'another', epoch = epoch + 1, expires = 1"));
  await eventually('it was to lose and regain the lease', () => basket.reported.filter((report) => report.name === 'takeover').length === 2);
  await assert.rejects(apply(basket, consumer, name, got), LeaseLost);
  await consumer.release(got); // void as well
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['1']);
});

test('an old hold names its epoch: two of its writes in flight are both fenced', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, '1', '2');
  const consumer = await basket.session.consume(prices);
  const [one, two] = await receive(consumer, 2);
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = 'another', epoch = epoch + 1"));
  const results = await Promise.allSettled([apply(basket, consumer, name, [one!]), apply(basket, consumer, name, [two!])]);
  assert.deepEqual(results.map(({ status }) => status), ['rejected', 'rejected']);
});

test('with a store elsewhere positions follow the commit, and a lease that was lost lets nothing begin', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket', { file: join(folder(t), 'store.db') });
  assert.equal(basket.session.capabilities.publishesAtCommit, false);
  assert.equal(basket.session.ledger, undefined);
  await basket.session.declare(prices);
  await publish(catalog, '1', '2', '3');
  const consumer = await basket.session.consume(prices);
  const got = await receive(consumer, 3);
  await apply(basket, consumer, name, got.slice(0, 2));
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 2);
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = 'another', epoch = epoch + 1"));
  await assert.rejects(apply(basket, consumer, name, got.slice(2)), LeaseLost);
});

test('a store in memory publishes through the transport', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog', { file: ':memory:' });
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  assert.deepEqual(await catalog.session.send([message('catalog', '1'), message('catalog', '2')]), [{ kind: 'stored' }, { kind: 'stored' }]);
  assert.deepEqual(catalog.reported, [], 'published is said by the store that it was published in');
  assert.deepEqual(await applyNew(basket, consumer, name, 2), ['1', '2']);
});

test('progress: applied until the last look at rest, until the oldest open row before', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  assert.deepEqual(await drain(consumer), []);
  const beganMs = Date.now();
  const at = (label: string, of: object = {}) => message('catalog', label, { time: beganMs, ...of });
  await publish(catalog, at('1'), at('2'), at('other', { type: stock }), at('3'));
  const got = await receive(consumer, 3);
  const of = (): { appliedUntilMs: number; waiting: number | undefined } =>
    consumer.progress().find(({ source }) => source === 'catalog')!;
  assert.equal(of().waiting, 3);
  assert.ok(of().appliedUntilMs < beganMs + 1);
  await apply(basket, consumer, name, got.slice(0, 1));
  assert.equal(of().waiting, 2);
  await apply(basket, consumer, name, got.slice(1));
  assert.equal(of().waiting, 0);
  await eventually('it was to be current', () => of().appliedUntilMs >= beganMs);
});

test('progress moves on while there is always more', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const beganMs = Date.now();
  await publish(catalog, ...Array.from({ length: 3_000 }, (_, n) => message('catalog', `${n}`, { time: beganMs - 3_000 + n })));
  const consumer = await basket.session.consume(prices);
  await apply(basket, consumer, name, await receive(consumer, 1));
  const of = (): number => consumer.progress().find(({ source }) => source === 'catalog')!.appliedUntilMs;
  assert.ok(of() <= beganMs - 3_000 + 1, `${of() - beganMs}`);
  await apply(basket, consumer, name, await receive(consumer, 100));
  assert.equal(of(), beganMs - 3_000 + 99, 'all before the last one that was settled');
});

test('progress counts what lies ahead, up to a bound', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, ...Array.from({ length: 6_000 }, (_, n) => `${n}`), ...Array.from({ length: 100 }, (_, n) => message('catalog', `${n}`, { type: stock })));
  const consumer = await basket.session.consume(prices);
  await receive(consumer, 1);
  assert.equal(consumer.progress().find(({ source }) => source === 'catalog')?.waiting, 6_000);
  inside(join(directory, 'catalog.db'), (db) => db.exec('update waybill_ledger set position = 1000000 where position = 6100'));
  await publish(catalog, 'far');
  await eventually('too many was to be said', () => consumer.progress().find(({ source }) => source === 'catalog')?.waiting === undefined);
});

test('many subscriptions of one process all get everything', async (t) => {
  const directory = folder(t);
  const publishers = await Promise.all(Array.from({ length: 6 }, (_, n) => start(t, directory, `source-${n}`)));
  const basket = await start(t, directory, 'basket');
  const names = Array.from({ length: 12 }, (_, n) => `basket.s${n}`);
  for (const each of names) await basket.session.declare(subscription(each));
  const consumers = await Promise.all(names.map((each) => basket.session.consume(subscription(each))));
  const applied = Promise.all(consumers.map((consumer, at) => applyNew(basket, consumer, names[at]!, 60)));
  for (let n = 0; n < 10; n++) for (const bus of publishers) await publish(bus, `${bus.service} ${n}`);
  for (const of of await applied) {
    assert.equal(new Set(of).size, 60);
    for (const { service } of publishers) {
      assert.deepEqual(of.filter((label) => label.startsWith(`${service} `)), Array.from({ length: 10 }, (_, n) => `${service} ${n}`));
    }
  }
});

test('heartbeats do not count as waiting, here or on standby: an audit would take all that is lost for being on its way', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const declared = subscription(name, { bindings: events(price, heartbeatType) });
  const [one, two] = [await start(t, directory, 'basket'), await start(t, directory, 'basket')];
  await one.session.declare(declared);
  const active = await one.session.consume(declared);
  await eventually('it works', () => active.active);
  await two.session.declare(declared);
  const standby = await two.session.consume(declared);
  const told = async () => [...active.progress(), ...(await standby.standby!())].filter(({ source }) => source === 'catalog').map(({ waiting }) => waiting);
  await publish(catalog, 'one');
  await applyNew(one, active, name, 1);
  const beforeMs = Date.now();
  await publish(catalog, message('catalog', 'beat', { type: heartbeatType }), message('catalog', 'beat', { type: heartbeatType }));
  assert.equal((await receive(active, 1)).length, 1); // and it is not settled
  assert.deepEqual(await told(), [0, 0]);
  const [how] = (await standby.standby!()).filter(({ source }) => source === 'catalog');
  assert.ok(how!.appliedUntilMs >= beforeMs);
  await publish(catalog, 'two');
  await eventually('both tell of a message', async () => (await told()).join() === '1,1');
});
