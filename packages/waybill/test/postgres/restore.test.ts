/** The ledger in another cluster: after a restore, an upgrade, a fail-over. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { WaybillError } from '../../src/contract/errors.ts';
import { resumeAfterRestore } from '../../src/stores/postgres/index.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { acquire, append, connect, drain, ids, insertRow, programOf, server as startServer, session, skip } from './support.ts';

const isRewound = (error: unknown): boolean => WaybillError.is(error, 'LEDGER_REWOUND');

describe('the ledger in another cluster', { skip }, () => {
  let from: PostgresServer;
  let to: PostgresServer;
  before(async () => {
    [from, to] = await Promise.all([startServer(), startServer()]);
  });
  after(() => Promise.all([from?.close(), to?.close()]));

  /** Published: a and b, and the first of a batch of two. Not: the rest of the batch, what committed late, what came after. */
  async function dumped(): Promise<{ dump: Buffer; database: string }> {
    const database = await from.createDatabase();
    const url = from.url(database);
    const burner = await connect(url);
    for (let i = 0; i < 500; i++) await burner.query('select pg_current_xact_id()'); // ids ahead of a fresh cluster's
    const store = await session(url);
    const lease = await acquire(store);
    const late = await connect(url);
    await late.query('begin');
    await insertRow(late, 'late');
    await append(store, 'a', 'b');
    await drain(lease);
    await append(store, 'half', 'rest');
    const rows = await lease.read(500);
    await lease.settle(rows[0]!.position, []);
    await late.query('commit');
    await append(store, 'after');
    await Promise.all([store.close(), burner.end(), late.end()]);
    return { dump: execFileSync(programOf('pg_dump'), ['-h', '127.0.0.1', '-p', String(from.port), '-U', 'waybill', database], { maxBuffer: 1e8 }), database };
  }

  async function restoredInto(server: PostgresServer, dump: Buffer): Promise<{ url: string; database: string }> {
    const database = await server.createDatabase();
    execFileSync(programOf('psql'), ['-q', '-v', 'ON_ERROR_STOP=1', '-h', '127.0.0.1', '-p', String(server.port), '-U', 'waybill', database], { input: dump, stdio: ['pipe', 'ignore', 'inherit'] });
    return { url: server.url(database), database };
  }

  async function resume(url: string): Promise<unknown> {
    const pool = new pg.Pool({ connectionString: url });
    try {
      return await resumeAfterRestore(pool);
    } finally {
      await pool.end();
    }
  }

  it('is not relayed before it was resumed, and then publishes what was not, once, and goes on', async () => {
    const { url } = await restoredInto(to, (await dumped()).dump);
    const store = await session(url);
    await append(store, 'new'); // the service may run before the relay does
    await assert.rejects(store.ports.outbox.acquire('one', 30_000), isRewound);
    await resume(url);
    const lease = await acquire(store);
    assert.deepEqual((await drain(lease)).toSorted(), ['after', 'late', 'new', 'rest']);
    await append(store, 'newer');
    assert.deepEqual(await drain(lease), ['newer']);
    assert.deepEqual(await drain(lease), []);
    const { rows } = await to.query('select count(*)::int as n from waybill.ledger', undefined, url.split('/').at(-1));
    assert.equal((await store.ports.inspect.outbox({ state: 'published' })).length, rows[0].n);
    assert.equal((await store.ports.inspect.counts()).ready, 0);
    assert.equal(await store.ports.outbox.trim(Date.now() + 60_000, 100), rows[0].n);
    await store.close();
  });

  it('loses rows when the old snapshots are believed: the sabotage that the rule is there for', async () => {
    const { url, database } = await restoredInto(to, (await dumped()).dump);
    const store = await session(url);
    await append(store, 'new');
    await to.query(`update waybill.position set system = (select system_identifier::text from pg_control_system()), expires_at = now()`, undefined, database);
    const lease = await acquire(store).catch((error: unknown) => error);
    const found = lease instanceof Error ? [] : await drain(lease as never).catch(() => []);
    assert.ok(!found.includes('new'), 'the new cluster’s ids were not lower: the test shows nothing');
    await store.close();
  });

  it('goes on after a crash in the middle of what was restored, page by page', async () => {
    const { url, database } = await restoredInto(to, (await dumped()).dump);
    const store = await session(url);
    await append(store, 'new 1', 'new 2', 'new 3');
    await resume(url);
    const first = await acquire(store, 'first');
    const rows = [...(await first.read(2)), ...(await first.read(2))];
    await first.settle(rows[2]!.position, []);
    const left = (await store.ports.inspect.outbox({ state: 'ready' })).map(({ id }) => id);
    await to.query(`update waybill.position set expires_at = expires_at - interval '1 h'`, undefined, database);
    const second = await acquire(store, 'second');
    const rest = await drain(second, 2);
    assert.deepEqual(rest, left);
    assert.deepEqual([...ids(rows).slice(0, 3), ...rest].toSorted(), ['after', 'late', 'new 1', 'new 2', 'new 3', 'rest']);
    await append(store, 'newer');
    assert.deepEqual(await drain(second), ['newer']);
    await store.close();
  });

  it('may be resumed again, by mistake or because it moved again', async () => {
    const { url } = await restoredInto(to, (await dumped()).dump);
    const store = await session(url);
    await resume(url);
    await append(store, 'between');
    await resume(url);
    assert.deepEqual((await drain(await acquire(store))).toSorted(), ['after', 'between', 'late', 'rest']);
    await append(store, 'unsent');
    await resume(url); // everything else is published by now
    assert.deepEqual(await drain(await acquire(store)), ['unsent']);
    await store.close();
  });

  it('is not resumed while its sequence stands before its rows', async () => {
    const { url, database } = await restoredInto(to, (await dumped()).dump);
    await to.query(`select setval(pg_get_serial_sequence('waybill.ledger', 'pos'), 1)`, undefined, database);
    await assert.rejects(resume(url), isRewound);
  });

  it('goes on by itself on a promoted standby: log and rows are one', async () => {
    const database = await from.createDatabase();
    const before = await session(from.url(database));
    await append(before, 'a', 'b');
    const lease = await acquire(before, 'old');
    const [a] = await lease.read(1);
    await lease.settle(a!.position, []);
    const standby = await startServer({
      settings: { hot_standby: 'on' },
      init(data) {
        const how = ['-h', '127.0.0.1', '-p', String(from.port), '-U', 'waybill', '-D', data, '-R', '-c', 'fast', '--no-sync'];
        execFileSync(programOf('pg_basebackup'), how, { stdio: ['ignore', 'ignore', 'inherit'] });
        execFileSync('chown', ['-R', 'postgres:', data]);
      },
    });
    try {
      await append(before, 'c');
      await replayed(from, standby);
      await from.kill();
      await standby.query('select pg_promote()');
      const after = await session(standby.url(database));
      await append(after, 'd');
      const next = await acquire(after, 'old'); // the same process: it connects anew
      assert.deepEqual(await drain(next), ['b', 'c', 'd']);
      await after.close();
    } finally {
      await before.close();
      await standby.close();
      await from.start();
    }
  });

  async function replayed(primary: PostgresServer, standby: PostgresServer): Promise<void> {
    const { rows } = await primary.query('select pg_current_wal_lsn()::text as lsn');
    for (let tries = 0; tries < 1_000; tries++) {
      const seen = await standby.query('select pg_last_wal_replay_lsn() >= $1::pg_lsn as done', [rows[0].lsn]);
      if (seen.rows[0].done === true) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error('the standby did not follow');
  }
});
