/** Relay mode `log`: what is particular to reading the ledger out of the write-ahead log. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { systemClock } from '../../src/contract/clock.ts';
import type { OutboxLease, StoreSession } from '../../src/contract/store.ts';
import { postgres, type PostgresOptions } from '../../src/stores/postgres/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { come, readerOf, streaming, until } from './log-session.ts';
import { acquire as acquirePolling, append, connect, drain, ids, insertRow, named, server as startServer, skip } from './support.ts';

interface World {
  readonly database: string;
  readonly url: string;
  readonly store: StoreSession;
  /** States of the slot, in the order they were told. */
  readonly states: string[];
  /** A lease that reads the log by now. */
  acquire(owner?: string): Promise<OutboxLease>;
  /** What is committed and was not read, once it has come. */
  read(lease: OutboxLease, max?: number): Promise<string[]>;
  sql<Row>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  slot(): Promise<{ name: string; status: string; active: boolean; confirmed: string } | undefined>;
}

describe('the ledger out of the log', { skip }, () => {
  let server: PostgresServer;
  const open = new Set<StoreSession>();
  before(async () => {
    server = await startServer({ settings: { wal_level: 'logical', max_replication_slots: 40, max_wal_senders: 40 } });
  });
  after(async () => {
    for (const store of open) await store.close();
    await server?.close();
  });

  async function world(options?: PostgresOptions, role?: string): Promise<World> {
    const database = await server.createDatabase();
    if (role !== undefined) await server.query(`alter database ${database} owner to ${role}`);
    const url = server.url(database, role);
    const reports: { name: string; detail: unknown }[] = [];
    const store = await postgres(url, options).open(recordingHost('basket', systemClock(), reports));
    open.add(store);
    const sql = async <Row>(text: string, values?: readonly unknown[]): Promise<Row[]> => (await server.query(text, values, database)).rows as Row[];
    return {
      database,
      url,
      store,
      sql,
      get states() {
        return reports.filter(({ name }) => name === 'log-slot').map(({ detail }) => (detail as { state: string }).state);
      },
      async acquire(owner = 'one') {
        const lease = (await store.ports.outbox.acquire(owner, 30_000, { log: true }))!;
        await streaming(lease);
        assert.deepEqual(await lease.read(500), []); // once from the ledger
        return lease;
      },
      async read(lease, max = 500) {
        await come(lease, server, database);
        return ids(await lease.read(max));
      },
      slot: async () =>
        (
          await sql<any>(
            `select slot_name as name, wal_status as status, active, confirmed_flush_lsn::text as confirmed from pg_replication_slots where database = current_database()`,
          )
        )[0],
    };
  }

  /** Where the log ends now. */
  const end = async ({ sql }: World): Promise<string> => (await sql<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn'))[0]!.lsn;
  const isConfirmed = async ({ sql }: World, lsn: string): Promise<boolean> =>
    (await sql<{ yes: boolean }>('select confirmed_flush_lsn >= $1::pg_lsn as yes from pg_replication_slots where database = current_database()', [lsn]))[0]!.yes;

  it('gives what the log says, and never asks the ledger for it', async () => {
    const one = await world();
    const lease = await one.acquire();
    await append(one.store, 'a', 'b');
    await one.sql('delete from waybill.ledger');
    assert.deepEqual(await one.read(lease), ['a', 'b']);
    await lease.release();
  });

  it('lets the server forget only what was settled', async () => {
    const one = await world();
    const lease = await one.acquire();
    await append(one.store, 'a');
    const afterA = await end(one);
    const rows = await one.read(lease).then(() => one.sql<{ pos: string }>('select pos from waybill.ledger'));
    assert.equal(await lease.renew(), true);
    await come(lease, server, one.database);
    assert.equal(await isConfirmed(one, afterA), false, 'confirmed before it was settled');
    await lease.settle(Number(rows[0]!.pos), []);
    await until(async () => (await lease.renew()) && (await isConfirmed(one, afterA)), 'what is settled is confirmed');
    await lease.release();
  });

  it('a relay that confirms what it has read would be caught', async () => {
    const one = await world();
    const lease = await one.acquire();
    await append(one.store, 'a');
    const afterA = await end(one);
    await one.read(lease);
    readerOf(lease).confirm(readerOf(lease).passed); // the sabotage
    await come(lease, server, one.database);
    await until(() => isConfirmed(one, afterA), 'the slot tells');
    // and would lose nothing: the position tells what was published, not the slot
    await lease.release();
    assert.deepEqual(await drain(await acquirePolling(one.store)), ['a']);
  });

  it('is read in order over savepoints, and without what was rolled back', async () => {
    const one = await world();
    const lease = await one.acquire();
    const client = await connect(one.url);
    await client.query('begin');
    await insertRow(client, 'a');
    await client.query('savepoint s');
    await insertRow(client, 'undone');
    await client.query('rollback to s');
    await insertRow(client, 'b');
    const late = await connect(one.url);
    await late.query('begin');
    await insertRow(late, 'late');
    await client.query('commit');
    assert.deepEqual(await one.read(lease), ['a', 'b']);
    await late.query('commit');
    assert.deepEqual(await one.read(lease), ['late']);
    await Promise.all([client.end(), late.end(), lease.release()]);
  });

  it('a transaction longer than a window comes in windows, and its second half alone after a crash in between', async () => {
    const one = await world();
    const lease = await one.acquire();
    const all = Array.from({ length: 1_200 }, (_, i) => `m${i}`);
    await append(one.store, ...all);
    await come(lease, server, one.database);
    const [first, second] = [await lease.read(500), await lease.read(500)];
    assert.deepEqual([...ids(first), ...ids(second)], all.slice(0, 1_000));
    await lease.settle(first.at(-1)!.position, []);
    await one.sql(`update waybill.position set expires_at = clock_timestamp()`);
    const next = await acquirePolling(one.store, 'two');
    assert.deepEqual(await drain(next), all.slice(500));
    await next.release();
  });

  it('takes no more than its bound into memory, however much there is', async () => {
    const one = await world();
    const lease = await one.acquire();
    for (let i = 0; i < 6; i++) await append(one.store, ...Array.from({ length: 1_000 }, (_, n) => `m${i}-${n}`));
    await until(() => readerOf(lease).held >= 2_000, 'the bound is reached');
    assert.ok(readerOf(lease).held < 3_000, `${readerOf(lease).held} rows in memory`);
    const got = new Set<string>();
    await until(async () => {
      const rows = await lease.read(500);
      if (rows.length > 0) await lease.settle(rows.at(-1)!.position, []);
      for (const id of ids(rows)) got.add(id);
      return got.size === 6_000;
    }, 'all come');
    await lease.release();
  });

  it('from polls to the log and back, nothing is lost or given twice, and no slot is left', async () => {
    const one = await world();
    const got: string[] = [];
    for (let turn = 0; turn < 3; turn++) {
      const polls = await acquirePolling(one.store, 'polls');
      await append(one.store, `p${turn}`);
      got.push(...(await drain(polls)));
      await append(one.store, `between${turn}`);
      await polls.release();
      await until(async () => (await one.slot()) === undefined, 'the slot is dropped');
      const log = (await one.store.ports.outbox.acquire('log', 30_000, { log: true }))!;
      await streaming(log);
      const settled = async (): Promise<void> => {
        await come(log, server, one.database);
        got.push(...(await drain(log)));
      };
      await settled();
      await append(one.store, `l${turn}`);
      await settled();
      await append(one.store, `unread${turn}`);
      await come(log, server, one.database);
      await log.read(1); // read, and never settled
      await log.release();
    }
    got.push(...(await drain(await acquirePolling(one.store, 'polls'))));
    assert.deepEqual(got, [0, 1, 2].flatMap((turn) => [...(turn > 0 ? [`unread${turn - 1}`] : []), `p${turn}`, `between${turn}`, `l${turn}`]).concat('unread2'));
  });

  it('a slot that vanishes is made again, and what it did not bring comes out of the ledger', async () => {
    const one = await world();
    const lease = await one.acquire();
    await append(one.store, 'a');
    assert.deepEqual(await one.read(lease), ['a']);
    const { name } = (await one.slot())!;
    const stream = readerOf(lease).stream;
    await one.sql(`select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1`, [name]);
    await until(() => one.sql('select pg_drop_replication_slot($1)', [name]).then(() => true, () => false), 'it is dropped');
    await append(one.store, 'b', 'c');
    await until(() => readerOf(lease).stream !== undefined && readerOf(lease).stream !== stream, 'it is read again');
    await append(one.store, 'd');
    await come(lease, server, one.database);
    assert.deepEqual(await drain(lease), ['b', 'c', 'd']);
    assert.deepEqual(one.states, ['created', 'streaming', 'away', 'created', 'streaming']);
    await lease.release();
  });

  it('a slot that the server has given up is replaced', async () => {
    const one = await world();
    await (await one.acquire()).release();
    await append(one.store, 'a');
    await server.query('alter system set max_slot_wal_keep_size = 1');
    await server.query('select pg_reload_conf()');
    await until(async () => {
      await one.sql('create table if not exists filler (n int)');
      await one.sql('insert into filler values (1)');
      await one.sql('select pg_switch_wal()');
      await one.sql('checkpoint');
      return (await one.slot())!.status === 'lost';
    }, 'the slot is lost');
    const lease = (await one.store.ports.outbox.acquire('two', 30_000, { log: true }))!;
    await streaming(lease);
    assert.deepEqual(await drain(lease), ['a']);
    await append(one.store, 'b');
    assert.deepEqual(await one.read(lease), ['b']);
    assert.deepEqual(one.states, ['created', 'streaming', 'lost', 'streaming']);
    await lease.release();
    await server.query('alter system reset max_slot_wal_keep_size');
    await server.query('select pg_reload_conf()');
  });

  it('what the log did not bring is found by the check, and told', async () => {
    const one = await world();
    const lease = await one.acquire();
    await one.sql('alter publication waybill set (publish = $$delete$$)');
    await append(one.store, 'unheard');
    await one.sql('alter publication waybill set (publish = $$insert$$)');
    await append(one.store, 'heard');
    const got: string[] = [];
    await until(async () => {
      got.push(...(await drain(lease)));
      return got.length === 2;
    }, 'both come');
    assert.deepEqual([...got].sort(), ['heard', 'unheard']);
    assert.ok(one.states.includes('lost'), one.states.join());
    await lease.release();
  });

  it('does not give what no snapshot shows yet: a commit that waits for its standby', async () => {
    const one = await world();
    const lease = await one.acquire();
    await server.query(`alter system set synchronous_standby_names = 'nobody'`);
    await server.query('select pg_reload_conf()');
    const client = await connect(one.url);
    await until(async () => (await client.query('show synchronous_standby_names')).rows[0].synchronous_standby_names === 'nobody', 'it is set');
    await client.query('begin');
    await insertRow(client, 'waits');
    const commit = client.query('commit');
    await until(() => readerOf(lease).next !== undefined, 'the log brings it');
    assert.deepEqual(ids(await lease.read(500)), []);
    await server.query('alter system reset synchronous_standby_names');
    await server.query('select pg_reload_conf()');
    await commit;
    assert.deepEqual(await one.read(lease), ['waits']);
    await Promise.all([client.end(), lease.release()]);
  });

  it('whoever has the lease ends the stream of whoever had it', async () => {
    const one = await world();
    const frozen = await one.acquire('frozen');
    await append(one.store, 'a');
    assert.deepEqual(await one.read(frozen), ['a']);
    await one.sql(`update waybill.position set expires_at = clock_timestamp()`);
    const next = (await one.store.ports.outbox.acquire('next', 30_000, { log: true }))!;
    await streaming(next);
    await come(next, server, one.database);
    assert.deepEqual(ids(await next.read(500)), ['a']);
    assert.equal(await frozen.renew(), false);
    assert.equal(readerOf(frozen).stream, undefined);
    await append(one.store, 'b');
    assert.deepEqual(await one.read(next), ['b']);
    await next.release();
  });

  it('without the right to replicate rows come from the ledger, and the slot is said to be away', async () => {
    await server.query('create role plain login');
    const one = await world(undefined, 'plain');
    const lease = (await one.store.ports.outbox.acquire('one', 30_000, { log: true }))!;
    await until(() => one.states.includes('away'), 'it is told');
    await append(one.store, 'a');
    assert.deepEqual(await drain(lease), ['a']);
    await lease.release();
  });

  it('a role of its own needs REPLICATION and what a relay needs, and no more', async () => {
    await server.query('create role log_relay login replication');
    const owner = await world();
    await owner.sql(`create publication waybill for table waybill.ledger with (publish = 'insert')`);
    await owner.sql(`grant usage on schema waybill to log_relay`);
    await owner.sql(`grant select on waybill.identity, waybill.ledger, waybill.position, waybill.failures to log_relay`);
    await owner.sql(`grant insert on waybill.position, waybill.failures to log_relay`);
    await owner.sql(`grant delete on waybill.position, waybill.ledger to log_relay`);
    const store = await postgres(server.url(owner.database, 'log_relay')).open({ ...recordingHost('basket', systemClock()), migrate: 'check' });
    open.add(store);
    const lease = (await store.ports.outbox.acquire('one', 30_000, { log: true }))!;
    await streaming(lease);
    assert.deepEqual(await lease.read(500), []);
    await owner.store.transaction((tx) => owner.store.ports.outbox.append(tx, [named('a')]));
    await owner.sql('delete from waybill.ledger');
    await come(lease, server, owner.database);
    assert.deepEqual(await drain(lease), ['a']);
    await lease.release();
  });
});
