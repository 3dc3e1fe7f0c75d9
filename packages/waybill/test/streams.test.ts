/** The event store: append, read, project. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError, defineEvent } from 'waybill';
import { type EventStore, eventStore } from 'waybill/streams';
import { type TestBus, createTestBus } from 'waybill/testing';
import * as z from 'zod';
import { overStores } from './support/stores.ts';

const Placed = defineEvent('orders.placed', { schema: z.object({ order: z.string(), total: z.number() }) });
const Paid = defineEvent('orders.paid', { schema: z.object({ order: z.string() }) });
/** What others hear of it. */
const Confirmed = defineEvent('orders.confirmed', { schema: z.object({ order: z.string() }), key: (event) => event.order });
const Other = defineEvent('orders.other', { schema: z.object({}) });
const events = [Placed, Paid] as const;

const all = async <E>(found: AsyncIterable<E>): Promise<E[]> => {
  const list: E[] = [];
  for await (const one of found) list.push(one);
  return list;
};
const refusedAs = (code: string) => (error: unknown) => WaybillError.is(error, code as never);
const placed = (order: string, total = 1) => Placed.of({ order, total });

overStores('append', (store) => {
  it('adds events to a stream, and gives its version', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events });
    assert.equal((await streams.append('order-1', [placed('1'), Paid.of({ order: '1' })], { expectedVersion: 0 })).version, 2);
    assert.equal((await streams.append('order-1', [Paid.of({ order: '1' })], { expectedVersion: 2 })).version, 3);
    const found = await all(streams.read('order-1'));
    assert.deepEqual(found.map(({ version, name, data }) => [version, name, data]), [
      [1, 'orders.placed', { order: '1', total: 1 }],
      [2, 'orders.paid', { order: '1' }],
      [3, 'orders.paid', { order: '1' }],
    ]);
  });

  it('refuses a stream that has another version, and writes nothing', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events });
    await streams.append('order-1', [placed('1')], { expectedVersion: 0 });
    for (const expectedVersion of [0, 2]) {
      await assert.rejects(streams.append('order-1', [placed('1')], { expectedVersion }), refusedAs('STREAM_CONFLICT'));
    }
    assert.equal((await all(streams.read('order-1'))).length, 1);
    assert.equal((await streams.append('order-1', [placed('1')], { expectedVersion: 'any' })).version, 2);
  });

  it('lets one of many who decided on the same version win', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events });
    const tries = await Promise.allSettled(Array.from({ length: 10 }, (_, i) => streams.append('s', [placed(String(i))], { expectedVersion: 0 })));
    assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1);
    assert.ok(tries.every((one) => one.status === 'fulfilled' || WaybillError.is(one.reason, 'STREAM_CONFLICT')));
    assert.equal((await all(streams.read('s'))).length, 1);
  });

  it('belongs to the transaction: undone with it, seen in it', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events });
    const undone = bus.transaction(async (tx) => {
      await streams.append('order-1', [placed('1')], { expectedVersion: 0, tx, publish: () => [Confirmed.of({ order: '1' })] });
      assert.equal((await all(streams.read('order-1', { tx }))).length, 1);
      throw new Error('no');
    });
    await assert.rejects(undone, /no/);
    await bus.settled();
    assert.deepEqual(await all(streams.read('order-1')), []);
    assert.deepEqual(bus.published(Confirmed), []);
  });

  it('publishes what it makes of the events in the same transaction', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events });
    const heard: string[] = [];
    bus.subscribe(Confirmed, (event) => void heard.push(event.order));
    const { published } = await streams.append('order-1', [placed('1'), Paid.of({ order: '1' })], {
      expectedVersion: 0,
      publish: (some) => some.flatMap((event) => (event.name === 'orders.paid' ? [Confirmed.of({ order: event.data.order })] : [])),
    });
    assert.equal(published.length, 1);
    await bus.settled();
    assert.deepEqual(heard, ['1']);
    assert.equal(await bus.caughtUp(published[0]!.token, { timeoutMs: 0 }), true);
    await assert.rejects(
      streams.append('order-1', [placed('2')], { expectedVersion: 2, publish: () => [Confirmed.of({ order: 1 as never })] }),
      refusedAs('CONTRACT_VIOLATION'),
    );
    assert.equal((await all(streams.read('order-1'))).length, 2, 'both or neither');
  });

  it('keeps the rules of publish inside a transaction, and knows the cause inside a handler', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events });
    await assert.rejects(
      bus.transaction(() => streams.append('s', [placed('1')], { expectedVersion: 0 })),
      refusedAs('TX_MISSING'),
    );
    bus.subscribe(Confirmed, async (event, ctx) => void (await streams.append('s', [placed(event.order)], { expectedVersion: 'any', tx: ctx.tx as never })));
    const { id } = await bus.publish(Confirmed, { order: '7' });
    await bus.settled();
    const [event] = await all(streams.read('s'));
    assert.equal(event!.causationId, id);
    assert.equal(event!.correlationId, id);
  });

  it('refuses what could not be read back, and what is no event', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events });
    const wrong: [unknown, unknown, object, string][] = [
      ['s', [Other.of({})], { expectedVersion: 0 }, 'INVALID_OPTION'],
      ['s', [], { expectedVersion: 0 }, 'INVALID_OPTION'],
      ['s', [Placed.of({ order: 1 } as never)], { expectedVersion: 0 }, 'CONTRACT_VIOLATION'],
      ['', [placed('1')], { expectedVersion: 0 }, 'INVALID_OPTION'],
      ['s', [placed('1')], {}, 'INVALID_OPTION'],
      ['s', [placed('1')], { expectedVersion: -1 }, 'INVALID_OPTION'],
      ['s', [Placed.of({ order: '1', total: 1 }, { delayMs: 5 })], { expectedVersion: 0 }, 'INVALID_OPTION'],
    ];
    for (const [stream, drafts, options, code] of wrong) {
      await assert.rejects(streams.append(stream as string, drafts as never, options as never), refusedAs(code), JSON.stringify(options));
    }
    assert.deepEqual(await all(streams.read('s')), []);
  });
});

