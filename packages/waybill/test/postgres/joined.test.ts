/** A publish in a transaction that the user's own code opened. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { createBus, defineEvent, WaybillError } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import type { PostgresServer } from '../support/postgres-server.ts';
import { server as startServer, skip } from './support.ts';

const Noted = defineEvent('desk.noted', { schema: z.object({ text: z.string() }) });
const isNone = (error: unknown): boolean => WaybillError.is(error, 'NOT_A_TRANSACTION');

describe('a publish in a transaction of the user’s own', { skip }, () => {
  let server: PostgresServer;
  let pool: pg.Pool;
  let other: pg.Pool;
  before(async () => {
    server = await startServer();
    pool = new pg.Pool({ connectionString: server.url(await server.createDatabase()) });
    other = new pg.Pool({ connectionString: server.url(await server.createDatabase()) });
    for (const one of [pool, other]) one.on('error', () => {});
  });
  after(async () => {
    await Promise.all([pool?.end(), other?.end()]);
    await server?.close();
  });

  async function within(from: pg.Pool, end: 'commit' | 'rollback', work: (client: pg.PoolClient) => Promise<unknown>): Promise<void> {
    const client = await from.connect();
    try {
      await client.query('begin');
      await work(client);
      await client.query(end);
    } catch (error) {
      await client.query('rollback');
      throw error;
    } finally {
      client.release();
    }
  }

  it('is sent if that commits, and not if it is undone; one elsewhere, over, or not begun is refused', async () => {
    const bus = createBus({ service: 'desk', store: postgres(pool), transport: memory() });
    const seen: string[] = [];
    const heard = Promise.withResolvers<void>();
    bus.subscribe(Noted, ({ text }) => {
      seen.push(text);
      if (text === 'last') heard.resolve();
    });
    await bus.start();
    await within(pool, 'rollback', (tx) => bus.publish(Noted, { text: 'undone' }, { tx }));
    await within(pool, 'commit', (tx) => bus.publish(Noted, { text: 'kept' }, { tx }));

    // the same schema, of another service, in another database: nothing may be written there
    const stranger = createBus({ service: 'shop', store: postgres(other), transport: memory() });
    await stranger.start();
    await assert.rejects(within(other, 'commit', (tx) => bus.publish(Noted, { text: 'elsewhere' }, { tx })), isNone);
    await assert.rejects(within(other, 'commit', (tx) => bus.publish(Noted, { text: 'later, elsewhere' }, { tx, delayMs: 60_000 })), isNone);
    for (const table of ['ledger', 'waiting']) assert.equal((await other.query(`select count(*)::int as n from waybill.${table}`)).rows[0].n, 0, table);

    const idle = await pool.connect();
    await assert.rejects(bus.publish(Noted, { text: 'not begun' }, { tx: idle }), isNone);
    idle.release();
    await assert.rejects(bus.publish(Noted, { text: 'a pool' }, { tx: pool as never }), isNone);
    await assert.rejects(bus.publish(Noted, { text: 'no tx at all' }), (error) => WaybillError.is(error, 'TX_MISSING'));
    await within(pool, 'commit', (tx) => bus.publish(Noted, { text: 'last' }, { tx }));
    await heard.promise;
    assert.deepEqual(seen, ['kept', 'last']);
    await Promise.all([bus.stop(), stranger.stop()]);
  });
});
