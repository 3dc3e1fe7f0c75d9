import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { WaybillError } from '../../contract/errors.ts';
import { hastenedClock } from '../../testing/conformance/hastened-clock.ts';
import type { SqliteTransaction } from '../../stores/sqlite/port.ts';
import { failure, waitingEntry } from '../../../test/sqlite/support.ts';
import {
  apply, applyNew, drain, effects, eventually, events, folder, inside, labels, message, never, place, price, publish, receive,
  start, stock, subscription,
} from '../../../test/transport-sqlite/world.ts';

const name = 'basket.products';
const older = subscription(name, { bindings: events(price) });
const newer = subscription(name, { bindings: events(price, stock) });
const rows = (directory: string): Record<string, unknown>[] =>
  inside(join(directory, 'basket.db'), (db) => db.prepare('select name, type, dropped is null as taken from waybill_subscription order by name, type').all()) as never;
const revision = (directory: string, of = name): number =>
  (inside(join(directory, 'basket.db'), (db) => db.prepare('select revision from waybill_lease where subscription = ?').get(of)) as { revision: number }).revision;
const stocks = (label: string): ReturnType<typeof message> => message('catalog', label, { type: stock });

test('an old instance that holds the lease does not step over rows that a new instance declared', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const old = await start(t, directory, 'basket');
  await old.session.declare(older);
  const holder = await old.session.consume(older);
  await publish(catalog, 'p1', stocks('before'));
  assert.deepEqual(await applyNew(old, holder, name, 1), ['p1']);
  assert.deepEqual(await drain(holder), []);

  const fresh = await start(t, directory, 'basket');
  await new Promise((resolve) => setTimeout(resolve, 2));
  await fresh.session.declare(newer);
  await publish(catalog, stocks('s1'), 'p2', stocks('s2'), 'p3');
  // The old one takes them, whatever it was reading when they were declared; it leaves them to others by its own means.
  assert.deepEqual(await applyNew(old, holder, name, 4), ['s1', 'p2', 's2', 'p3']);
  assert.deepEqual(await drain(holder), []);
  assert.deepEqual(effects(directory, 'basket').map(({ label }) => label), ['p1', 's1', 'p2', 's2', 'p3']);
});

test('what is in hand when more is declared commits nothing any more, and comes again in its order', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const old = await start(t, directory, 'basket');
  await old.session.declare(older);
  await publish(catalog, 'p1');
  const holder = await old.session.consume(older);
  const got = await receive(holder, 1);
  const fresh = await start(t, directory, 'basket');
  await fresh.session.declare(newer);
  await publish(catalog, stocks('s1'), 'p2');
  await assert.rejects(apply(old, holder, name, got), (error) => WaybillError.is(error, 'LEASE_LOST'));
  assert.equal(holder.active, true, 'the lease is still its own');
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 0);
  assert.deepEqual(await applyNew(old, holder, name, 3), ['p1', 's1', 'p2']);
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 3);
});

test('one void batch takes along what was received after it: nothing is left behind', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const old = await start(t, directory, 'basket');
  await old.session.declare(older);
  await publish(catalog, 'p1');
  const holder = await old.session.consume(older);
  const first = await receive(holder, 1);
  const fresh = await start(t, directory, 'basket');
  await fresh.session.declare(newer);
  await publish(catalog, stocks('s1'));
  await eventually('it was to hear of it', async () => {
    const again = await holder.receive(10, { waitMs: 50, signal: never }); // these are dropped by whoever hears LEASE_LOST
    return labels(again).includes('p1');
  });
  await assert.rejects(apply(old, holder, name, first), (error) => WaybillError.is(error, 'LEASE_LOST'));
  assert.deepEqual(await applyNew(old, holder, name, 2), ['p1', 's1']);
});

test('a type that the new code does not name is taken for ten more minutes, and a declaration brings it back', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog', { clock });
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(newer);
  const consumer = await basket.session.consume(newer);
  await basket.session.declare(older);
  assert.deepEqual(rows(directory).map(({ type, taken }) => [type, taken]), [[price, 1], [stock, 0]]);
  await publish(catalog, stocks('s1'));
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['s1']);
  clock.pass(601_000);
  await publish(catalog, stocks('s2'), 'p1');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['p1']);
  assert.deepEqual(await drain(consumer), []);
  await basket.session.declare(newer);
  await publish(catalog, stocks('s3'));
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['s3'], 'what was published in between is not for it');
  assert.deepEqual(await drain(consumer), []);
});

