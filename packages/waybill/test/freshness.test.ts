/** Tokens, and how far each source has been applied. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { Reject } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { sqlite as sqliteStore } from 'waybill/stores/sqlite';
import { memory } from 'waybill/transports/memory';
import { sqlite as sqliteTransport } from 'waybill/transports/sqlite';
import { Noted, Priced, Seen } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

overStores('caughtUp', (store) => {
  it('is true once every subscription here has applied the message, and not before', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const first = bus.subscribe(Noted, () => {});
    const second = bus.subscribe(Noted, { name: 'second' }, () => {});
    await bus.start();
    await second.pause();
    const { token } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), false);
    let answer: boolean | undefined;
    const waited = bus.caughtUp(token, { timeoutMs: 60_000 }).then((value) => (answer = value));
    await bus.advance(10_000);
    assert.equal(answer, undefined);
    await second.resume();
    await bus.settled();
    assert.equal(await waited, true);
    assert.equal(first.name, 'desk.desk.noted');
  });

  it('is true at once in a service that subscribes to nothing of it', async () => {
    const transport = memory();
    await using desk = createTestBus({ service: 'desk', store, transport });
    await using other = createTestBus({ service: 'other', store, transport });
    const { token } = await desk.publish(Noted, { text: 'a' });
    assert.equal(await other.caughtUp(token, { timeoutMs: 0 }), true);
  });

  it('is false while the message waits for a retry, and after it has failed; true once it was retried', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let broken = true;
    bus.subscribe(Noted, { retry: { immediate: 0, delayed: 1 } }, () => {
      if (broken) throw new Error('no');
    });
    const { token } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), false);
    await bus.advance(10_000);
    assert.equal((await bus.failures()).length, 1);
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), false);
    broken = false;
    await operations(bus).failures.retry({});
    await bus.settled();
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), true);
  });

  it('is false at the timeout', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const subscription = bus.subscribe(Noted, () => {});
    await bus.start();
    await subscription.pause();
    const { token } = await bus.publish(Noted, { text: 'a' });
    const waited = bus.caughtUp(token, { timeoutMs: 2_000 });
    const began = bus.clock.monotonic();
    await bus.advance(2_000);
    assert.equal(await waited, false);
    assert.equal(bus.clock.monotonic() - began, 2_000);
  });

  it('does not wait for a subscription that was removed', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const subscription = bus.subscribe(Noted, () => {});
    await bus.start();
    await subscription.unsubscribe();
    const { token } = await bus.publish(Noted, { text: 'a' });
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), true);
  });

  it('leaves no listener and no timer behind', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, () => {});
    const { token } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    for (let i = 0; i < 100; i++) await bus.caughtUp(token, { timeoutMs: 1_000_000 });
    const { length } = bus.history();
    await bus.advance(1_000);
    assert.equal(bus.history().length, length);
  });

  it('takes a token that travelled as text, and one with the longest id', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, () => {});
    const { token } = await bus.publish(Noted, { text: 'a' }, { id: '€'.repeat(200) });
    assert.match(token, /^[A-Za-z0-9_-]+$/, 'fit for cookies and addresses');
    await bus.settled();
    assert.equal(await bus.caughtUp(decodeURIComponent(encodeURIComponent(token)), { timeoutMs: 0 }), true);
  });
});

overStores('freshness', (store) => {
  it('tells per source and subscription how far it is, and what waits', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    await using desk = createTestBus({ service: 'desk', store, transport });
    const notes = desk.subscribe(Noted, { name: 'notes' }, () => {});
    desk.subscribe(Seen, { name: 'sights' }, () => {});
    await catalog.publish(Noted, { text: 'a' });
    await catalog.settled();
    const published = new Date(desk.clock.now());
    assert.deepEqual(await desk.freshness(), [
      { source: 'catalog', subscription: 'desk.notes', appliedUntil: published, waiting: 0, state: 'current' },
    ]);
    await notes.pause();
    await catalog.advance(10_000);
    await catalog.publishAll([Noted.of({ text: 'b' }), Noted.of({ text: 'c' })]);
    await catalog.settled();
    const [row] = await desk.freshness('catalog');
    assert.equal(row!.waiting, 2);
    assert.equal(row!.state, 'behind');
    assert.deepEqual(await desk.freshness('nobody'), []);
  });

  it('says failing while a message of the subscription is in failures', async () => {
    await using desk = createTestBus({ service: 'desk', store });
    desk.subscribe(Noted, { retry: false }, () => {
      throw new Error('no');
    });
    await desk.publish(Noted, { text: 'a' });
    await desk.settled();
    assert.equal((await desk.freshness())[0]!.state, 'failing');
    await operations(desk).failures.delete({});
    assert.equal((await desk.freshness())[0]!.state, 'current');
  });
});

overStores('over a broker, freshness', (store) => {
  it('keeps a quiet publisher current by its heartbeat, and says behind once it is away', async () => {
    const transport = memory();
    const catalog = createTestBus({ service: 'catalog', store, transport });
    await using desk = createTestBus({ service: 'desk', store, transport });
    desk.subscribe(Noted, { name: 'notes' }, () => {});
    await catalog.publish(Noted, { text: 'a' });
    await desk.settled();
    await desk.advance(60_000);
    const [quiet] = await desk.freshness();
    assert.equal(quiet!.state, 'current');
    assert.ok(desk.clock.now() - quiet!.appliedUntil.getTime() < 2_500);
    await catalog.stop();
    await desk.advance(10_000);
    assert.equal((await desk.freshness())[0]!.state, 'behind');
    assert.equal((await desk.freshness()).length, 1, 'who never sent anything that is taken here is not listed');
  });

  it('does not heap heartbeats up while nobody takes them', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    await using desk = createTestBus({ service: 'desk', store, transport });
    const notes = desk.subscribe(Noted, { name: 'notes' }, () => {});
    await catalog.publish(Noted, { text: 'a' });
    await desk.settled();
    await notes.pause();
    await desk.advance(600_000);
    assert.equal((await desk.freshness())[0]!.waiting, 0);
    await notes.unsubscribe();
  });

  it('is held back by what an older lane still works on, while newer ones are done', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    await using desk = createTestBus({ service: 'desk', store, transport });
    const gate = Promise.withResolvers<void>();
    let done = 0;
    desk.subscribe(Noted, { name: 'notes', transaction: 'manual', timeoutMs: 3_600_000 }, async (event, ctx) => {
      if (event.text === 'slow') await Promise.race([gate.promise, new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))]);
      await ctx.transaction(async () => {});
      done++;
    });
    await desk.start();
    const slowAt = desk.clock.now();
    await catalog.publish(Noted, { text: 'slow' });
    await desk.clock.advance(10_000);
    const { token } = await catalog.publish(Noted, { text: 'fast' });
    for (let i = 0; i < 500 && done < 1; i++) await desk.clock.advance(10);
    assert.equal(done, 1);
    assert.equal(await desk.caughtUp(token, { timeoutMs: 0 }), true);
    const [row] = await desk.freshness();
    assert.deepEqual([row!.waiting, row!.state, row!.appliedUntil < new Date(slowAt)], [1, 'behind', true]);
    gate.resolve();
    await desk.settled();
    assert.equal((await desk.freshness())[0]!.waiting, 0);
  });

  it('tells sources apart: one fails, another is current, a third waits for a retry', async () => {
    const transport = memory();
    const names = ['good', 'bad', 'flaky'];
    const sources = names.map((service) => createTestBus({ service, store, transport }));
    await using desk = createTestBus({ service: 'desk', store, transport });
    desk.subscribe(Noted, { name: 'notes', retry: { immediate: 0, delayed: 8, delayMs: 600_000 } }, (event) => {
      if (event.text === 'bad') throw new Reject('no');
      if (event.text === 'flaky') throw new Error('later');
    });
    for (const [i, source] of sources.entries()) await source.publish(Noted, { text: names[i]! });
    await desk.settled();
    const states = Object.fromEntries((await desk.freshness()).map(({ source, state, waiting }) => [source, [state, waiting]]));
    assert.deepEqual(states, { good: ['current', 0], bad: ['failing', 0], flaky: ['behind', 1] });
    for (const source of sources) await source.stop();
  });

  it('does not make a new subscription wait for what was published long before it', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    const { token } = await catalog.publish(Noted, { text: 'old' });
    await catalog.advance(600_000);
    await using desk = createTestBus({ service: 'desk', store, transport });
    desk.subscribe(Noted, { name: 'notes' }, () => {});
    await desk.settled();
    assert.equal(await desk.caughtUp(token, { timeoutMs: 0 }), true);
  });
});

it('a standby instance tells how far the one that works is', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-freshness-'));
  try {
    const transport = sqliteTransport(folder);
    const open = (service: string) => createTestBus({ service, store: sqliteStore(join(folder, `${service}.db`)), transport });
    await using catalog = open('catalog');
    const one = open('desk');
    await using two = open('desk');
    const notes = [one, two].map((bus) => bus.subscribe(Noted, { name: 'notes' }, () => {}));
    await catalog.publish(Noted, { text: 'a' });
    await catalog.settled();
    const told = async (): Promise<unknown[]> =>
      Promise.all([one, two].map(async (bus) => (await bus.freshness('catalog')).map(({ waiting, state }) => [waiting, state])));
    assert.deepEqual(await told(), [[[0, 'current']], [[0, 'current']]]);
    for (const one of notes) await one.pause();
    await catalog.publishAll([Noted.of({ text: 'b' }), Noted.of({ text: 'c' })]);
    await catalog.advance(1_000);
    assert.deepEqual(await told(), [[[2, 'behind']], [[2, 'behind']]]);
    await one.stop();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

/** Two services own the facts, a third shows both; its reader wants to see what he has just written, wherever he wrote it. */
it('a read model over two services shows what was written, to whoever asks with the token', async () => {
  const transport = memory();
  await using catalog = createTestBus({ service: 'catalog', transport });
  await using desk = createTestBus({ service: 'desk', transport });
  await using shop = createTestBus({ service: 'shop', transport });
  await shop.transaction(async (tx) => {
    await tx.query('create table view (id text primary key, price integer, note text)');
  });
  const put = (column: 'price' | 'note') => async (id: string, value: unknown, tx: any) => {
    await tx.query(`insert into view (id, ${column}) values ($1, $2) on conflict (id) do update set ${column} = excluded.${column}`, [id, value]);
  };
  const view = shop
    .subscription('view')
    .on(Priced, (event, ctx: any) => put('price')(event.id, event.price, ctx.tx))
    .on(Noted, (event, ctx: any) => put('note')('p', event.text, ctx.tx));
  const seen = async (): Promise<any> => ({ ...(await shop.transaction<{ rows: any[] }>((tx) => tx.query('select price, note from view'))).rows[0] });
  await shop.start();
  for (let revision = 1; revision <= 20; revision++) {
    if (revision % 5 === 0) await view.pause(); // it lags now and then
    const tokens = [
      (await catalog.publish(Priced, { id: 'p', price: revision, revision })).token,
      (await desk.publish(Noted, { text: `note ${revision}` })).token,
    ];
    if (revision % 5 === 0) {
      const early = shop.caughtUp(tokens[0]!, { timeoutMs: 500 });
      await shop.advance(500);
      assert.equal(await early, false);
      await view.resume();
    }
    for (const token of tokens) {
      const caught = shop.caughtUp(token, { timeoutMs: 60_000 });
      await shop.settled();
      assert.equal(await caught, true);
    }
    assert.deepEqual(await seen(), { price: revision, note: `note ${revision}` });
  }
});
