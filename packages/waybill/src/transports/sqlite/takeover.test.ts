import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  apply, applyNew, drain, effects, eventually, folder, inside, instance, labels, message, never, publish, receive, start, subscription,
} from '../../../test/transport-sqlite/world.ts';

const name = 'basket.prices';
const prices = subscription(name);
const lease = (directory: string): { owner: string | null; epoch: number; expires: number; clean: number } =>
  inside(join(directory, 'basket.db'), (db) => db.prepare('select * from waybill_lease where subscription = ?').get(name)) as never;

test('an instance that is killed with messages in hand: another takes over, they come again under suspicion, once', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const victim = instance(t, { directory, service: 'basket', role: 'hold' });
  assert.equal((await victim.next()).active, true);
  const basket = await start(t, directory, 'basket');
  const consumer = await basket.session.consume(prices);
  assert.equal(consumer.active, false, 'it stands by');
  await publish(catalog, '1', '2', '3');
  assert.deepEqual((await victim.next()).received, ['1', '2', '3']);
  victim.process.kill('SIGKILL');
  const got = await receive(consumer, 3);
  assert.deepEqual(got.map(({ suspect, redelivered }, at) => [labels(got)[at], suspect, redelivered]), [
    ['1', true, true],
    ['2', true, true],
    ['3', true, true],
  ]);
  await apply(basket, consumer, name, got);
  await publish(catalog, '4');
  const [next] = await receive(consumer, 1);
  assert.deepEqual([next!.suspect, next!.redelivered], [false, false], 'what came after the takeover is not suspect');
  await apply(basket, consumer, name, [next!]);
  assert.deepEqual(effects(directory, 'basket').map(({ label }) => label), ['1', '2', '3', '4']);
  assert.deepEqual(basket.reported.find((report) => report.name === 'takeover')?.detail, { subscription: name, clean: false });
});

test('an instance that dies inside its transaction leaves nothing of it', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const victim = instance(t, { directory, service: 'basket', role: 'apply', dieAt: '2', batch: 1 });
  await victim.next();
  await publish(catalog, '1', '2', '3');
  assert.deepEqual((await victim.next()).applied, ['1']);
  await victim.exited();
  const basket = await start(t, directory, 'basket');
  const consumer = await basket.session.consume(prices);
  const got = await receive(consumer, 2);
  assert.deepEqual(labels(got), ['2', '3']);
  assert.deepEqual(await apply(basket, consumer, name, got), ['2', '3']);
  assert.deepEqual(effects(directory, 'basket').map(({ label }) => label), ['1', '2', '3']);
});

test('an instance that leaves in peace: its successor suspects nothing', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  const before = await first.session.consume(prices);
  const basket = await start(t, directory, 'basket');
  const consumer = await basket.session.consume(prices);
  await publish(catalog, '1', '2');
  await apply(first, before, name, await receive(before, 2));
  await first.stop();
  await publish(catalog, '3');
  const [got] = await receive(consumer, 1);
  assert.deepEqual([got!.suspect, got!.redelivered], [false, false]);
  assert.deepEqual(basket.reported.find((report) => report.name === 'takeover')?.detail, { subscription: name, clean: true });
  assert.equal(lease(directory).epoch, 2);
});

test('a lease is kept while nothing happens', async (t) => {
  const directory = folder(t);
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  const before = await first.session.consume(prices);
  const basket = await start(t, directory, 'basket');
  const consumer = await basket.session.consume(prices);
  const { expires } = lease(directory);
  await eventually('it was to be prolonged past its first end', () => lease(directory).expires > expires + 3_000);
  assert.deepEqual([before.active, consumer.active, lease(directory).epoch], [true, false, 1]);
});

test('an instance that is frozen past its lease: another takes over, and what it writes when it thaws is fenced', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const frozen = instance(t, { directory, service: 'basket', role: 'hold' });
  await frozen.next();
  const basket = await start(t, directory, 'basket');
  const consumer = await basket.session.consume(prices);
  await publish(catalog, '1', '2');
  await frozen.next();
  frozen.process.kill('SIGSTOP');
  assert.deepEqual(await applyNew(basket, consumer, name, 2), ['1', '2']);
  const { epoch } = lease(directory);
  frozen.say('go on'); // it tries to commit what it held
  frozen.process.kill('SIGCONT');
  assert.deepEqual(await frozen.next(), { failed: 'LEASE_LOST' });
  await publish(catalog, '3');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['3']);
  assert.deepEqual(effects(directory, 'basket').map(({ label }) => label), ['1', '2', '3']);
  assert.equal(lease(directory).epoch, epoch, 'it stands by');
});

test('a lease that ends further ahead than one lease (the clock was set back) is free', async (t) => {
  const directory = folder(t);
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  inside(join(directory, 'basket.db'), (db) => {
    db.prepare("update waybill_lease set owner = 'somebody', expires = ?, clean = 0").run(Date.now() + 3_600_000);
  });
  const consumer = await first.session.consume(prices);
  assert.equal(consumer.active, true);
});

test('what a process of before the last boot held is free at once', async (t) => {
  const directory = folder(t);
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  inside(join(directory, 'basket.db'), (db) => {
    db.prepare('update waybill_lease set owner = ?, expires = ?, clean = 0').run(`${process.pid}@1/another-boot/1#1`, Date.now() + 2_900);
  });
  const consumer = await first.session.consume(prices);
  assert.equal(consumer.active, true);
});

test('after a crash in a ledger that had no position yet, its rows are suspect too', async (t) => {
  const directory = folder(t);
  const victim = instance(t, { directory, service: 'basket', role: 'hold' });
  await victim.next();
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, 'first');
  assert.deepEqual((await victim.next()).received, ['first']);
  victim.process.kill('SIGKILL');
  await victim.exited();
  const basket = await start(t, directory, 'basket');
  const [got] = await receive(await basket.session.consume(prices), 1);
  assert.deepEqual([labels([got!]), got!.suspect], [['first'], true]);
});

