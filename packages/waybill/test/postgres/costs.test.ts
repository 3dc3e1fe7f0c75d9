/** What a message costs in statements, each of them a round trip: what the rooms' headers say. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { defineEvent } from 'waybill';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { assembleBus } from '../../src/bus.ts';
import { type Clock, systemClock } from '../../src/contract/clock.ts';
import type { OutboxRow } from '../../src/contract/store.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { come, streaming } from './log-session.ts';
import { acquire, named, server as startServer, session, skip } from './support.ts';

const Noted = defineEvent('desk.noted', { schema: z.object({ n: z.number() }), key: (e) => `k${e.n % 10}` });
const Lined = defineEvent('desk.lined', { schema: z.object({ n: z.number() }), key: () => 'one' });

/** Once for each lease, in the background: of the connection that is woken, and for a slot that nobody reads. */
const listener = /pg_backend_pid|^listen |active_pid/;
/** Time stands: no check, no renewal and no handler that is told slow comes in between, however busy the machine is. */
const standing: Clock = { ...systemClock(), monotonic: () => 0 };
/** Statements that were sent while it is on. */
const sent: string[] = [];
const original = pg.Client.prototype.query;

describe('on PostgreSQL', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    pg.Client.prototype.query = function (this: pg.Client, ...given: any[]): any {
      const text: unknown = typeof given[0] === 'string' ? given[0] : given[0]?.text;
      sent.push(String(text).trim().slice(0, 60));
      return (original as any).apply(this, given);
    } as typeof original;
    server = await startServer({ settings: { wal_level: 'logical' } });
  });
  after(async () => {
    pg.Client.prototype.query = original;
    await server?.close();
  });
  const counted = async (work: () => Promise<unknown>): Promise<number> => {
    sent.length = 0;
    await work();
    return sent.filter((text) => !listener.test(text)).length;
  };

  it('a transaction that publishes costs two round trips, however many messages: BEGIN travels with the rows', async () => {
    const store = await session(server.url(await server.createDatabase()));
    for (const count of [1, 200]) {
      const messages = Array.from({ length: count }, (_, i) => named(`m${count}-${i}`));
      assert.equal(await counted(() => store.transaction((tx) => store.ports.outbox.append(tx, messages))), 2, sent.join('\n'));
    }
    await store.close();
  });

  it('one where its rows may travel with COMMIT', async () => {
    const store = await session(server.url(await server.createDatabase()));
    const statements = await counted(() => store.transaction(async (tx) => {
      for (let i = 0; i < 200; i++) await store.ports.outbox.append(tx, [named(`m${i}`)], `m${i}`);
    }));
    assert.equal(statements, 1, sent.join('\n'));
    await store.close();
  });

  it('taking on a batch costs one round trip besides COMMIT', async () => {
    const store = await session(server.url(await server.createDatabase()));
    const keys = Array.from({ length: 100 }, (_, i) => ({ source: 's', id: `i${i}` }));
    assert.equal(await counted(() => store.transaction((tx) => store.ports.inbox.insert(tx, 'x', keys))), 2, sent.join('\n'));
    await store.close();
  });

  for (const [transaction, each] of [['shared', 0.5], ['own', 7], ['manual', 7]] as const) it(`what stands in a line is read in pieces, so that a busy key catches up after a crash: '${transaction}', less than ${each} statements each`, async (t) => {
    const pool = new pg.Pool({ connectionString: server.url(await server.createDatabase()) });
    const bus = assembleBus({ service: 'desk', store: postgres(pool), transport: memory(), relay: 'off', requireTransaction: false }, { clock: standing });
    t.after(async () => {
      await bus.stop();
      await pool.end();
    });
    const count = transaction === 'shared' ? 1_000 : 300;
    await bus.publishAll(Array.from({ length: count }, (_, n) => Lined.of({ n })));
    await pool.query(`insert into waybill.waiting (subscription, kind, id, source, type, key, time, headers, body, due, created, attempt, attempts, starts, in_order, front, head, reason)
      select 'desk.line', kind, id, source, type, key, time, headers, body, 0, 0, 0, 10, 0, true, false, row_number() over (order by pos) = 1, 'suspect' from waybill.ledger order by pos`);
    const ran: number[] = [];
    const all = Promise.withResolvers<void>();
    bus.subscribe(Lined, { name: 'line', order: 'by-key', transaction: transaction as 'manual' }, async ({ n }, ctx) => {
      const work = async (tx: pg.PoolClient): Promise<void> => void (await tx.query('select $1::int', [n]));
      if (transaction === 'manual') await ctx.transaction(work);
      else if (transaction === 'own') await work((ctx as unknown as { tx: pg.PoolClient }).tx);
      ran.push(n);
    });
    bus.on('applied', () => ran.length >= count && all.resolve());
    const statements = await counted(async () => {
      await bus.start();
      await all.promise;
    });
    assert.deepEqual(ran, Array.from({ length: count }, (_, n) => n));
    assert.ok(statements < each * count, `${statements} statements:\n${sent.slice(-60).join('\n')}`);
    assert.equal((await pool.query('select 1 from waybill.waiting')).rowCount, 0);
  });

  it('the relay costs two statements for each window of up to 500, and one for a look at nothing', async () => {
    const store = await session(server.url(await server.createDatabase()));
    const lease = await acquire(store);
    assert.equal(await counted(() => lease.read(500)), 1);
    await store.transaction((tx) => store.ports.outbox.append(tx, Array.from({ length: 500 }, (_, i) => named(`m${i}`))));
    const window = await counted(async () => {
      const rows = await lease.read(500);
      assert.equal(rows.length, 500);
      await lease.settle(rows.at(-1)!.position, []);
    });
    assert.equal(window, 2, sent.join('\n'));
    await store.close();
  });

  it('in mode log it costs two statements for each window of up to 500, and none for a look at nothing', async () => {
    const database = await server.createDatabase();
    const store = await postgres(server.url(database)).open(recordingHost('basket', standing));
    const lease = (await store.ports.outbox.acquire('one', 30_000, { log: true }))!;
    await streaming(lease);
    await lease.read(500); // once from the ledger
    assert.equal(await counted(() => lease.read(500)), 0);
    await store.transaction((tx) => store.ports.outbox.append(tx, Array.from({ length: 500 }, (_, i) => named(`m${i}`))));
    await come(lease, server, database);
    const window = await counted(async () => {
      const rows = await lease.read(500);
      assert.equal(rows.length, 500);
      await lease.settle(rows.at(-1)!.position, []);
    });
    assert.equal(window, 2, sent.join('\n'));
    await store.close();
  });

  it('settling and announcing that meet share a commit', async () => {
    const store = await session(server.url(await server.createDatabase()));
    const lease = await acquire(store);
    const append = (id: string): Promise<void> => store.transaction(async (tx) => store.ports.outbox.append(tx, [named(id)]));
    const windows: (readonly OutboxRow[])[] = [];
    for (const id of ['a', 'b', 'c', 'd']) {
      await append(id);
      windows.push(await lease.read(500));
    }
    // the first write is under way; all that comes meanwhile goes into the second
    const writes = await counted(() => Promise.all(windows.map((rows) => lease.settle(rows[0]!.position, []))));
    assert.ok(writes <= 2, sent.join('\n'));
    await store.close();
  });

  for (const [transaction, each] of [['shared', 4], ['own', 6], ['manual', 6]] as const) it(`200 messages are published and handled '${transaction}' with less than ${each} statements each`, async (t) => {
    const pool = new pg.Pool({ connectionString: server.url(await server.createDatabase()) });
    const bus = assembleBus({ service: 'desk', store: postgres(pool), transport: memory(), requireTransaction: false }, { clock: standing });
    t.after(async () => {
      await bus.stop();
      await pool.end();
    });
    const all = Promise.withResolvers<void>();
    let applied = 0;
    bus.subscribe(Noted, { order: 'by-key', transaction: transaction as 'manual' }, async (event, ctx) => {
      const work = async (tx: pg.PoolClient): Promise<void> => void (await tx.query('select $1::int', [event.n]));
      await (transaction === 'manual' ? ctx.transaction(work) : work((ctx as unknown as { tx: pg.PoolClient }).tx));
    });
    bus.on('applied', () => ++applied === 200 && all.resolve());
    await bus.start();
    const statements = await counted(async () => {
      await bus.publishAll(Array.from({ length: 200 }, (_, n) => Noted.of({ n })));
      await all.promise;
    });
    assert.ok(statements < each * 200, `${statements} statements:\n${sent.slice(0, 60).join('\n')}`);
  });
});
