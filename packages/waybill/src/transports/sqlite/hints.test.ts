import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock, type Clock } from '../../contract/clock.ts';
import { hastenedClock } from '../../testing/conformance/hastened-clock.ts';
import { enterDirectory } from './directory.ts';
import { createPoker, watchHints } from './hints.ts';
import {
  applyNew, eventually, folder, inside, instance, message, never, publish, receive, start, subscription,
} from '../../../test/transport-sqlite/world.ts';

const name = 'basket.prices';
const prices = subscription(name);
const wakes = (directory: string, service: string): string => join(directory, 'wake', service);

/** A clock that stands still until it is told to go on. */
function handClock(): Clock & { pass(ms: number): void } {
  const system = systemClock();
  const timers = new Set<{ dueMs: number; fn: () => void }>();
  let nowMs = 1_000_000;
  return {
    ...system,
    now: () => nowMs,
    monotonic: () => nowMs,
    after(delayMs, fn) {
      const timer = { dueMs: nowMs + delayMs, fn };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    pass(ms) {
      const untilMs = nowMs + ms;
      for (;;) {
        const next = [...timers].filter(({ dueMs }) => dueMs <= untilMs).sort((a, b) => a.dueMs - b.dueMs)[0];
        if (next === undefined) break;
        timers.delete(next);
        nowMs = next.dueMs;
        next.fn();
      }
      nowMs = untilMs;
    },
  };
}

test('a poke writes at once, at most one a millisecond, and the last one always counts', (t) => {
  const directory = folder(t);
  const clock = handClock();
  const poker = createPoker(directory, 'catalog', clock);
  t.after(() => poker.close());
  const file = wakes(directory, 'catalog');
  poker.poke();
  assert.equal(readFileSync(file, 'utf8'), '.');
  writeFileSync(file, ''); // by which the next write is seen
  poker.poke();
  poker.poke();
  assert.equal(statSync(file).size, 0, 'too soon');
  clock.pass(1);
  assert.equal(statSync(file).size, 1, 'the trailing one');
  writeFileSync(file, '');
  clock.pass(100);
  assert.equal(statSync(file).size, 0, 'one for both');
});

test('the file of hints does not grow', (t) => {
  const directory = folder(t);
  const clock = handClock();
  const poker = createPoker(directory, 'catalog', clock);
  for (let n = 0; n < 100; n++) {
    poker.poke();
    clock.pass(2);
  }
  poker.close();
  assert.equal(statSync(wakes(directory, 'catalog')).size, 1);
});

test('a hint that is still due when the bus stops is written then', (t) => {
  const directory = folder(t);
  const clock = handClock();
  const poker = createPoker(directory, 'catalog', clock);
  poker.poke();
  writeFileSync(wakes(directory, 'catalog'), '');
  poker.poke();
  poker.close();
  assert.equal(statSync(wakes(directory, 'catalog')).size, 1);
});

test('a file of hints that was deleted is made again; a folder that cannot be harms nobody', (t) => {
  const directory = folder(t);
  const clock = handClock();
  const poker = createPoker(directory, 'catalog', clock);
  poker.poke();
  rmSync(join(directory, 'wake'), { recursive: true });
  clock.pass(10_000);
  poker.poke();
  assert.ok(existsSync(wakes(directory, 'catalog')));
  poker.close();
  writeFileSync(join(directory, 'file'), '');
  const astray = createPoker(join(directory, 'file'), 'catalog', clock);
  astray.poke();
  astray.close();
});

test('a watch tells which service has poked', async (t) => {
  const directory = folder(t);
  const heard = new Set<string | undefined>();
  const watcher = watchHints(directory, (service) => heard.add(service), () => {});
  t.after(() => watcher?.close());
  const poker = createPoker(directory, 'catalog', systemClock());
  t.after(() => poker.close());
  await eventually('it was to be heard', () => {
    poker.poke();
    return heard.has('catalog');
  });
  assert.equal(watchHints(join(directory, 'wake', 'catalog'), () => {}, () => {}), undefined, 'what is no folder is not watched');
});

test('without any hint polling finds what was committed', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  for (const label of ['1', '2', '3']) {
    await catalog.store.transaction((tx) => catalog.store.ports.outbox.append(tx, [message('catalog', label)]));
    assert.deepEqual(await applyNew(basket, consumer, name, 1), [label]);
  }
});