test('only what can have been in flight is suspect: 2,000 rows', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, ...Array.from({ length: 2_100 }, (_, n) => `${n}`));
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = '1@1/another-boot/1#1', clean = 0"));
  const consumer = await basket.session.consume(prices);
  const suspects: boolean[] = [];
  while (suspects.length < 2_100) {
    const got = await receive(consumer, 100);
    suspects.push(...got.map(({ suspect }) => suspect));
    await apply(basket, consumer, name, got);
  }
  assert.deepEqual([suspects.indexOf(false), suspects.lastIndexOf(true)], [2_000, 1_999]);
});

test('what was begun before a takeover and committed after it is not suspect', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, '1');
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = '1@1/another-boot/1#1', clean = 0"));
  const [written, commit] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const publishing = catalog.store.transaction(async (tx) => {
    await catalog.store.ports.outbox.append(tx, [message('catalog', '2')]);
    written.resolve();
    await commit.promise;
  });
  await written.promise;
  const consumer = await basket.session.consume(prices);
  commit.resolve();
  await publishing;
  const got = await receive(consumer, 2);
  assert.deepEqual(got.map(({ suspect }, at) => [labels(got)[at], suspect]), [['1', true], ['2', false]]);
});

test('after a crash a ledger that appears later holds nothing suspect', async (t) => {
  const [directory, other] = [folder(t), folder(t)];
  const catalog = await start(t, other, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = '1@1/another-boot/1#1', clean = 0"));
  const consumer = await basket.session.consume(prices);
  await new Promise((resolve) => setTimeout(resolve, 5));
  await publish(catalog, '1');
  await catalog.stop();
  renameSync(join(other, 'catalog.db'), join(directory, 'catalog.db'));
  await start(t, directory, 'catalog');
  const [got] = await receive(consumer, 1);
  assert.deepEqual([got!.suspect, got!.redelivered], [false, false]);
});

test('what is suspect stays so for the next, when its holder leaves in peace before it was handled', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  await publish(catalog, '1', '2', '3');
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = '1@1/another-boot/1#1', clean = 0"));
  const before = await first.session.consume(prices);
  await apply(first, before, name, await receive(before, 1));
  await first.stop();
  const basket = await start(t, directory, 'basket');
  const got = await receive(await basket.session.consume(prices), 2);
  assert.deepEqual(got.map(({ suspect }, at) => [labels(got)[at], suspect]), [['2', true], ['3', true]]);
});

test('what is suspect stays so for the next even if it was not read yet', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  await publish(catalog, ...Array.from({ length: 100 }, (_, n) => `${n}`));
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = '1@1/another-boot/1#1', clean = 0"));
  const before = await first.session.consume(prices);
  const some = await before.receive(100, { waitMs: 1_000, signal: never }); // as many as the first read brings
  assert.ok(some.length < 100);
  await apply(first, before, name, some);
  await first.stop();
  const basket = await start(t, directory, 'basket');
  const rest = await receive(await basket.session.consume(prices), 100 - some.length);
  assert.ok(rest.every(({ suspect }) => suspect));
});

test('what is suspect stays so when more is declared and it is read again', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, '1', '2');
  inside(join(directory, 'basket.db'), (db) => db.exec("update waybill_lease set owner = '1@1/another-boot/1#1', clean = 0"));
  const consumer = await basket.session.consume(prices);
  await receive(consumer, 2);
  await basket.session.declare(subscription(name, { bindings: [...prices.bindings, { type: 'catalog.other.v1', kind: 'event' }] }));
  const again = await receive(consumer, 2);
  assert.deepEqual(again.map(({ suspect }, at) => [labels(again)[at], suspect]), [['1', true], ['2', true]]);
});

test('killed again and again, publisher and subscribers: every message has one effect, in order', async (t) => {
  const directory = folder(t);
  const subscribers = [1, 2].map(() => instance(t, { directory, service: 'basket', role: 'apply', from: 'beginning' }));
  const acknowledged: string[] = [];
  const say = async (publisher: ReturnType<typeof instance>, number: number): Promise<void> => {
    for (let n = 0; n < number; n++) acknowledged.push((await publisher.next()).published);
  };
  for (let round = 0; round < 6; round++) {
    const publisher = instance(t, { directory, service: 'catalog', role: 'publish' });
    await say(publisher, 20);
    const victim = subscribers.shift()!;
    victim.process.kill('SIGKILL');
    subscribers.push(instance(t, { directory, service: 'basket', role: 'apply', from: 'beginning' }));
    await say(publisher, 20);
    publisher.process.kill('SIGKILL');
    await publisher.exited();
  }
  const all = inside(join(directory, 'catalog.db'), (db) => db.prepare('select id from waybill_ledger order by position').all()) as { id: string }[];
  const published = all.map(({ id }) => id);
  assert.deepEqual(acknowledged.filter((id) => !published.includes(id)), [], 'acknowledged, and not in the ledger');
  await eventually('all was to be applied', () => effects(directory, 'basket').length >= published.length);
  assert.deepEqual(effects(directory, 'basket').map(({ id }) => id), published);
});

test('a bus that was abandoned in this very process is taken over when its lease has run out', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const lost = await start(t, directory, 'basket');
  await lost.session.declare(prices);
  await publish(catalog, '1');
  await receive(await lost.session.consume(prices), 1);
  lost.store.database.close(); // whatever it wants to write from now on fails
  const basket = await start(t, directory, 'basket');
  const consumer = await basket.session.consume(prices);
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['1']);
  assert.deepEqual(await drain(consumer), []);
});
