import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, rmSync, renameSync, statSync, writeFileSync, openSync, writeSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import { hastenedClock } from '../../testing/conformance/hastened-clock.ts';
import {
  applyNew, drain, effects, eventually, folder, inside, instance, labels, message, place, publish, receive,
  start, stock, subscription,
} from '../../../test/transport-sqlite/world.ts';

const name = 'basket.prices';
const prices = subscription(name);
const code = (wanted: string) => (error: unknown) => WaybillError.is(error, wanted as 'STORE_FOREIGN');
/** Longer than the time between two scans. */
const scanMs = 5_100;

test('a copy of a ledger under another name is told of once and not read; others go on', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, 'copied');
  inside(join(directory, 'catalog.db'), (db) => db.exec(`vacuum into '${join(directory, 'copy.db')}'`));
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(subscription(name, { from: 'beginning' }));
  const consumer = await basket.session.consume(prices);
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['copied']);
  clock.pass(scanMs);
  clock.pass(scanMs);
  await publish(catalog, 'later');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['later']);
  assert.deepEqual(await drain(consumer), []);
  assert.deepEqual(basket.ledgers(), ['copy LEDGER_SKIPPED']);
});

test('files whose names are no service are told of once when they look like databases, and never when they do not', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  for (const file of ['Catalog.db', 'catalog.db.bak', 'notes.txt', '.gitignore', 'catalog copy.db']) writeFileSync(join(directory, file), '');
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(prices);
  await basket.session.consume(prices);
  clock.pass(scanMs);
  assert.deepEqual(basket.ledgers().toSorted(), ['Catalog.db LEDGER_SKIPPED', 'catalog copy.db LEDGER_SKIPPED']);
});

test('a store that lies in the directory under another name is refused', async (t) => {
  const directory = folder(t);
  await assert.rejects(start(t, directory, 'basket', { file: join(directory, 'shop.db') }), code('STORE_FOREIGN'));
  await assert.rejects(start(t, directory, 'basket', { file: join(directory, 'my-store') }), code('STORE_FOREIGN'));
});

test("a file that belongs to another service is not taken for this service's ledger", async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  await catalog.stop();
  renameSync(join(directory, 'catalog.db'), join(directory, 'basket.db'));
  const elsewhere = join(folder(t), 'store.db');
  await assert.rejects(start(t, directory, 'basket', { file: elsewhere }), code('STORE_FOREIGN'));
});

test('a service whose name is no file name is refused', async (t) => {
  const directory = folder(t);
  for (const service of ['Basket', 'basket.eu', '2basket', 'b'.repeat(64)]) {
    await assert.rejects(start(t, directory, service, { file: ':memory:' }), code('INVALID_OPTION'), service);
  }
});

test('another database is told of once it is clear that it becomes no ledger', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  inside(join(directory, 'cache.db'), (db) => db.exec('create table entry (key text)'));
  writeFileSync(join(directory, 'empty.db'), '');
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(prices);
  await basket.session.consume(prices);
  assert.deepEqual(basket.ledgers(), [], 'it may be in the making');
  clock.pass(scanMs);
  clock.pass(scanMs);
  assert.deepEqual(basket.ledgers().toSorted(), ['cache LEDGER_SKIPPED', 'empty LEDGER_SKIPPED']);
});

test('a ledger of a newer format is told of and keeps its position; after an upgrade it goes on where it stood', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  const before = await first.session.consume(prices);
  await publish(catalog, 'one');
  await applyNew(first, before, name, 1);
  await first.stop();

  await publish(catalog, 'two');
  const file = join(directory, 'catalog.db');
  inside(file, (db) => db.exec('update waybill_identity set format = 99'));
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  assert.deepEqual(await drain(consumer), []);
  assert.deepEqual(basket.ledgers(), ['catalog STORE_NEWER']);
  inside(file, (db) => db.exec('update waybill_identity set format = 1'));
  clock.pass(scanMs);
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['two']);
});

test('a ledger that is damaged is told of, nothing of it is skipped, and the others go on', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog');
  const pricing = await start(t, directory, 'pricing');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  await publish(catalog, 'one');
  await first.stop();
  await catalog.stop();
  const file = join(directory, 'catalog.db');
  inside(file, (db) => db.exec('pragma wal_checkpoint(truncate)'));
  copyFileSync(file, `${file}.whole`);
  const handle = openSync(file, 'r+');
  writeSync(handle, Buffer.alloc(statSync(file).size - 100, 0x5a), 0, undefined, 100);
  closeSync(handle);

  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  await publish(pricing, 'other');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['other']);
  clock.pass(scanMs);
  clock.pass(scanMs);
  assert.deepEqual(basket.ledgers(), ['catalog STORE_CORRUPT'], 'once');
  renameSync(`${file}.whole`, file);
  clock.pass(scanMs);
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['one']);
});