overStores('read', (store) => {
  it('gives a long stream in order, from and to where it is asked', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events });
    for (let i = 0; i < 3; i++) await streams.append('s', Array.from({ length: 200 }, () => placed('1', i)), { expectedVersion: i * 200 });
    assert.deepEqual((await all(streams.read('s'))).map(({ version }) => version), Array.from({ length: 600 }, (_, i) => i + 1));
    assert.deepEqual((await all(streams.read('s', { after: 199, upTo: 401 }))).map(({ version }) => version), Array.from({ length: 202 }, (_, i) => i + 200));
    assert.deepEqual(await all(streams.read('nobody')), []);
  });

  it('gives all of what is too large for one page: of a stream, of the log, to a projection and its count', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events });
    const versions = Array.from({ length: 11 }, (_, i) => i + 1);
    for (const version of versions) await streams.append('s', [placed('x'.repeat(1_000_000))], { expectedVersion: version - 1 });
    const taken: number[] = [];
    const projection = streams.project('all', { events }, (batch) => void taken.push(...batch.map(({ version }) => version)));
    assert.deepEqual((await all(streams.read('s'))).map(({ version }) => version), versions);
    assert.deepEqual((await all(streams.read('s', { after: 2, upTo: 9 }))).map(({ version }) => version), versions.slice(2, 9));
    const log = await streams.readAll({ max: 11 });
    assert.ok(log.events.length < 11 && log.more, 'more than a page');
    assert.equal(log.events.length + (await streams.readAll({ after: log.next, max: 5 })).events.length, 10);
    assert.equal((await projection.progress()).behind, 11);
    await bus.start();
    assert.equal(await projection.caughtUp({ timeoutMs: 20_000 }), true);
    assert.deepEqual(taken, versions);
  });

  it('gives the log across streams page by page, each event once, in the order they were committed', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const streams = eventStore(bus, { events: [Placed, Other] });
    const names = eventStore(bus, { events: [Placed] });
    for (let i = 0; i < 30; i++) await streams.append(`s${i % 3}`, [i % 10 === 9 ? Other.of({}) : placed('1', i)], { expectedVersion: 'any' });
    const seen: number[] = [];
    let after: string | undefined;
    for (let more = true; more; ) {
      const page = await names.readAll({ after, max: 7 });
      seen.push(...page.events.map(({ data }) => data.total));
      ({ next: after, more } = page);
    }
    assert.deepEqual(seen, Array.from({ length: 30 }, (_, i) => i).filter((i) => i % 10 !== 9));
    assert.deepEqual(await names.readAll({ after }), { events: [], next: after, more: false });
  });

  it('reads old versions through their upcast', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const PlacedV2 = defineEvent('orders.placed', {
      version: 2,
      schema: z.object({ order: z.string(), total: z.object({ amount: z.number(), currency: z.string() }) }),
      previous: Placed,
      upcast: (old) => ({ order: old.order, total: { amount: old.total, currency: 'EUR' } }),
    });
    await eventStore(bus, { events: [Placed] }).append('s', [placed('1', 5)], { expectedVersion: 0 });
    const streams = eventStore(bus, { events: [PlacedV2] });
    await streams.append('s', [PlacedV2.of({ order: '2', total: { amount: 6, currency: 'CHF' } })], { expectedVersion: 1 });
    const found = await all(streams.read('s'));
    assert.deepEqual(found.map(({ data }) => data.total), [{ amount: 5, currency: 'EUR' }, { amount: 6, currency: 'CHF' }]);
    assert.deepEqual(found.map(({ type }) => type), ['orders.placed.v1', 'orders.placed.v2']);
    assert.throws(() => eventStore(bus, { events: [Placed, PlacedV2] }), refusedAs('INVALID_OPTION'));
  });

  it('does not leave out what it cannot read', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    await eventStore(bus, { events }).append('s', [placed('1'), Paid.of({ order: '1' })], { expectedVersion: 0 });
    await assert.rejects(all(eventStore(bus, { events: [Placed] }).read('s')), refusedAs('EVENT_UNREADABLE'));
    const Strict = defineEvent('orders.paid', { schema: z.object({ order: z.number() }) });
    await assert.rejects(all(eventStore(bus, { events: [Placed, Strict] }).read('s')), refusedAs('EVENT_UNREADABLE'));
  });
});

