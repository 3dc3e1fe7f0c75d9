/**
 * Order per key is commit order where the key is locked before its event is published; otherwise it need not be. In
 * transactions of the library's own, where an event is written at once: those of the bus may write it with COMMIT.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { createBus, defineEvent } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import type { PostgresServer } from '../support/postgres-server.ts';
import { until } from './log-session.ts';
import { server as startServer, skip } from './support.ts';

const Signed = defineEvent('desk.signed', { schema: z.object({ account: z.string(), by: z.string() }), key: ({ account }) => account });
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

describe('two transactions that sign one account, of which the first publishes before it locks the row', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.close());

  /** @param lock each locks the key first */
  async function signed(lock: boolean): Promise<{ committed: string; received: string }> {
    const database = await server.createDatabase();
    await server.query(`create table account (id text, signatures text not null); insert into account values ('x', '')`, [], database);
    const transport = memory();
    await using pool = closing(new pg.Pool({ connectionString: server.url(database) }));
    await using desk = createBus({ service: 'desk', store: postgres(pool), transport, relay: 'off', logger: quiet });
    await using reader = createBus({ service: 'reader', store: 'sqlite::memory:', transport, logger: quiet });
    await using relay = createBus({ service: 'desk', store: server.url(database), transport, relay: 'worker', logger: quiet });
    let received = '';
    reader.subscribe(Signed, { order: 'by-key' }, ({ by }, ctx) => ctx.afterCommit(() => void (received += by)));
    await reader.start();
    await desk.start();
    const transaction = ownTransaction(pool);
    const sign = (tx: pg.PoolClient, by: string) => tx.query('update account set signatures = signatures || $1', [by]);
    const publish = (tx: pg.PoolClient, by: string) => desk.publish(Signed, { account: 'x', by }, { tx });
    const guard = async (tx: pg.PoolClient): Promise<unknown> => lock && desk.lockKey(Signed, { account: 'x', by: '' }, { tx });
    const published = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const a = transaction(async (tx) => {
      await guard(tx);
      await publish(tx, 'a');
      published.resolve();
      await goOn.promise;
      await sign(tx, 'a');
    });
    await published.promise;
    const b = transaction(async (tx) => {
      await guard(tx);
      await sign(tx, 'b');
      await publish(tx, 'b');
    });
    if (lock) await until(async () => (await server.query(`select from pg_locks where locktype = 'advisory' and not granted`, [], database)).rowCount === 1, 'the second waits');
    else await b;
    goOn.resolve();
    await Promise.all([a, b]);
    await relay.start();
    await until(() => received.length === 2, 'both are received');
    return { committed: (await server.query('select signatures from account', [], database)).rows[0].signatures as string, received };
  }

  it('are received in the other order than they took effect', async () => {
    assert.deepEqual(await signed(false), { committed: 'ba', received: 'ab' });
  });

  it('are received in the order of their effects when both call `lockKey`', async () => {
    assert.deepEqual(await signed(true), { committed: 'ab', received: 'ab' });
  });
});

function ownTransaction(pool: pg.Pool): (work: (tx: pg.PoolClient) => Promise<void>) => Promise<void> {
  return async (work) => {
    const client = await pool.connect();
    await client.query('begin');
    await work(client);
    await client.query('commit');
    client.release();
  };
}

function closing(pool: pg.Pool): pg.Pool & AsyncDisposable {
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end() });
}