test('a ledger that turns out to be damaged while it is read stops alone, and is read on when it is whole again', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog');
  const pricing = await start(t, directory, 'pricing');
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(prices);
  await publish(catalog, ...Array.from({ length: 200 }, (_, n) => message('catalog', `${n}`, { body: new Uint8Array(3_000) })));
  await catalog.stop();
  const file = join(directory, 'catalog.db');
  inside(file, (db) => db.exec('pragma wal_checkpoint(truncate)'));
  copyFileSync(file, `${file}.whole`);
  const handle = openSync(file, 'r+');
  // The head of the file and its last page are whole: only reading the rows meets the damage.
  const { size } = statSync(file);
  writeSync(handle, Buffer.alloc(size - 40 * 4096 - 8 * 4096, 0xff), 0, undefined, 40 * 4096);
  closeSync(handle);
  const consumer = await basket.session.consume(prices);
  const got = await drain(consumer);
  await publish(pricing, 'other');
  assert.deepEqual(labels(await receive(consumer, 1)), ['other']);
  assert.deepEqual(basket.ledgers(), ['catalog STORE_CORRUPT']);
  renameSync(`${file}.whole`, file);
  clock.pass(scanMs);
  const rest = await receive(consumer, 200 - got.length);
  assert.equal(new Set([...got, ...rest].map(({ headers }) => headers['id'])).size, 200);
});

test('a ledger that was deleted and made again is read from its beginning', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  await publish(catalog, 'old 1', 'old 2', 'old 3');
  await applyNew(basket, consumer, name, 3);
  await catalog.stop();
  for (const end of ['', '-wal', '-shm', '-turn']) rmSync(join(directory, `catalog.db${end}`), { force: true });
  const again = await start(t, directory, 'catalog');
  await publish(again, 'new 1');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['new 1']);
  await publish(again, 'new 2');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['new 2']);
  assert.equal(place(directory, 'basket', name, 'catalog')?.position, 2);
  assert.deepEqual(basket.ledgers(), [], 'it is another ledger, not one that went back in time');
});

test('a ledger that was made again while its reader was away is read from its beginning', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  const before = await first.session.consume(prices);
  await publish(catalog, 'old 1', 'old 2');
  await applyNew(first, before, name, 2);
  await first.stop();
  await catalog.stop();
  for (const end of ['', '-wal', '-shm', '-turn']) rmSync(join(directory, `catalog.db${end}`), { force: true });
  const again = await start(t, directory, 'catalog');
  await publish(again, 'new 1', 'new 2', 'new 3');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  assert.deepEqual(await applyNew(basket, await basket.session.consume(prices), name, 3), ['new 1', 'new 2', 'new 3']);
  assert.deepEqual(basket.ledgers(), []);
});

for (const when of ['while it is read', 'while its reader is away'] as const) {
  test(`a ledger restored from a backup ${when} is told of and read again: nothing is missing, nothing doubled`, async (t) => {
    const directory = folder(t);
    const catalog = await start(t, directory, 'catalog');
    let basket = await start(t, directory, 'basket');
    await basket.session.declare(prices);
    let consumer = await basket.session.consume(prices);
    await publish(catalog, 'one', 'two');
    await applyNew(basket, consumer, name, 2);
    const file = join(directory, 'catalog.db');
    inside(file, (db) => db.exec(`vacuum into '${file}.backup'`));
    await publish(catalog, 'lost 1', 'lost 2');
    await applyNew(basket, consumer, name, 2);
    if (when === 'while its reader is away') await basket.stop();

    await catalog.stop();
    for (const end of ['-wal', '-shm']) rmSync(`${file}${end}`, { force: true });
    renameSync(`${file}.backup`, file);
    const restored = await start(t, directory, 'catalog');
    await publish(restored, 'new 1', 'new 2', 'new 3'); // their numbers were another row's before
    if (when === 'while its reader is away') {
      basket = await start(t, directory, 'basket');
      await basket.session.declare(prices);
      consumer = await basket.session.consume(prices);
    }
    assert.deepEqual(await applyNew(basket, consumer, name, 3), ['new 1', 'new 2', 'new 3']);
    const signal = basket.reported.find(({ detail }) => detail.error?.code === 'LEDGER_REWOUND');
    assert.equal(signal?.detail.subscription, name);
    assert.deepEqual(basket.ledgers(), ['catalog LEDGER_REWOUND']);
    assert.deepEqual(effects(directory, 'basket').map(({ label }) => label), ['one', 'two', 'lost 1', 'lost 2', 'new 1', 'new 2', 'new 3']);
  });
}

