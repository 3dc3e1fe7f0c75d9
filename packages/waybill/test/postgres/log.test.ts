/** Relay mode `log`: what is particular to reading the ledger out of the write-ahead log. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type pg from 'pg';
import { createBus } from 'waybill';
import { memory } from 'waybill/transports/memory';
import { systemClock } from '../../src/contract/clock.ts';
import type { OutboxLease, StoreSession } from '../../src/contract/store.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import { publicationName, slotName } from '../../src/stores/postgres/wal/slot.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { come, readerOf, streaming, until } from './log-session.ts';
import { acquire as acquirePolling, append, connect, drain, ids, named, server as startServer, skip } from './support.ts';

interface World {
  /** A schema of its own in the one database: making a database takes longer than most of these tests. */
  readonly schema: string;
  readonly slot: string;
  readonly store: StoreSession;
  /** States of the slot, in the order they were told. */
  readonly states: string[];
  /** A lease that reads the log by now. */
  acquire(owner?: string): Promise<OutboxLease>;
  append(...ids: string[]): Promise<void>;
  /** What is committed and was not read, once it has come. */
  read(lease: OutboxLease, max?: number): Promise<string[]>;
  /** `S` in it stands for the schema. */
  sql<Row>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Undefined where there is no slot. */
  status(): Promise<string | undefined>;
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

  let worlds = 0;
  async function world(role?: string): Promise<World> {
    const schema = `w${++worlds}`;
    const slot = slotName('postgres', schema);
    const sql = async <Row>(text: string, values?: readonly unknown[]): Promise<Row[]> => (await server.query(text.replaceAll('S.', `${schema}.`), values)).rows as Row[];
    if (role !== undefined) await sql(`create schema ${schema} authorization ${role}`);
    const url = server.url('postgres', role);
    const reports: { name: string; detail: unknown }[] = [];
    const store = await postgres(url, { schema }).open(recordingHost('basket', systemClock(), reports));
    open.add(store);
    return {
      schema,
      slot,
      store,
      append: (...given) => append(store, ...given),
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
        await come(lease, server);
        return ids(await lease.read(max));
      },
      status: async () => (await sql<{ status: string }>('select wal_status as status from pg_replication_slots where slot_name = $1', [slot]))[0]?.status,
    };
  }

  /** Where the log ends now. */
  const end = async ({ sql }: World): Promise<string> => (await sql<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn'))[0]!.lsn;
  const isConfirmed = async ({ sql, slot }: World, lsn: string): Promise<boolean> =>
    (await sql<{ yes: boolean }>('select confirmed_flush_lsn >= $1::pg_lsn as yes from pg_replication_slots where slot_name = $2', [lsn, slot]))[0]!.yes;
  const insert = (client: pg.Client, { schema }: World, id: string): Promise<unknown> =>
    client.query(`insert into ${schema}.ledger (kind, id, source, type, time, headers, body) values ('event', $1, 'basket', 'basket.x.v1', 0, '{}', '')`, [id]);

  it('gives what the log says, and never asks the ledger for it', async () => {
    const one = await world();
    const lease = await one.acquire();
    await one.append('a', 'b');
    await one.sql('delete from S.ledger');
    assert.deepEqual(await one.read(lease), ['a', 'b']);
    await lease.release();
  });

  it('lets the server forget only what was settled', async () => {
    const one = await world();
    const lease = await one.acquire();
    await one.append('a');
    const afterA = await end(one);
    const rows = await one.read(lease).then(() => one.sql<{ pos: string }>('select pos from S.ledger'));
    assert.equal(await lease.renew(), true);
    await come(lease, server);
    assert.equal(await isConfirmed(one, afterA), false, 'confirmed before it was settled');
    await lease.settle(Number(rows[0]!.pos), []);
    await until(async () => (await lease.renew()) && (await isConfirmed(one, afterA)), 'what is settled is confirmed');
    await lease.release();
  });

  it('a relay that confirms what it has read would be caught', async () => {
    const one = await world();
    const lease = await one.acquire();
    await one.append('a');
    const afterA = await end(one);
    await one.read(lease);
    readerOf(lease).confirm(readerOf(lease).passed); // the sabotage
    await come(lease, server);
    await until(() => isConfirmed(one, afterA), 'the slot tells');
    // and would lose nothing: the position tells what was published, not the slot
    await lease.release();
    assert.deepEqual(await drain(await acquirePolling(one.store)), ['a']);
  });

  it('is read in order over savepoints, and without what was rolled back', async () => {
    const one = await world();
    const lease = await one.acquire();
    const client = await connect(server.url());
    await client.query('begin');
    await insert(client, one, 'a');
    await client.query('savepoint s');
    await insert(client, one, 'undone');
    await client.query('rollback to s');
    await insert(client, one, 'b');
    const late = await connect(server.url());
    await late.query('begin');
    await insert(late, one, 'late');
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
    await one.append(...all);
    await come(lease, server);
    const [first, second] = [await lease.read(500), await lease.read(500)];
    assert.deepEqual([...ids(first), ...ids(second)], all.slice(0, 1_000));
    await lease.settle(first.at(-1)!.position, []);
    await one.sql(`update S.position set expires_at = clock_timestamp()`);
    const next = await acquirePolling(one.store, 'two');
    assert.deepEqual(await drain(next), all.slice(500));
    await next.release();
  });

  it('takes no more than its bound into memory, however much there is', async () => {
    const one = await world();
    const lease = await one.acquire();
    for (let i = 0; i < 6; i++) await one.append(...Array.from({ length: 1_000 }, (_, n) => `m${i}-${n}`));
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
      await one.append(`p${turn}`);
      got.push(...(await drain(polls)));
      await one.append(`between${turn}`);
      await polls.release();
      await until(async () => (await one.status()) === undefined, 'the slot is dropped');
      const log = (await one.store.ports.outbox.acquire('log', 30_000, { log: true }))!;
      await streaming(log);
      const settled = async (): Promise<void> => {
        await come(log, server);
        got.push(...(await drain(log)));
      };
      await settled();
      await one.append(`l${turn}`);
      await settled();
      await one.append(`unread${turn}`);
      await come(log, server);
      await log.read(1); // read, and never settled
      await log.release();
    }
    got.push(...(await drain(await acquirePolling(one.store, 'polls'))));
    assert.deepEqual(got, [0, 1, 2].flatMap((turn) => [...(turn > 0 ? [`unread${turn - 1}`] : []), `p${turn}`, `between${turn}`, `l${turn}`]).concat('unread2'));
  });

  it('a slot that vanishes is made again, and what it did not bring comes out of the ledger', async () => {
    const one = await world();
    const lease = await one.acquire();
    await one.append('a');
    assert.deepEqual(await one.read(lease), ['a']);
    const stream = readerOf(lease).stream;
    await until(async () => {
      await one.sql('select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1', [one.slot]);
      return one.sql('select pg_drop_replication_slot($1)', [one.slot]).then(() => true, () => false);
    }, 'it is dropped');
    await one.append('b', 'c');
    await until(() => readerOf(lease).stream !== undefined && readerOf(lease).stream !== stream, 'it is read again');
    await one.append('d');
    await come(lease, server);
    assert.deepEqual(await drain(lease), ['b', 'c', 'd']);
    assert.ok(one.states.includes('away'), one.states.join());
    assert.equal(one.states.filter((state) => state === 'created').length, 2, one.states.join());
    await lease.release();
  });

  it('a slot that the server has given up is replaced', async () => {
    const one = await world();
    await (await one.acquire()).release();
    await one.append('a');
    await server.query('alter system set max_slot_wal_keep_size = 1');
    await server.query('select pg_reload_conf()');
    await until(async () => {
      await one.sql('create table if not exists filler (n int)');
      await one.sql('insert into filler values (1)');
      await one.sql('select pg_switch_wal()');
      await one.sql('checkpoint');
      return (await one.status()) === 'lost';
    }, 'the slot is lost');
    const lease = (await one.store.ports.outbox.acquire('two', 30_000, { log: true }))!;
    await streaming(lease);
    assert.deepEqual(await drain(lease), ['a']);
    await one.append('b');
    assert.deepEqual(await one.read(lease), ['b']);
    assert.deepEqual(one.states, ['created', 'streaming', 'lost', 'streaming']);
    await lease.release();
    await server.query('alter system reset max_slot_wal_keep_size');
    await server.query('select pg_reload_conf()');
  });

  it('what the log did not bring is found by the check, and told', async () => {
    const one = await world();
    const lease = await one.acquire();
    await one.sql(`alter publication ${publicationName(one.schema)} set (publish = 'delete')`);
    await one.append('unheard');
    await one.sql(`alter publication ${publicationName(one.schema)} set (publish = 'insert')`);
    await one.append('heard');
    const got: string[] = [];
    await until(async () => {
      got.push(...(await drain(lease)));
      return got.length === 2;
    }, 'both come');
    assert.deepEqual([...got].sort(), ['heard', 'unheard']);
    assert.ok(one.states.includes('lost'), one.states.join());
    await lease.release();
  });

  it('what was open when the stream began, and is in neither, comes before what was committed behind it', async () => {
    const one = await world();
    await (await one.acquire()).release(); // the slot is there
    const publish = (what: string): Promise<unknown> => one.sql(`alter publication ${publicationName(one.schema)} set (publish = '${what}')`);
    const client = await connect(server.url());
    await client.query('begin');
    await client.query('select pg_current_xact_id()');
    const lease = (await one.store.ports.outbox.acquire('two', 30_000, { log: true }))!;
    await streaming(lease);
    assert.deepEqual(await lease.read(500), []);
    await publish('delete'); // so that the log does not bring it, as if its commit lay before the slot
    await insert(client, one, 'older');
    await client.query('commit');
    await publish('insert');
    await one.append('younger');
    await come(lease, server);
    assert.deepEqual(await drain(lease), ['older', 'younger']);
    assert.ok(!one.states.includes('lost'), 'found by the check, and so too late');
    await Promise.all([client.end(), lease.release()]);
  });

  it('does not give what no snapshot shows yet: a commit that waits for its standby', async () => {
    const one = await world();
    const lease = await one.acquire();
    await server.query(`alter system set synchronous_standby_names = 'nobody'`);
    await server.query('select pg_reload_conf()');
    const client = await connect(server.url());
    await until(async () => (await client.query('show synchronous_standby_names')).rows[0].synchronous_standby_names === 'nobody', 'it is set');
    await client.query('begin');
    await insert(client, one, 'waits');
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
    await one.append('a');
    assert.deepEqual(await one.read(frozen), ['a']);
    await one.sql(`update S.position set expires_at = clock_timestamp()`);
    const next = (await one.store.ports.outbox.acquire('next', 30_000, { log: true }))!;
    await streaming(next);
    await come(next, server);
    assert.deepEqual(ids(await next.read(500)), ['a']);
    assert.equal(await frozen.renew(), false);
    assert.equal(readerOf(frozen).stream, undefined);
    await one.append('b');
    assert.deepEqual(await one.read(next), ['b']);
    await next.release();
  });

  it('a slot that keeps more of the log than the server plans for is told, once, and so is that it no longer does', async () => {
    const one = await world();
    const lease = await one.acquire();
    await server.query('alter system set max_wal_size = 32');
    await server.query('select pg_reload_conf()');
    await until(async () => {
      await one.sql('create table if not exists filler (n int)');
      await one.sql('insert into filler values (1)');
      await one.sql('select pg_switch_wal()');
      return (await one.status()) === 'extended';
    }, 'it keeps too much'); // nothing is confirmed: nobody renews the lease
    await one.append('a');
    assert.deepEqual(await one.read(lease), ['a']);
    assert.deepEqual(one.states, ['created', 'streaming', 'lagging']);
    await server.query('alter system reset max_wal_size');
    await server.query('select pg_reload_conf()');
    await until(async () => (await one.status()) === 'reserved', 'it is within bounds');
    await one.append('b');
    assert.deepEqual(await one.read(lease), ['b']);
    assert.deepEqual(one.states, ['created', 'streaming', 'lagging', 'streaming']);
    await lease.release();
  });

  it('health tells of a log that cannot be read, and the bus is ready all the same', async () => {
    await server.query('create role without_replication login');
    await server.query('create schema h authorization without_replication');
    const quiet = { debug() {}, info() {}, warn() {}, error() {} };
    const bus = createBus({ service: 'basket', store: postgres(server.url('postgres', 'without_replication'), { schema: 'h' }), transport: memory(), relay: 'log', logger: quiet });
    let away = false;
    bus.on('log-slot', ({ state }) => (away ||= state === 'away'));
    await bus.start();
    await until(() => away, 'it is told');
    const { ready, checks } = await bus.health();
    assert.equal(ready, true);
    assert.match(checks.find(({ name }) => name === 'log')!.detail!, /^away: .*messages come from the ledger/);
    await bus.stop();
  });

  it('without the right to replicate rows come from the ledger, and the slot is said to be away', async () => {
    await server.query('create role plain login');
    const one = await world('plain');
    const lease = (await one.store.ports.outbox.acquire('one', 30_000, { log: true }))!;
    await until(() => one.states.includes('away'), 'it is told');
    await one.append('a');
    assert.deepEqual(await drain(lease), ['a']);
    await lease.release();
  });

  it('a role of its own needs REPLICATION and what a relay needs, and no more', async () => {
    await server.query('create role log_relay login replication');
    const owner = await world();
    await owner.sql(`create publication ${publicationName(owner.schema)} for table S.ledger with (publish = 'insert')`);
    await owner.sql(`grant usage on schema ${owner.schema} to log_relay`);
    await owner.sql(`grant select on S.identity, S.ledger, S.position, S.failures to log_relay`);
    await owner.sql(`grant insert on S.position, S.failures to log_relay`);
    await owner.sql(`grant delete on S.position, S.ledger to log_relay`);
    const store = await postgres(server.url('postgres', 'log_relay'), { schema: owner.schema }).open({ ...recordingHost('basket', systemClock()), migrate: 'check' });
    open.add(store);
    const lease = (await store.ports.outbox.acquire('one', 30_000, { log: true }))!;
    await streaming(lease);
    assert.deepEqual(await lease.read(500), []);
    await owner.store.transaction((tx) => owner.store.ports.outbox.append(tx, [named('a')]));
    await owner.sql('delete from S.ledger');
    await come(lease, server);
    assert.deepEqual(await drain(lease), ['a']);
    await lease.release();
  });
});
