/** Lines of what waits, where several instances work on them at once. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { defineEvent } from 'waybill';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { assembleBus } from '../../src/bus.ts';
import { systemClock } from '../../src/contract/clock.ts';
import type { Host, StoreSession, StoreTransaction, WaitingEntry, WaitingPort, WaitingRow } from '../../src/contract/store.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { connect, named, server as startServer, session, skip } from './support.ts';

const Lined = defineEvent('basket.lined', { schema: z.object({ n: z.number(), key: z.string() }), key: (e) => e.key });
const of = 'basket.prices';
const claim = { owner: 'me', claimMs: 60_000 };
const entry = (id: string, key: string): WaitingEntry => ({
  subscription: of, message: named(id, { key }), dueMs: 'now', attempt: 0, attempts: 10, firstFailedMs: undefined, error: undefined, reason: 'behind', inOrder: true,
}); // prettier-ignore

describe('lines on PostgreSQL', { skip }, () => {
  let server: PostgresServer;
  let store: StoreSession;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.close());
  beforeEach(async (t) => {
    store = await session(server.url(await server.createDatabase()));
    (t as { after?: (fn: () => unknown) => void }).after?.(() => store.close());
  });
  const add = (...entries: WaitingEntry[]): Promise<void> => store.transaction((tx) => store.ports.waiting.add(tx, entries));
  const claimed = async (): Promise<Map<string, WaitingRow>> => {
    const rows = await store.ports.inspect.waiting({ limit: 100 });
    await store.ports.waiting.start(rows, claim);
    return new Map(rows.map((row) => [row.message.id, { ...row, owner: claim.owner }]));
  };

  it('two that each take of a line and put something behind the other’s wait for each other in no circle', async () => {
    const { waiting } = store.ports;
    await add(entry('x1', 'x'), entry('y1', 'y'));
    const rows = await claimed();
    const bothTook = Promise.withResolvers<void>();
    let took = 0;
    const work = (mine: string, behind: WaitingEntry) =>
      store.transaction(async (tx: StoreTransaction) => {
        const taken = await waiting.take!(tx, [rows.get(mine)!]);
        assert.equal(taken.length, 1);
        if (++took === 2) bothTook.resolve();
        await bothTook.promise;
        await waiting.add(tx, [behind], taken);
      });
    await Promise.all([work('x1', entry('y2', 'y')), work('y1', entry('x2', 'x'))]);
    const { rows: heads } = await waiting.due(of, 'now', 10);
    assert.deepEqual(heads.map(({ message: { id } }) => id).toSorted(), ['x2', 'y2']);
  });

  it('what was read before a backup was put back is not taken for what has its number now', async () => {
    const { waiting } = store.ports;
    await add(entry('x1', 'x'));
    const [read] = await store.ports.inspect.waiting({ limit: 1 });
    const mine = { ...read!, owner: claim.owner };
    await store.transaction((tx) => (tx.native as { query(text: string): Promise<unknown> }).query(`update waybill.waiting set id = 'y1', key = 'y', created = created + 1`));
    assert.deepEqual(await waiting.start([read!], claim), [undefined]);
    const [now] = await store.ports.inspect.waiting({ limit: 1 });
    await waiting.start([now!], claim);
    assert.deepEqual(await waiting.start([read!], { ...claim, renew: true }), [undefined]);
    await store.transaction(async (tx) => {
      assert.deepEqual(await waiting.take!(tx, [mine]), []);
      assert.equal(await waiting.settle(tx, mine, {}), false);
      assert.equal(await waiting.settle(tx, mine), false);
    });
    const left = await store.ports.inspect.waiting({ limit: 2 });
    assert.deepEqual(left.map(({ starts, message }) => [message.id, starts]), [['y1', 1]]);
  });

  it('what a transaction has in hand keeps no other claim from being prolonged', async () => {
    const { waiting } = store.ports;
    await add(entry('x1', 'x'), entry('y1', 'y'));
    const rows = await claimed();
    await store.transaction(async (tx) => {
      await waiting.take!(tx, [rows.get('x1')!]);
      const [, other] = await waiting.start([rows.get('x1')!, rows.get('y1')!], { ...claim, renew: true });
      assert.equal(other, 1);
    });
  });

  it('the first ones that another instance had, and gave back, are done before those that had been taken with it', async (t) => {
    const database = server.url(await server.createDatabase());
    const other = await session(database);
    t.after(() => other.close());
    let intrudes = true;
    const looks = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let looked = 0;
    const intruded = (waiting: WaitingPort): WaitingPort => ({
      ...waiting,
      async start(rows, how) {
        const firsts = rows.filter(({ message: { key } }) => key === 'a');
        if (!intrudes || firsts.length === 0) return waiting.start(rows, how);
        intrudes = false;
        await other.ports.waiting.start(firsts, { owner: 'other', claimMs: 60_000 });
        const started = await waiting.start(rows, how);
        for (const row of firsts) await other.transaction((tx) => other.ports.waiting.settle(tx, { ...row, owner: 'other' }, {}));
        return started;
      },
      async behind(heads, max) {
        const rows = await waiting.behind!(heads, max);
        looks[looked++]?.resolve();
        return rows;
      },
    });
    const driver = postgres(database);
    const open = async (host: Host): Promise<StoreSession> => {
      const real = await driver.open(host);
      return Object.assign(Object.create(real) as StoreSession, { ports: { ...real.ports, waiting: intruded(real.ports.waiting) } });
    };
    const bus = assembleBus({ service: 'basket', store: { ...driver, open } as never, transport: memory(), relay: 'off', requireTransaction: false }, { clock: systemClock() });
    t.after(() => bus.stop());
    // The first transaction takes sixteen: what is busy with others, and the first two of the line.
    const count = 6;
    const others = Array.from({ length: 14 }, (_, n) => Lined.of({ n, key: `b${n}` }));
    await bus.publishAll([...others, ...Array.from({ length: count }, (_, n) => Lined.of({ n, key: 'a' }))]);
    await line(database);
    const ran: number[] = [];
    const goes = Promise.withResolvers<void>();
    const all = Promise.withResolvers<void>();
    bus.subscribe(Lined, { name: 'line', order: 'by-key' }, async ({ n, key }) => {
      if (key === 'a') ran.push(n);
      else await goes.promise;
    });
    bus.on('applied', () => ran.length >= count && all.resolve());
    await bus.start();
    await looks[1]!.promise;
    await sleep(100); // what was read is decoded, and in its lane
    goes.resolve();
    await all.promise;
    assert.deepEqual(ran, Array.from({ length: count }, (_, n) => n));
  });

  for (const transaction of ['own', 'manual'] as const) it(`'${transaction}': a line goes on with the next one only when the one before it is done, and none is begun before`, async (t) => {
    const database = server.url(await server.createDatabase());
    const bus = assembleBus({ service: 'basket', store: postgres(database), transport: memory(), relay: 'off', requireTransaction: false }, { clock: systemClock() });
    t.after(() => bus.stop());
    const count = 30;
    await bus.publishAll(Array.from({ length: count }, (_, n) => Lined.of({ n, key: 'a' })));
    await line(database);
    const began: number[] = [];
    const all = Promise.withResolvers<void>();
    let applied = 0;
    bus.subscribe(Lined, { name: 'line', order: 'by-key', transaction: transaction as 'manual', retry: { immediate: 0, delayed: 5, delayMs: 50 } }, async ({ n }, ctx) => {
      began.push(n);
      if (n % 7 === 3 && ctx.attempt === 1) throw new Error('once');
      if (transaction === 'manual') await ctx.transaction(async () => {});
    });
    bus.on('applied', () => ++applied === count && all.resolve());
    await bus.start();
    await all.promise;
    assert.deepEqual(began, Array.from({ length: count }, (_, n) => (n % 7 === 3 ? [n, n] : [n])).flat());
    const { rows } = await server.query('select 1 from waybill.waiting', undefined, new URL(database).pathname.slice(1));
    assert.equal(rows.length, 0);
  });

  it('what stands in a line that takes long keeps no other key waiting', async (t) => {
    const database = server.url(await server.createDatabase());
    const bus = assembleBus({ service: 'basket', store: postgres(database), transport: memory(), relay: 'off', requireTransaction: false }, { clock: systemClock() });
    t.after(() => bus.stop());
    await bus.publishAll([...Array.from({ length: 30 }, (_, n) => Lined.of({ n, key: 'a' })), Lined.of({ n: 0, key: 'b' })]);
    await line(database, "key = 'a'");
    const other = Promise.withResolvers<void>();
    const all = Promise.withResolvers<void>();
    bus.subscribe(Lined, { name: 'line', order: 'by-key', transaction: 'own', concurrency: 2 }, async ({ n, key }) => {
      if (key === 'b') return other.resolve();
      if (n === 0) {
        await line(database, "key = 'b'");
        await other.promise;
      }
      if (n === 29) all.resolve();
    });
    await bus.start();
    await all.promise;
  });

  it('nothing of a line is begun in a transaction of its own behind what is put off, though it had been begun with others', async (t) => {
    const database = server.url(await server.createDatabase());
    const bus = assembleBus({ service: 'basket', store: postgres(database), transport: memory(), relay: 'off', requireTransaction: false }, { clock: systemClock() });
    t.after(() => bus.stop());
    const slow = ['b', 'c', 'd'];
    await bus.publishAll(['a', ...slow, 'a', 'a', 'a'].map((key, n) => Lined.of({ n, key })));
    await line(database);
    let isSlow = false;
    bus.on('slow-handler', () => (isSlow = true));
    const began: number[] = [];
    const all = Promise.withResolvers<void>();
    bus.subscribe(Lined, { name: 'line', order: 'by-key', retry: { immediate: 0, delayed: 5, delayMs: 200 } }, async ({ n, key }, ctx) => {
      if (slow.includes(key)) return void (isSlow || (await sleep(110)));
      if (isSlow) began.push(n);
      if (n === 4 && ctx.attempt === 1) throw new Error('once');
      if (n === 6) all.resolve();
    });
    await bus.start();
    await all.promise;
    assert.deepEqual(began, [4, 0, 4, 4, 5, 6]);
  });

  it("what was taken with others and may not be run in a transaction of its own any more stays, as if it had not begun", async (t) => {
    const database = server.url(await server.createDatabase());
    const bus = assembleBus({ service: 'basket', store: postgres(database), transport: memory(), relay: 'off', requireTransaction: false }, { clock: systemClock() });
    t.after(() => bus.stop());
    await bus.publishAll([0, 1, 2].map((n) => Lined.of({ n, key: 'a' })));
    await line(database);
    const [client, operator] = [await connect(database), await connect(database)];
    const all = Promise.withResolvers<void>();
    let asks = true;
    const ran: number[] = [];
    bus.subscribe(Lined, { name: 'line', order: 'by-key', transaction: 'own' }, async ({ n }, ctx) => {
      if (n === 1 && asks) {
        asks = false;
        // an operator asks for an older one again, while this one is not yet known to the database
        await operator.query(`insert into waybill.waiting (subscription, kind, id, source, type, key, time, headers, body, due, created, attempt, attempts, starts, in_order, front, head, reason)
          select 'basket.line', kind, 'older', source, type, key, time, headers, body, 0, 0, 0, 10, 0, true, true, true, 'asked' from waybill.ledger order by pos limit 1`);
        await operator.query(`update waybill.waiting set head = false where not front`);
      }
      await ctx.tx.query('select 1');
      ran.push(n);
    });
    let applied = 0;
    bus.on('applied', () => ++applied === 4 && all.resolve());
    await bus.start();
    await all.promise;
    assert.deepEqual(ran, [0, 0, 1, 2]);
    assert.equal((await client.query('select 1 from waybill.waiting')).rowCount, 0);
    await Promise.all([client.end(), operator.end()]);
  });
});

/** What was published waits in line. */
async function line(database: string, which = 'true'): Promise<void> {
  const client = await connect(database);
  await client.query(`insert into waybill.waiting (subscription, kind, id, source, type, key, time, headers, body, due, created, attempt, attempts, starts, in_order, front, head, reason)
    select 'basket.line', kind, id, source, type, key, time, headers, body, pos, 0, 0, 10, 0, true, false,
      row_number() over (partition by key order by pos) = 1, 'suspect' from waybill.ledger where ${which} order by pos`);
  await client.end();
}