test('a subscriber restored from a backup reads again what it had applied since: position, inbox and effects went back together', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  let basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, 'one', 'two');
  await applyNew(basket, await basket.session.consume(prices), name, 2);
  const file = join(directory, 'basket.db');
  inside(file, (db) => db.exec(`vacuum into '${file}.backup'`));
  await basket.stop();
  basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, 'three', 'four');
  await applyNew(basket, await basket.session.consume(prices), name, 2);
  await basket.stop();
  for (const end of ['-wal', '-shm']) rmSync(`${file}${end}`, { force: true });
  renameSync(`${file}.backup`, file);
  assert.deepEqual(effects(directory, 'basket').map(({ label }) => label), ['one', 'two']);

  basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  await publish(catalog, 'five');
  assert.deepEqual(await applyNew(basket, await basket.session.consume(prices), name, 3), ['three', 'four', 'five']);
  assert.deepEqual(effects(directory, 'basket').map(({ label }) => label), ['one', 'two', 'three', 'four', 'five']);
  assert.deepEqual(basket.ledgers(), []);
});

test('a ledger that was restored when its reader stood behind its last trimmed row is read again, too', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  await publish(catalog, 'one', 'two');
  await applyNew(basket, consumer, name, 2);
  const file = join(directory, 'catalog.db');
  inside(file, (db) => db.exec(`vacuum into '${file}.backup'`));
  await publish(catalog, 'lost 1', 'lost 2', 'lost 3');
  await applyNew(basket, consumer, name, 3);
  await catalog.store.ports.outbox.trim(Date.now() + 60_000, 1_000);
  await basket.stop();
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  await publish(catalog, 'lost 4');
  await applyNew(first, await first.session.consume(prices), name, 1);
  await catalog.store.ports.outbox.trim(Date.now() + 60_000, 1_000);
  inside(join(directory, 'basket.db'), (db) => db.exec('update waybill_position set anchor = null'));
  await first.stop();
  await catalog.stop();
  for (const end of ['-wal', '-shm']) rmSync(`${file}${end}`, { force: true });
  renameSync(`${file}.backup`, file);
  const restored = await start(t, directory, 'catalog');
  await publish(restored, 'new 1');
  const after = await start(t, directory, 'basket');
  await after.session.declare(prices);
  assert.deepEqual(await applyNew(after, await after.session.consume(prices), name, 1), ['new 1']);
  assert.deepEqual(after.ledgers(), ['catalog LEDGER_REWOUND']);
});

test('what a rewound ledger brings again says so', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  await publish(catalog, 'one', 'two');
  await applyNew(basket, consumer, name, 2);
  await basket.stop();
  inside(join(directory, 'catalog.db'), (db) => db.exec("delete from waybill_ledger where position = 2"));
  await publish(catalog, 'other');
  const after = await start(t, directory, 'basket');
  await after.session.declare(prices);
  const got = await receive(await after.session.consume(prices), 2);
  assert.deepEqual(got.map(({ redelivered }, at) => [labels(got)[at], redelivered]), [['one', true], ['other', true]]);
});

test('a subscription that was away for too long is told once, and goes on after what was trimmed', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  const before = await first.session.consume(prices);
  await publish(catalog, 'one');
  await applyNew(first, before, name, 1);
  await first.stop();
  await publish(catalog, 'two', 'three');
  await catalog.store.ports.outbox.trim(Date.now() + 60_000, 1_000);
  await publish(catalog, 'four');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['four']);
  await publish(catalog, 'five');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['five']);
  assert.deepEqual(basket.ledgers(), ['catalog LEDGER_TRIMMED']);
});

