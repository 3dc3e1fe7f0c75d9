/** Connections that break, before COMMIT and during it; statements that fail; servers that are away. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createBus, defineEvent } from 'waybill';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { systemClock } from '../../src/contract/clock.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import { transact } from '../../src/contract/transact.ts';
import type { SqlTransaction } from '../../src/contract/transaction.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import { didCommit } from '../../src/stores/postgres/outcome.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { append, connect, named, server as startServer, session, skip } from './support.ts';

const clock = systemClock();
const Noted = defineEvent('desk.noted', { schema: z.object({ text: z.string() }) });

describe('transactions on PostgreSQL', { skip }, () => {
  let server: PostgresServer;
  let proxy: Proxy;
  before(async () => {
    server = await startServer();
    proxy = await startProxy(server.port);
  });
  after(async () => {
    await proxy?.close();
    await server?.close();
  });

  /** A database, and its address behind the proxy. */
  async function behindProxy(): Promise<{ url: string; database: string }> {
    const database = await server.createDatabase();
    return { url: server.url(database).replace(`:${server.port}/`, `:${proxy.port}/`), database };
  }
  const ledger = async (database: string): Promise<string[]> =>
    (await server.query('select id from waybill.ledger order by pos', undefined, database)).rows.map(({ id }) => id as string);
  /** A checkpoint of the last seconds hides whether there was a crash: `COMMIT_UNKNOWN` would be right then. */
  async function untilCheckpointIsOld(): Promise<void> {
    for (;;) {
      const { rows } = await server.query(`select checkpoint_time < now() - interval '5 s' as old from pg_control_checkpoint()`);
      if (rows[0].old === true) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  it('that were cut off between COMMIT and its answer are asked about: committed, once', async () => {
    const { url, database } = await behindProxy();
    const store = await session(url);
    await untilCheckpointIsOld();
    let told = 0;
    const happened = proxy.cutAnswer(/COMMIT\0/);
    await store.transaction(async (tx) => {
      await store.ports.outbox.append(tx, [named('a')]);
      tx.afterCommit(() => told++);
    });
    await happened;
    assert.deepEqual([await ledger(database), told], [['a'], 1]);
    await store.close();
  });

  it('that were cut off before COMMIT left nothing, and run again', async () => {
    const { url, database } = await behindProxy();
    const store = await session(url);
    let runs = 0;
    await transact(store, clock, async (tx) => {
      await store.ports.outbox.append(tx, [named(`run ${++runs}`)]);
      if (runs === 1) proxy.cut();
      await store.ports.outbox.append(tx, [named('b')]);
    });
    assert.deepEqual(await ledger(database), ['run 2', 'b']);
    await store.close();
  });

  it('whose COMMIT the server refuses throw its own error', async () => {
    const { database } = await behindProxy();
    const store = await session(server.url(database));
    await server.query('create table one (n int unique deferrable initially deferred)', undefined, database);
    const refused = store.transaction(async (tx) => {
      await (tx.native as SqlTransaction).query('insert into one values (1), (1)');
      await store.ports.outbox.append(tx, [named('a')]);
    });
    await assert.rejects(refused, (error: { code?: string }) => error.code === '23505' && store.classify(error) === 'other');
    assert.deepEqual(await ledger(database), []);
    await store.close();
  });

  it('in which a statement failed commit nothing, although its error was swallowed', async () => {
    const { database } = await behindProxy();
    const store = await session(server.url(database));
    const spoilt = store.transaction(async (tx) => {
      await store.ports.outbox.append(tx, [named('a')]);
      await (tx.native as SqlTransaction).query('select 1 / 0').catch(() => {});
    });
    await assert.rejects(spoilt);
    await store.transaction(async (tx) => {
      await store.ports.outbox.append(tx, [named('b')]);
      await assert.rejects(tx.savepoint(async (native) => void (await (native as SqlTransaction).query('select 1 / 0').catch(() => {}))));
      await store.ports.outbox.append(tx, [named('c')]);
    });
    assert.deepEqual(await ledger(database), ['b', 'c']);
    await store.close();
  });

  it('are believed to have committed only when no crash and no fail-over can have reissued their id', async () => {
    const url = server.url(await server.createDatabase());
    const client = await connect(url);
    const sql = { query: async (text: string, values: readonly unknown[] = []) => (await client.query(text, values as unknown[])).rows } as never;
    const xid = async (end: string): Promise<string> => {
      await client.query('begin');
      const { rows } = await client.query('select pg_current_xact_id()::text as xid');
      await client.query(end);
      return rows[0].xid as string;
    };
    const timeline = (await client.query('select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) as t')).rows[0].t as string;
    await untilCheckpointIsOld();
    const committed = { xid: await xid('commit'), beganMs: clock.monotonic(), timeline };
    assert.equal(await didCommit(sql, clock, committed), true);
    assert.equal(await didCommit(sql, clock, { ...committed, timeline: '00000099' }), undefined, 'another timeline');
    assert.equal(await didCommit(sql, clock, { ...committed, beganMs: clock.monotonic() - 3_600_000 }), undefined, 'the server started since');
    assert.equal(await didCommit(sql, clock, { ...committed, xid: await xid('rollback') }), false);
    assert.equal(await didCommit(sql, clock, { ...committed, xid: '99999999' }), false, 'an id that was never handed out');
    await server.query('checkpoint');
    assert.equal(await didCommit(sql, clock, committed), undefined, 'a crash may hide behind the checkpoint');
    await client.end();
  });

  it('are run again after a serialization failure, a deadlock, or a lock that was not to be had; other errors are not', async () => {
    const store = await session(server.url(await server.createDatabase()));
    for (const [state, meaning] of [['40001', 'retry'], ['40P01', 'retry'], ['55P03', 'retry'], ['57P01', 'retry'], ['25006', 'down'], ['53100', 'down'], ['53300', 'down'], ['57014', 'other'], ['23505', 'other']] as const) {
      const raised = store.transaction((tx) => (tx.native as SqlTransaction).query(`do $$ begin raise exception 'no' using errcode = '${state}'; end $$`));
      await assert.rejects(raised, (error) => {
        assert.equal(store.classify(error), meaning, state);
        return true;
      });
    }
    const elsewhere = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
    assert.equal(store.classify(elsewhere), 'other', 'a handler’s own connection');
    await store.close();
  });

  it('say that the store is away while the server is down, and go on when it is back', async () => {
    const { database } = await behindProxy();
    const store = await session(server.url(database));
    await server.stop();
    await assert.rejects(append(store, 'a'), (error) => store.classify(error) === 'down' || store.classify(error) === 'retry');
    await assert.rejects(append(store, 'a'), (error) => WaybillError.is(error, 'STORE_UNREACHABLE'));
    await server.start();
    await append(store, 'b');
    assert.deepEqual(await ledger(database), ['b']);
    await store.close();
  });

  it('of handlers that lost their connection are no attempt of a message', async () => {
    const { url, database } = await behindProxy();
    const bus = createBus({ service: 'desk', store: postgres(url), transport: memory(), logger: { debug() {}, info() {}, warn() {}, error() {} } });
    const attempts: number[] = [];
    const applied = Promise.withResolvers<void>();
    bus.subscribe(Noted, async (event, ctx) => {
      attempts.push(ctx.attempt);
      await ctx.tx.query('select 1');
      if (attempts.length === 1) proxy.cut();
      await ctx.tx.query('select 2');
    });
    bus.on('applied', () => applied.resolve());
    await bus.start();
    await bus.publish(Noted, { text: 'a' });
    await applied.promise;
    assert.deepEqual(attempts, [1, 1]);
    await bus.stop();
    assert.equal((await server.query('select count(*)::int as n from waybill.failures', undefined, database)).rows[0].n, 0);
  });
});
