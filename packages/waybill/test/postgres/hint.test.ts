/** Being woken by `NOTIFY` when another process of the service has committed. */
import assert from 'node:assert/strict';
import { type TestContext, after, before, describe, it } from 'node:test';
import pg from 'pg';
import { createBus, defineEvent } from 'waybill';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import type { StoreSession } from '../../src/contract/store.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { until } from './log-session.ts';
import { named, server as startServer, session, skip } from './support.ts';

const Noted = defineEvent('desk.noted', { schema: z.object({ n: z.number() }) });

describe('the relay is woken from another process', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.close());

  const listeners = async (database: string): Promise<number> =>
    (await server.query(`select from pg_stat_activity where datname = $1 and query ilike 'listen %'`, [database])).rowCount!;

  async function holder(store: StoreSession): Promise<{ readonly woken: () => number }> {
    let woken = 0;
    assert.ok(await store.ports.outbox.acquire('one', 60_000, { wake: () => void woken++ }));
    await until(() => woken > 0, 'it listens'); // and looks once, for what was committed before
    return { woken: () => woken };
  }

  it('by a hint of whoever does not hold the lease', async () => {
    const url = server.url(await server.createDatabase());
    const [one, two] = [await session(url), await session(url)];
    const { woken } = await holder(one);
    two.ports.outbox.hint!();
    await until(() => woken() === 2, 'the hint is heard');
    await Promise.all([one.close(), two.close()]);
  });

  it('again after the connection was lost', async () => {
    const database = await server.createDatabase();
    const [one, two] = [await session(server.url(database)), await session(server.url(database))];
    const { woken } = await holder(one);
    await server.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and query ilike 'listen %'`, [database]);
    await until(() => woken() === 2, 'it listens again');
    two.ports.outbox.hint!();
    await until(() => woken() === 3, 'the hint is heard');
    await Promise.all([one.close(), two.close()]);
  });

  it('and reads over the connection that is woken, planned once; over another when that is lost', async () => {
    const database = await server.createDatabase();
    const one = await session(server.url(database));
    let woken = 0;
    const lease = (await one.ports.outbox.acquire('one', 60_000, { wake: () => void woken++ }))!;
    await until(() => woken > 0, 'it listens');
    const { rows: [listening] } = await server.query(`select pid from pg_stat_activity where datname = $1 and query ilike 'listen %'`, [database]);
    const lastOf = async (pid: unknown): Promise<string | undefined> => (await server.query('select query from pg_stat_activity where pid = $1', [pid])).rows[0]?.query;
    for (const id of ['a', 'b']) {
      await one.transaction((tx) => one.ports.outbox.append(tx, [named(id)]));
      const rows = await lease.read(10);
      assert.deepEqual(rows.map((row) => row.id), [id]);
      await lease.settle(rows[0]!.position, []);
    }
    assert.match((await lastOf(listening.pid))!, /^with seen as/);
    await server.query('select pg_terminate_backend($1)', [listening.pid]);
    await until(async () => (await lastOf(listening.pid)) === undefined, 'it is gone');
    await one.transaction((tx) => one.ports.outbox.append(tx, [named('c')]));
    let rows: readonly { id: string }[] = [];
    await until(async () => (rows = await lease.read(10).catch(() => [])).length > 0, 'it reads on');
    assert.deepEqual(rows.map((row) => row.id), ['c']);
    await lease.release();
    await one.close();
  });

  it('no more once the lease is given back', async () => {
    const database = await server.createDatabase();
    const one = await session(server.url(database));
    let woken = 0;
    const lease = (await one.ports.outbox.acquire('one', 60_000, { wake: () => void woken++ }))!;
    await until(() => woken === 1, 'it listens');
    await lease.release();
    await until(async () => (await listeners(database)) === 0, 'its connection ends');
    await one.close();
  });

  /** A bus that publishes, and beside it whoever holds the lease of its ledger. */
  async function withoutRelay(t: TestContext, url: string, pool: pg.Pool) {
    const relay = await session(url, 'desk');
    const bus = createBus({ service: 'desk', store: postgres(pool), transport: memory(), relay: 'off' });
    t.after(async () => {
      await bus.stop();
      await pool.end();
      await relay.close();
    });
    const { woken } = await holder(relay);
    await bus.start();
    return { bus, woken };
  }

  it('after the commit, by a bus without relay; its transactions are what they were', async (t) => {
    const url = server.url(await server.createDatabase());
    const pool = new pg.Pool({ connectionString: url });
    const sent: string[] = [];
    pool.on('connect', (client) => {
      const query = client.query.bind(client) as (...given: unknown[]) => unknown;
      client.query = ((...given: unknown[]) => (sent.push(String(given[0])), query(...given))) as typeof client.query;
    });
    const { bus, woken } = await withoutRelay(t, url, pool);
    sent.length = 0;
    await bus.transaction((tx) => bus.publish(Noted, { n: 1 }, { tx }));
    await until(() => woken() > 1, 'the relay is woken');
    const what = sent.map((text) => /^\s*(begin|commit|insert into)|pg_notify/.exec(text)?.[0].trim().concat(text.endsWith(';commit') ? ' … commit' : '')).filter(Boolean);
    assert.deepEqual(what, ['begin … commit', 'pg_notify']);
  });

  it('after the end of a transaction of the user’s own', async (t) => {
    const url = server.url(await server.createDatabase());
    const pool = new pg.Pool({ connectionString: url });
    const { bus, woken } = await withoutRelay(t, url, pool);
    const client = await pool.connect();
    await client.query('begin');
    await bus.publish(Noted, { n: 1 }, { tx: client });
    await client.query('commit');
    client.release();
    await until(() => woken() > 1, 'the relay is woken');
  });
});