test('a subscription that had read all that was trimmed hears nothing of it', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  const before = await first.session.consume(prices);
  await publish(catalog, 'one', 'two');
  await applyNew(first, before, name, 2);
  await catalog.store.ports.outbox.trim(Date.now() + 60_000, 1_000);
  await publish(catalog, 'three');
  assert.deepEqual(await applyNew(first, before, name, 1), ['three'], 'the row at its cursor is gone, and that is in order');
  await first.stop();
  await catalog.store.ports.outbox.trim(Date.now() + 60_000, 1_000);
  await publish(catalog, 'four');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  assert.deepEqual(await applyNew(basket, await basket.session.consume(prices), name, 1), ['four']);
  assert.deepEqual([...first.ledgers(), ...basket.ledgers()], []);
});

test('a cursor that ran over other types is kept when the consumer closes, so that retention raises no false alarm', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const first = await start(t, directory, 'basket');
  await first.session.declare(prices);
  const before = await first.session.consume(prices);
  await publish(catalog, ...Array.from({ length: 50 }, (_, n) => message('catalog', `${n}`, { type: stock })));
  await eventually('the cursor was to run ahead', async () => {
    assert.deepEqual(await before.receive(1, { waitMs: 5, signal: new AbortController().signal }), []);
    return (before.progress()[0]?.waiting ?? 1) === 0;
  });
  await first.stop();
  await catalog.store.ports.outbox.trim(Date.now() + 60_000, 1_000);
  await publish(catalog, 'one');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  assert.deepEqual(await applyNew(basket, await basket.session.consume(prices), name, 1), ['one']);
  assert.deepEqual(basket.ledgers(), []);
});

test('a cursor that ran far over other types is kept while the consumer goes on', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  await catalog.store.database.write(({ statements }) => {
    statements.run(
      `with recursive n (n) as (select 1 union all select n + 1 from n where n < 12000)
       insert into waybill_ledger (kind, id, source, type, time, headers, body, appended)
       select 'event', 'id ' || n, 'catalog', ?, 0, '{}', x'', ? from n`,
      stock,
      Date.now(),
    );
  });
  const stop = new AbortController();
  t.after(() => stop.abort());
  const reading = consumer.receive(1, { waitMs: 20_000, signal: stop.signal });
  await eventually('the cursor was to be kept', () => place(directory, 'basket', name, 'catalog')?.position === 12_000);
  stop.abort();
  await reading;
  await catalog.store.ports.outbox.trim(Date.now() + 60_000, 20_000);
});

test('a late ledger is read from where the subscription began', async (t) => {
  const directory = folder(t);
  const other = folder(t);
  const catalog = await start(t, other, 'catalog');
  await publish(catalog, 'before');
  const basket = await start(t, directory, 'basket');
  const all = subscription('basket.all', { from: 'beginning' });
  await new Promise((resolve) => setTimeout(resolve, 5));
  const sinceMs = Date.now();
  const since = subscription('basket.since', { from: sinceMs });
  await basket.session.declare(prices);
  await basket.session.declare(all);
  await basket.session.declare(since);
  await new Promise((resolve) => setTimeout(resolve, 5));
  await publish(catalog, 'after 1', 'after 2');
  await catalog.stop();
  mkdirSync(directory, { recursive: true });
  renameSync(join(other, 'catalog.db'), join(directory, 'catalog.db'));
  const late = await start(t, directory, 'catalog');
  const got: Record<string, string[]> = {};
  for (const declared of [prices, all, since]) {
    const consumer = await basket.session.consume(declared);
    got[declared.name] = await applyNew(basket, consumer, declared.name, declared === all ? 3 : 2);
    assert.deepEqual(await drain(consumer), []);
  }
  assert.deepEqual(got, {
    'basket.prices': ['after 1', 'after 2'],
    'basket.all': ['before', 'after 1', 'after 2'],
    'basket.since': ['after 1', 'after 2'],
  });
  await late.stop();
});

test('a late ledger that holds nothing new yet is read from its end on', async (t) => {
  const directory = folder(t);
  const other = folder(t);
  const catalog = await start(t, other, 'catalog');
  await publish(catalog, 'before');
  await catalog.stop();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  renameSync(join(other, 'catalog.db'), join(directory, 'catalog.db'));
  const late = await start(t, directory, 'catalog'); // it hints at its start
  await eventually('it was to be found', () => consumer.progress().some(({ source }) => source === 'catalog'));
  assert.deepEqual(await drain(consumer), []);
  await publish(late, 'after');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['after']);
});