test('a type that comes back after more than ten minutes begins anew', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog', { clock });
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(newer);
  await basket.session.declare(older);
  clock.pass(601_000);
  await publish(catalog, stocks('in between'), 'p1');
  await new Promise((resolve) => setTimeout(resolve, 5));
  await basket.session.declare(newer);
  await publish(catalog, stocks('s1'));
  const consumer = await basket.session.consume(newer);
  assert.deepEqual(await applyNew(basket, consumer, name, 2), ['p1', 's1']);
  assert.deepEqual(await drain(consumer), []);
});

test('an instance of older code that leaves before it heard of a declaration keeps no position past it', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const old = await start(t, directory, 'basket');
  await old.session.declare(older);
  const holder = await old.session.consume(older);
  const fresh = await start(t, directory, 'basket');
  await fresh.session.declare(newer);
  await publish(catalog, stocks('s1'), 'p1');
  await holder.receive(1, { waitMs: 30, signal: never }); // the cursor runs over the one and stands before the other
  await holder.close();
  const consumer = await fresh.session.consume(newer);
  assert.deepEqual(await applyNew(fresh, consumer, name, 2), ['s1', 'p1']);
});

test('an instance of older code at rest, too', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const old = await start(t, directory, 'basket');
  await old.session.declare(older);
  const holder = await old.session.consume(older);
  const fresh = await start(t, directory, 'basket');
  await fresh.session.declare(newer);
  await publish(catalog, stocks('s1'));
  assert.deepEqual(await holder.receive(1, { waitMs: 30, signal: never }), []);
  await holder.close();
  const consumer = await fresh.session.consume(newer);
  assert.deepEqual(await applyNew(fresh, consumer, name, 1), ['s1']);
});

test('declaring what is declared changes nothing', async (t) => {
  const directory = folder(t);
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(newer);
  const before = revision(directory);
  await basket.session.declare(newer);
  assert.equal(revision(directory), before);
  await basket.session.declare(older);
  assert.equal(revision(directory), before + 1);
});

test('a type that is added later takes what is written from then on', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(older);
  await publish(catalog, stocks('too early'));
  await new Promise((resolve) => setTimeout(resolve, 5));
  await basket.session.declare(newer);
  await publish(catalog, stocks('in time'));
  const consumer = await basket.session.consume(newer);
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['in time']);
  assert.deepEqual(await drain(consumer), []);
});

test('a renamed subscription keeps its position, what waits and what failed', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(older);
  await publish(catalog, '1', '2');
  const before = await basket.session.consume(older);
  await apply(basket, before, name, await receive(before, 1));
  const { ports } = basket.store;
  await basket.store.transaction(async (tx) => {
    await ports.waiting.add(tx, [waitingEntry({ subscription: name })]);
    await ports.failures.add(tx, [failure({ subscription: name })]);
  });
  const renamed = subscription('basket.new', { formerly: [name] });
  await basket.session.declare(renamed);
  await assert.rejects(apply(basket, before, name, []), (error) => WaybillError.is(error, 'LEASE_LOST'), 'the old name is fenced');
  const consumer = await basket.session.consume(renamed);
  assert.deepEqual(labels(await receive(consumer, 1)), ['2']);
  assert.deepEqual((await ports.inspect.waiting({})).map((row) => row.subscription), ['basket.new']);
  assert.deepEqual((await ports.inspect.failures({})).map((row) => row.subscription), ['basket.new']);
  assert.deepEqual([...new Set(rows(directory).map((row) => row['name']))], ['basket.new']);
});

test('an old instance that declares the former name again: the new name keeps its place', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  const renamed = subscription('basket.new', { formerly: [name] });
  await basket.session.declare(older);
  await publish(catalog, '1');
  await basket.session.declare(renamed);
  await basket.session.declare(older); // from now on, under the old name
  await publish(catalog, '2');
  await basket.session.declare(renamed);
  const consumer = await basket.session.consume(renamed);
  assert.deepEqual(labels(await receive(consumer, 2)), ['1', '2']);
  assert.deepEqual([...new Set(rows(directory).map((row) => row['name']))], ['basket.new']);
});

test('two instances that declare a new subscription at once set one beginning', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, 'before');
  const buses = [await start(t, directory, 'basket'), await start(t, directory, 'basket')];
  await Promise.all(buses.map((bus) => bus.session.declare(newer)));
  await publish(catalog, 'after');
  const consumer = await buses[0]!.session.consume(newer);
  assert.deepEqual(await applyNew(buses[0]!, consumer, name, 1), ['after']);
  assert.equal(rows(directory).length, 2);
});