test('where polls find what no hint announced they come faster, and slow down again', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const clock = handClock();
  const shared = enterDirectory(directory, clock);
  t.after(() => shared.leave());
  let moved = 0;
  let looks = 0;
  shared.follow({ opened: () => {}, moved: () => moved++, closed: () => {}, refused: () => {} });
  const ledger = shared.ledgers.get('catalog')!;
  const { look } = ledger;
  ledger.look = (nowMs) => {
    looks++;
    return look(nowMs);
  };
  const looksWithin = (ms: number): number => {
    const before = looks;
    clock.pass(ms);
    return looks - before;
  };
  assert.equal(looksWithin(1_000), 4, 'at rest: every 250 ms');
  const append = (): Promise<void> =>
    catalog.store.transaction((tx) => catalog.store.ports.outbox.append(tx, [message('catalog', 'unannounced')])).then(() => {});
  await append();
  clock.pass(250);
  assert.equal(moved, 1);
  assert.ok(looksWithin(14) >= 3, 'right after: after 2, 4 and 8 ms');
  clock.pass(1_000);
  assert.equal(looksWithin(1_000), 4, 'at rest again');
  await append();
  shared.hint('catalog');
  await eventually('a hint was to be looked after, while no time passes', () => moved === 2);
  assert.equal(looksWithin(1_000), 4, 'and makes no poll faster');
});

test('one poller and one watch, however many subscriptions', async (t) => {
  const directory = folder(t);
  const clock = handClock();
  await start(t, directory, 'catalog');
  const counted = { looks: 0 };
  const listeners = Array.from({ length: 20 }, () => {
    const shared = enterDirectory(directory, clock);
    t.after(() => shared.leave());
    shared.follow({ opened: () => {}, moved: () => {}, closed: () => {}, refused: () => {} });
    return shared;
  });
  const ledger = listeners[0]!.ledgers.get('catalog')!;
  assert.ok(listeners.every((shared) => shared.ledgers.get('catalog') === ledger), 'it is opened once');
  const { look } = ledger;
  ledger.look = (nowMs) => {
    counted.looks++;
    return look(nowMs);
  };
  clock.pass(1_000);
  assert.equal(counted.looks, 4);
});

test('a folder of hints that was deleted and made again is watched again at the next scan', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  rmSync(join(directory, 'wake'), { recursive: true });
  mkdirSync(join(directory, 'wake'));
  clock.pass(5_100);
  const catalog = await start(t, directory, 'catalog'); // a name that only its hint tells so soon
  await publish(catalog, '1');
  assert.deepEqual(await applyNew(basket, consumer, name, 1), ['1']);
});

test('a process that only publishes is not kept alive by the transport', async (t) => {
  const directory = folder(t);
  const publisher = instance(t, { directory, service: 'catalog', role: 'publish-and-leave' });
  await publisher.next();
  await publisher.exited();
});

test('a wait that is long is ended by a message, by its signal, or by the close', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  const first = consumer.receive(1, { waitMs: 3_600_000, signal: never });
  await publish(catalog, '1');
  assert.equal((await first).length, 1);
  const stop = new AbortController();
  const second = consumer.receive(1, { waitMs: 3_600_000, signal: stop.signal });
  stop.abort();
  assert.deepEqual(await second, []);
  const third = consumer.receive(1, { waitMs: 3_600_000, signal: never });
  await consumer.close();
  assert.deepEqual(await third, []);
});

test('the log of a ledger does not grow under its readers', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(prices);
  const consumer = await basket.session.consume(prices);
  const body = new Uint8Array(2_000);
  for (let n = 0; n < 60; n++) {
    await publish(catalog, ...Array.from({ length: 200 }, () => message('catalog', '', { body })));
    const got = await receive(consumer, 200);
    await basket.store.transaction((tx) => consumer.settleIn(tx, got));
    await consumer.settle(got);
  }
  assert.ok(statSync(join(directory, 'catalog.db-wal')).size < 12_000_000, `${statSync(join(directory, 'catalog.db-wal')).size} bytes`);
  assert.equal(inside(join(directory, 'catalog.db'), (db) => (db.prepare('select count(*) as n from waybill_ledger').get() as { n: number }).n), 12_000);
});