test('a new ledger, and what it holds, is found by its hints alone', async (t) => {
  const directory = folder(t);
  const timeless = { ...systemClock(), monotonic: () => 0 }; // by which it is never time to scan or to poll
  const basket = await start(t, directory, 'basket', { clock: timeless });
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, 'first');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['first']);
});

test('from a date: rows written since', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, ...Array.from({ length: 3_000 }, (_, n) => message('catalog', `old ${n}`)));
  await new Promise((resolve) => setTimeout(resolve, 5));
  const sinceMs = Date.now();
  await publish(catalog, 'new 1', 'new 2');
  const basket = await start(t, directory, 'basket');
  const since = subscription(name, { from: sinceMs });
  await basket.session.declare(since);
  await publish(catalog, 'new 3');
  const consumer = await basket.session.consume(since);
  assert.deepEqual(await applyNew(basket, consumer, name, 3), ['new 1', 'new 2', 'new 3']);
  assert.deepEqual(await drain(consumer), []);
});

test('a message of long ago that is written now reaches a subscription of today', async (t) => {
  const directory = folder(t);
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, message('catalog', 'delayed', { time: Date.now() - 86_400_000 }));
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['delayed']);
});

test('what is committed after the declaration is kept, even if it was begun before', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await publish(catalog, 'before');
  const [written, commit] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const publishing = catalog.store.transaction(async (tx) => {
    await catalog.store.ports.outbox.append(tx, [message('catalog', 'begun before')]);
    written.resolve();
    await commit.promise;
  });
  await written.promise;
  await basket.session.declare(prices);
  commit.resolve();
  await publishing;
  assert.deepEqual(await applyNew(basket, await basket.session.consume(prices), name, 1), ['begun before']);
});

test('a directory that cannot be written is refused with the next step', { skip: process.geteuid?.() !== 0 && 'only root can become another user' }, async (t) => {
  const directory = folder(t);
  const { chmodSync, chownSync } = await import('node:fs');
  chmodSync(directory, 0o755);
  const stranger = instance(t, { directory, service: 'basket', role: 'open', elsewhere: true }, { uid: 65_534, gid: 65_534 });
  const answer = await stranger.next();
  assert.equal(answer.refused, 'STORE_READONLY');
  assert.match(answer.message, /2770|right/);
  chownSync(directory, 65_534, 65_534);
  const root = await start(t, directory, 'catalog', { file: ':memory:' });
  assert.match(root.reported.find(({ name }) => name === 'warn')?.detail.text, /belongs to another user/);
});

test("another user's ledger is not opened where that could lock its owner out", { skip: process.geteuid?.() !== 0 && 'only root can become another user' }, async (t) => {
  const directory = folder(t);
  const { chmodSync } = await import('node:fs');
  chmodSync(directory, 0o777);
  const catalog = await start(t, directory, 'catalog');
  await publish(catalog, 'one');
  await catalog.stop();
  chmodSync(join(directory, 'wake'), 0o777);
  const stranger = instance(t, { directory, service: 'basket', role: 'watch' }, { uid: 65_534, gid: 65_534 });
  const answer = await stranger.next();
  assert.deepEqual(answer.ledgers, ['catalog LEDGER_SKIPPED']);
  const again = await start(t, directory, 'catalog');
  await publish(again, 'two');
});

test('services of one group share a setgid directory', { skip: process.geteuid?.() !== 0 && 'only root can become another user' }, async (t) => {
  const directory = folder(t);
  const { chmodSync, chownSync } = await import('node:fs');
  chownSync(directory, 0, 60_000);
  chmodSync(directory, 0o2770);
  const catalog = instance(t, { directory, service: 'catalog', role: 'publish', count: 3, umask: 0o007 }, { uid: 60_001, gid: 60_000 });
  for (let n = 0; n < 3; n++) await catalog.next();
  await catalog.exited();
  const basket = instance(t, { directory, service: 'basket', role: 'apply', from: 'beginning', umask: 0o007 }, { uid: 60_002, gid: 60_000 });
  await basket.next();
  const { applied } = await basket.next();
  assert.deepEqual(applied, ['catalog 1', 'catalog 2', 'catalog 3']);
  const again = instance(t, { directory, service: 'catalog', role: 'publish', count: 1, umask: 0o007 }, { uid: 60_001, gid: 60_000 });
  assert.match((await again.next()).published, /^catalog 1/);
  assert.deepEqual((await basket.next()).applied, ['catalog 1']);
});