test('removed at once: nothing of it is left, except what it gave up', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(newer);
  const consumer = await basket.session.consume(newer);
  await publish(catalog, '1');
  const got = await receive(consumer, 1);
  await basket.store.transaction(async (tx) => {
    await basket.store.ports.waiting.add(tx, [waitingEntry({ subscription: name })]);
    await basket.store.ports.failures.add(tx, [failure({ subscription: name })]);
  });
  await basket.session.remove(name, 'drop');
  await assert.rejects(apply(basket, consumer, name, got), (error) => WaybillError.is(error, 'LEASE_LOST'));
  assert.equal(consumer.active, false);
  for (const table of ['subscription', 'position', 'lease', 'waiting']) {
    const left = inside(join(directory, 'basket.db'), (db) => db.prepare(`select * from waybill_${table}`).all());
    assert.deepEqual(left, [], table);
  }
  assert.equal((await basket.store.ports.inspect.failures({})).length, 1);
});

test('removed after what is queued: what came before is applied, what comes later is not taken', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(newer);
  const consumer = await basket.session.consume(newer);
  await publish(catalog, '1', '2');
  let removed = false;
  const removing = basket.session.remove(name, 'apply').then(() => (removed = true));
  await eventually('it was to be stopped', () => inside(join(directory, 'basket.db'), (db) => db.prepare('select 1 from waybill_subscription where stopped is not null').get() !== undefined));
  await new Promise((resolve) => setTimeout(resolve, 5));
  await publish(catalog, 'too late');
  await new Promise((resolve) => setTimeout(resolve, 50)); // it is seen
  const got = await receive(consumer, 2);
  assert.deepEqual(labels(got), ['1', '2']);
  await apply(basket, consumer, name, got.slice(0, 1));
  await new Promise((resolve) => setTimeout(resolve, 200)); // it looks each 50 ms
  assert.equal(removed, false);
  await apply(basket, consumer, name, got.slice(1));
  await removing;
  assert.deepEqual(await drain(consumer), []);
  assert.deepEqual(effects(directory, 'basket').map(({ label }) => label), ['1', '2']);
  assert.deepEqual(rows(directory), []);
});

test('removed after what waits: not before it has been run', async (t) => {
  const directory = folder(t);
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(newer);
  const consumer = await basket.session.consume(newer);
  await basket.store.transaction((tx) => basket.store.ports.waiting.add(tx, [waitingEntry({ subscription: name })]));
  let removed = false;
  const removing = basket.session.remove(name, 'apply').then(() => (removed = true));
  assert.deepEqual(await consumer.receive(1, { waitMs: 200, signal: never }), []);
  assert.equal(removed, false);
  await basket.store.transaction((tx) => {
    (tx as unknown as SqliteTransaction).statements.run('delete from waybill_waiting');
  });
  await removing;
});

test('removed by an instance that does not consume it: the one that holds it ends it', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const holder = await start(t, directory, 'basket');
  await holder.session.declare(newer);
  const consumer = await holder.session.consume(newer);
  await publish(catalog, '1');
  const other = await start(t, directory, 'basket');
  const removing = other.session.remove(name, 'apply');
  assert.deepEqual(await applyNew(holder, consumer, name, 1), ['1']);
  const stop = new AbortController();
  const receiving = consumer.receive(1, { waitMs: 60_000, signal: stop.signal });
  await removing;
  stop.abort();
  assert.deepEqual(await receiving, []);
  assert.deepEqual(rows(directory), []);
});

test('removed while nobody consumes it: at once when nothing is queued; else it says so, and stays', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(newer);
  await publish(catalog, '1');
  const removing = basket.session.remove(name, 'apply');
  const late = assert.rejects(removing, /still has messages/);
  await eventually('it was to be stopped', () => revision(directory) > 1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  clock.pass(31_000);
  await late;
  await basket.session.declare(newer); // an instance that starts with it in its code subscribes again
  const consumer = await basket.session.consume(newer);
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['1']);
  await consumer.close();
  await basket.session.remove(name, 'apply');
  assert.deepEqual(rows(directory), []);
});

test('a subscription from a point in time begins there also in ledgers that grew while nobody here read', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(older); // finds the ledger, and nobody follows it
  await publish(catalog, 'before');
  await new Promise((resolve) => setTimeout(resolve, 5));
  const since = Date.now();
  await publish(catalog, 'after', 'later');
  const late = subscription('basket.late', { bindings: events(price), from: since });
  await basket.session.declare(late);
  const consumer = await basket.session.consume(late);
  assert.deepEqual(labels(await receive(consumer, 2)), ['after', 'later']);
});