/** A table that a projection keeps: totals by order. */
async function withTable(bus: TestBus<any>): Promise<void> {
  await bus.transaction(async (tx) => {
    await tx.query('create table list (id text primary key, total integer not null, runs integer not null)');
  });
}
const rowsOf = async (bus: TestBus<any>, table = 'list'): Promise<any[]> =>
  (await bus.transaction<{ rows: any[] }>((tx) => tx.query(`select * from ${table} order by id`))).rows.map((row) => ({ ...row }));
const take = async (some: readonly { data: { order: string; total: number } }[], tx: any, table = 'list'): Promise<void> => {
  for (const { data } of some) {
    await tx.query(`insert into ${table} values ($1, $2, 1) on conflict (id) do update set total = total + excluded.total, runs = runs + 1`, [data.order, data.total]);
  }
};
const project = (streams: EventStore<any, any>, name = 'order-list') =>
  streams.project(name, { events: [Placed], reset: (tx: any) => tx.query('delete from list') }, (some: any, ctx: any) => take(some, ctx.tx));

describe('a projection', () => {
  it('takes each event once, those from before it too, and says how far it is', async () => {
    await using bus = createTestBus({ service: 'orders' });
    const streams = eventStore(bus, { events });
    await withTable(bus);
    for (let i = 0; i < 5; i++) await streams.append(`order-${i}`, [placed(`o${i}`, i), Paid.of({ order: `o${i}` })], { expectedVersion: 0 });
    const list = project(streams);
    await list.ready();
    await streams.append('order-1', [placed('o1', 10)], { expectedVersion: 2 });
    await bus.settled();
    assert.deepEqual((await rowsOf(bus)).map(({ id, total, runs }) => [id, total, runs]), [
      ['o0', 0, 1], ['o1', 11, 2], ['o2', 2, 1], ['o3', 3, 1], ['o4', 4, 1],
    ]); // prettier-ignore
    const { behind, failure, active, movedAt } = await list.progress();
    assert.deepEqual([behind, failure, active], [0, undefined, true]);
    assert.ok(movedAt instanceof Date);
    assert.throws(() => project(streams), refusedAs('DUPLICATE_SUBSCRIPTION'));
  });

  it('stops while it is paused, counts what lies before it, and goes on from there', async () => {
    await using bus = createTestBus({ service: 'orders' });
    const streams = eventStore(bus, { events });
    await withTable(bus);
    const list = project(streams);
    await list.ready();
    await list.pause();
    await streams.append('s', [placed('a', 1), placed('a', 1)], { expectedVersion: 0 });
    await bus.advance(10_000);
    assert.deepEqual(await rowsOf(bus), []);
    const { behind, active } = await list.progress();
    assert.deepEqual([behind, active], [2, false]);
    const waited = list.caughtUp({ timeoutMs: 1_000 });
    await bus.advance(1_000);
    assert.equal(await waited, false);
    await list.resume();
    const caught = list.caughtUp({ timeoutMs: 10_000 });
    await bus.settled();
    assert.equal(await caught, true);
    assert.equal((await rowsOf(bus))[0].total, 2);
  });

  it('stands before an event that it cannot take, tries again, and skips nothing', async () => {
    await using bus = createTestBus({ service: 'orders' });
    const streams = eventStore(bus, { events });
    await withTable(bus);
    let broken = true;
    const list = streams.project('order-list', { events: [Placed] }, async (some, ctx: any) => {
      for (const { data } of some) if (broken && data.total === 13) throw new Error('thirteen');
      await take(some, ctx.tx);
    });
    await streams.append('s', Array.from({ length: 20 }, (_, i) => placed('a', i)), { expectedVersion: 0 });
    await bus.settled();
    await bus.advance(3_500);
    assert.equal((await rowsOf(bus))[0].runs, 13, 'what comes before it is taken, what comes after is not');
    const { failure } = await list.progress();
    assert.deepEqual({ ...failure, attempts: 0 }, { code: 'HANDLER_FAILED', message: 'thirteen', stream: 's', version: 14, attempts: 0 });
    assert.ok(failure!.attempts >= 3, 'at 0, 1 and 3 s');
    const told = bus.history().filter(({ signal }) => signal === 'projection-failed');
    assert.equal(told.length, failure!.attempts);
    broken = false;
    await bus.advance(60_000);
    assert.equal((await rowsOf(bus))[0].runs, 20);
    assert.equal((await list.progress()).failure, undefined);
  });

  it('is worked on by one instance at a time; another takes over when it is gone', async () => {
    const { sqlite } = await import('waybill/stores/sqlite');
    const { mkdtemp, rm } = await import('node:fs/promises');
    const folder = await mkdtemp('/tmp/waybill-streams-');
    try {
      const store = `${folder}/orders.db`;
      const one = createTestBus({ service: 'orders', store: sqlite(store) });
      await using two = createTestBus({ service: 'orders', store: sqlite(store), clock: one.clock });
      await withTable(one);
      const lists = [one, two].map((bus) => project(eventStore(bus, { events })));
      await one.settled();
      const appendOne = () => eventStore(two, { events }).append('s', [placed('a', 1)], { expectedVersion: 'any' });
      for (let i = 0; i < 10; i++) await appendOne();
      await two.advance(1_000);
      assert.equal((await Promise.all(lists.map((list) => list.progress()))).filter(({ active }) => active).length, 1);
      assert.deepEqual(await rowsOf(two), [{ id: 'a', total: 10, runs: 10 }]);
      await one.stop();
      await appendOne();
      await two.advance(5_000);
      assert.deepEqual(await rowsOf(two), [{ id: 'a', total: 11, runs: 11 }]);
      assert.equal((await lists[1]!.progress()).active, true);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('that is rebuilt under load ends equal to one that never was', async () => {
    await using bus = createTestBus({ service: 'orders' });
    const streams = eventStore(bus, { events });
    await withTable(bus);
    await bus.transaction((tx) => tx.query('create table live (id text primary key, total integer not null, runs integer not null)'));
    const list = project(streams);
    streams.project('live-list', { events: [Placed] }, (some, ctx: any) => take(some, ctx.tx, 'live'));
    const load = async (): Promise<void> => {
      for (let i = 0; i < 400; i++) await streams.append(`s${i % 7}`, [placed(`o${i % 11}`, i)], { expectedVersion: 'any' });
    };
    const loading = load();
    for (let i = 0; i < 5; i++) {
      await bus.advance(20);
      await list.rebuild();
    }
    await loading;
    await bus.settled();
    const live = await rowsOf(bus, 'live');
    assert.equal(live.reduce((sum, row) => sum + row.runs, 0), 400);
    assert.deepEqual(await rowsOf(bus), live);
    assert.equal(bus.history().filter(({ signal }) => signal === 'projection-rebuilt').length, 5);
    await assert.rejects(streams.project('bare', { events: [Placed] }, () => {}).rebuild(), refusedAs('INVALID_OPTION'));
  });

  for (const point of ['before projection.commit', 'projection.commit', 'before stream.commit', 'stream.commit'] as const) {
    it(`survives a death at '${point}': its table and its position are of one commit`, async () => {
      await using bus = createTestBus({ service: 'orders' });
      const streams = eventStore(bus, { events });
      await withTable(bus);
      project(streams);
      await bus.settled();
      for (let nth = 1; nth <= 3; nth++) {
        bus.crashAfter(point, nth);
        for (let i = 0; i < 6; i++) {
          void streams.append('s', [placed('a', 1)], { expectedVersion: 'any' }).catch(() => {});
          await bus.advance(5_000);
        }
      }
      await bus.settled();
      const count = (await all(streams.read('s'))).length;
      assert.equal((await rowsOf(bus))[0].total, count);
      assert.ok(count >= 15 && bus.history().some(({ signal }) => signal === 'crashed'));
    });
  }

  it('gives a handler a bounded time, and undoes what it wrote', async () => {
    await using bus = createTestBus({ service: 'orders' });
    const streams = eventStore(bus, { events });
    await withTable(bus);
    let hang = true;
    streams.project('order-list', { events: [Placed], timeoutMs: 1_000 }, async (some, ctx: any) => {
      await take(some, ctx.tx);
      if (hang) await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
    });
    await bus.start();
    void streams.append('s', [placed('a', 1)], { expectedVersion: 0 });
    await bus.advance(1_500);
    hang = false;
    await bus.advance(5_000);
    assert.deepEqual(await rowsOf(bus), [{ id: 'a', total: 1, runs: 1 }]);
    assert.ok(bus.history().some(({ signal, detail }) => signal === 'projection-failed' && WaybillError.is((detail as any).error, 'HANDLER_TIMEOUT')));
  });
});
