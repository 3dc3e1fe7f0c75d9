/** What the ledger promises beyond the ports' suite: late commits, crashes, restores. The cases of its design. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { WaybillError } from '../../src/contract/errors.ts';
import type { StoreSession } from '../../src/contract/store.ts';
import { poll, xmaxOf } from '../../src/stores/postgres/reading.ts';
import { failure } from '../../src/testing/conformance/store/world.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { until } from './log-session.ts';
import { acquire, append, connect, drain, ids, insertRow, named, server as startServer, session, skip } from './support.ts';

describe('the ledger on PostgreSQL', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.close());

  /** A store on a database of its own. */
  async function fresh(): Promise<{ store: StoreSession; url: string; database: string }> {
    const database = await server.createDatabase();
    const url = server.url(database);
    return { store: await session(url), url, database };
  }
  const expire = (database: string): Promise<unknown> => server.query(`update waybill.position set expires_at = expires_at - interval '1 h'`, undefined, database);

  it('finds a row whose transaction began before, and committed after, what has been published', async () => {
    const { store, url } = await fresh();
    const lease = await acquire(store);
    const early = await connect(url);
    await early.query('begin');
    await insertRow(early, 'late');
    await append(store, 'a', 'b');
    assert.deepEqual(await drain(lease), ['a', 'b']);
    assert.deepEqual(await drain(lease), []);
    await early.query('commit');
    await append(store, 'c');
    assert.deepEqual(await drain(lease), ['late', 'c'], 'in position order');
    await early.end();
    await store.close();
  });

  it('is not held up by a writing transaction that stays open, however long', async () => {
    const { store, url } = await fresh();
    const open = await connect(url);
    await open.query('begin');
    await open.query('select pg_current_xact_id()');
    const lease = await acquire(store);
    for (let i = 0; i < 20; i++) {
      await append(store, `m${i}`);
      assert.deepEqual(await drain(lease), [`m${i}`]);
    }
    await open.query('rollback');
    await open.end();
    await store.close();
  });

  it('writes down what was read at once only when it is settled; who dies in between leaves it to be read again among younger rows', async () => {
    const { store, url } = await fresh();
    const lease = await acquire(store);
    const other = await connect(url);
    /** Nobody writes a position until `end`. */
    const heldUp = async (work: () => Promise<unknown>): Promise<void> => {
      await other.query('begin; lock table waybill.position in share mode');
      await work();
      await other.query('rollback');
    };
    await append(store, 'a');
    let settled: Promise<void> | undefined;
    await heldUp(async () => {
      const [row] = await lease.read(500); // does not wait
      let over = false;
      settled = lease.settle(row!.position, []).then(() => void (over = true));
      await append(store, 'b');
      assert.deepEqual([row!.id, over], ['a', false]);
    });
    await settled;
    assert.deepEqual(await drain(lease), ['b']);
    const written = async (): Promise<unknown> => (await other.query('select count(*)::int as n, max(no) as last from waybill.position')).rows[0];
    const before = await written();
    await append(store, 'c');
    assert.deepEqual(ids(await lease.read(500)), ['c']);
    assert.deepEqual(await written(), before);
    await append(store, 'd');
    assert.deepEqual(await drain(await acquire(store, 'one')), ['c', 'd']);
    await assert.rejects(lease.settle(3, []), { code: 'LEASE_LOST' });
    await other.end();
    await store.close();
  });

  it('reads the same batches in the same order after a crash, from the last settled row on', async () => {
    const { store, url, database } = await fresh();
    const writer = await connect(url);
    const first = await acquire(store, 'first');
    await writer.query('begin');
    await insertRow(writer, 'a1');
    await append(store, 'b1', 'b2', 'b3');
    const one = await first.read(500);
    await writer.query('commit'); // before b1 in position, and in the next batch all the same
    await append(store, 'c1');
    const two = await first.read(500);
    assert.deepEqual([ids(one), ids(two)], [['b1', 'b2', 'b3'], ['a1', 'c1']]);
    await first.settle(one[0]!.position, []);
    await append(store, 'd1');
    await expire(database); // the holder died
    const second = await acquire(store, 'second');
    assert.deepEqual(ids(await second.read(500)), ['b2', 'b3']);
    assert.deepEqual(ids(await second.read(500)), ['a1', 'c1']);
    assert.deepEqual(ids(await second.read(500)), ['d1']);
    await writer.end();
    await store.close();
  });

  it('pages through a large batch, and settles any part of it', async () => {
    const { store, url, database } = await fresh();
    const writer = await connect(url);
    await writer.query('begin');
    await insertRow(writer, 'early');
    const lease = await acquire(store);
    assert.deepEqual(await lease.read(500), []);
    await lease.renew();
    const many = Array.from({ length: 25 }, (_, i) => `m${i}`);
    for (const id of many) await append(store, id);
    await writer.query('commit');
    const pages = [await lease.read(7), await lease.read(7), await lease.read(7)];
    assert.deepEqual(pages.flatMap(ids), ['early', ...many.slice(0, 20)]);
    await lease.settle(pages[1]![3]!.position, []);
    await expire(database);
    const next = await acquire(store, 'next');
    assert.deepEqual(await drain(next, 7), many.slice(10));
    assert.deepEqual(await drain(next, 7), []);
    await writer.end();
    await store.close();
  });

  it('hands out several windows before the first is settled, and settles a prefix of them', async () => {
    const { store, database } = await fresh();
    const lease = await acquire(store);
    const windows = [];
    for (const id of ['a', 'b', 'c']) {
      await append(store, `${id}1`, `${id}2`);
      windows.push(await lease.read(500));
    }
    await lease.settle(windows[1]![0]!.position, []);
    await expire(database);
    const next = await acquire(store, 'next');
    assert.deepEqual([ids(await next.read(500)), ids(await next.read(500)), ids(await next.read(500))], [['b2'], ['c1', 'c2'], []]);
    await store.close();
  });

  it('bounds how many batches are read ahead, and goes on once some are settled', async () => {
    const { store } = await fresh();
    const lease = await acquire(store);
    const windows = [];
    for (let i = 0; i < 12; i++) {
      await append(store, `m${i}`);
      windows.push(await lease.read(500));
    }
    const read = windows.filter((rows) => rows.length > 0);
    assert.equal(read.length, 8);
    await lease.settle(read.at(-1)!.at(-1)!.position, []);
    assert.deepEqual(await drain(lease), ['m8', 'm9', 'm10', 'm11']);
    await store.close();
  });

  it('keeps a parked row apart, and goes on behind it', async () => {
    const { store } = await fresh();
    const lease = await acquire(store);
    await append(store, 'a', 'b', 'c');
    const rows = await lease.read(500);
    await lease.settle(rows[2]!.position, [{ ...failure('b', { subscription: undefined }), message: rows[1]! }]);
    await append(store, 'd');
    assert.deepEqual(await drain(lease), ['d']);
    const states = (await store.ports.inspect.outbox({})).map(({ id, state }) => [id, state]);
    assert.deepEqual(states, [['a', 'published'], ['b', 'failed'], ['c', 'published'], ['d', 'published']]);
    await store.close();
  });

  it('takes rows written under 200 savepoints for their transaction’s', async () => {
    const { store, url } = await fresh();
    const writer = await connect(url);
    const lease = await acquire(store);
    await writer.query('begin');
    for (let i = 0; i < 200; i++) {
      await writer.query(`savepoint s${i}`);
      await insertRow(writer, `s${i}`);
    }
    assert.deepEqual(await drain(lease), []);
    await append(store, 'between');
    assert.deepEqual(await drain(lease), ['between']);
    await writer.query('commit');
    assert.deepEqual(await drain(lease), Array.from({ length: 200 }, (_, i) => `s${i}`));
    await writer.end();
    await store.close();
  });

  it('finds a prepared transaction that commits after a takeover', async () => {
    const { store, url, database } = await fresh();
    const writer = await connect(url);
    const first = await acquire(store, 'first');
    await writer.query('begin');
    await insertRow(writer, 'prepared');
    await writer.query(`prepare transaction 'waybill test'`);
    await append(store, 'a');
    assert.deepEqual(await drain(first), ['a']);
    await expire(database);
    const second = await acquire(store, 'second');
    assert.deepEqual(await drain(second), []);
    await second.renew();
    await writer.query(`commit prepared 'waybill test'`);
    assert.deepEqual(await drain(second), ['prepared']);
    await writer.end();
    await store.close();
  });

  it('refuses every write of a holder that was overtaken', async () => {
    const { store, database } = await fresh();
    const zombie = await acquire(store, 'zombie');
    await append(store, 'a', 'b');
    const rows = await zombie.read(1);
    await expire(database);
    const next = await acquire(store, 'next');
    assert.deepEqual(await drain(next), ['a', 'b']);
    await assert.rejects(zombie.settle(rows[0]!.position, []), (error) => WaybillError.is(error, 'LEASE_LOST'));
    await assert.rejects(zombie.read(1), (error) => WaybillError.is(error, 'LEASE_LOST'));
    assert.equal(await zombie.renew(), false);
    await append(store, 'c');
    assert.deepEqual(await drain(next), ['c']);
    await store.close();
  });

  it('lets its own process take the lease back at once', async () => {
    const { store } = await fresh();
    const before = await acquire(store, 'me');
    await append(store, 'a');
    const [a] = await before.read(1);
    const again = await acquire(store, 'me');
    assert.deepEqual(await drain(again), ['a']);
    await assert.rejects(before.settle(a!.position, []));
    await store.close();
  });

  it('lets its own process take the lease back while a write of the earlier hold is under way', async () => {
    const { store, url, database } = await fresh();
    const before = await acquire(store, 'me');
    const writer = await connect(url);
    await writer.query(`begin; insert into waybill.position (no, epoch, owner, expires_at, system, base)
      select no + 1, epoch, owner, expires_at, system, base from waybill.position order by no desc limit 1`);
    const taking = acquire(store, 'me');
    await until(async () => (await server.query(`select from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'`, [database])).rowCount === 1, 'it waits');
    await writer.query('commit');
    await append(store, 'a');
    assert.deepEqual(await drain(await taking), ['a']);
    assert.equal(await before.renew(), false);
    await writer.end();
    await store.close();
  });

  it('takes the position after the key’s lock', async () => {
    const { store } = await fresh();
    const { outbox } = store.ports;
    const first = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const slow = store.transaction(async (tx) => {
      await outbox.lockKey(tx, 'k');
      locked.resolve();
      await first.promise;
      await outbox.append(tx, [named('one', { key: 'k' })]);
    });
    await locked.promise;
    const second = store.transaction(async (tx) => {
      await outbox.lockKey(tx, 'k');
      await outbox.append(tx, [named('two', { key: 'k' })]);
    });
    first.resolve();
    await Promise.all([slow, second]);
    assert.deepEqual(await drain(await acquire(store)), ['one', 'two']);
    await store.close();
  });

  it('inverts a key when the event is inserted before the lock, which is why the lock comes first', async () => {
    const { store, url } = await fresh();
    const [one, two] = [await connect(url), await connect(url)];
    await one.query('create table account (id int primary key, v int); insert into account values (1, 0)');
    await one.query('begin');
    await insertRow(one, 'first in position', 'k'); // before its row is locked
    await two.query('begin');
    await two.query('update account set v = v + 1 where id = 1');
    await insertRow(two, 'first to commit', 'k');
    await two.query('commit');
    await one.query('update account set v = v + 1 where id = 1');
    await one.query('commit');
    assert.deepEqual(await drain(await acquire(store)), ['first in position', 'first to commit']);
    await Promise.all([one.end(), two.end()]);
    await store.close();
  });

  it('never removes what is not published, whatever its age', async () => {
    const { store, url, database } = await fresh();
    const writer = await connect(url);
    await append(store, 'never seen by a relay');
    assert.equal(await store.ports.outbox.trim(Date.now() + 60_000, 100), 0);
    const lease = await acquire(store);
    assert.deepEqual(await drain(lease), ['never seen by a relay']);
    await writer.query('begin');
    await insertRow(writer, 'late');
    await append(store, 'read', 'not read');
    const [read] = await lease.read(1);
    await writer.query('commit');
    assert.equal(await store.ports.outbox.trim(Date.now() + 60_000, 100), 1);
    await lease.settle(read!.position, []);
    await server.query(`update waybill.ledger set created_at = created_at - interval '1 h'`, undefined, database);
    assert.equal(await store.ports.outbox.trim(Date.now() - 60_000, 100), 1, 'what is settled of a batch under way');
    assert.deepEqual(await drain(lease), ['not read', 'late']);
    assert.equal(await store.ports.outbox.trim(Date.now() - 60_000, 100), 2);
    await writer.end();
    await store.close();
  });

  it('counts and lists what is ready behind what is published, also of transactions that began before', async () => {
    const { store, url } = await fresh();
    const writer = await connect(url);
    const lease = await acquire(store);
    await writer.query('begin');
    await insertRow(writer, 'late');
    await append(store, 'a', 'b');
    await drain(lease);
    assert.equal((await store.ports.inspect.counts()).ready, 0);
    await writer.query('commit');
    await append(store, 'c');
    assert.equal((await store.ports.inspect.counts()).ready, 2);
    assert.deepEqual((await store.ports.inspect.outbox({ state: 'ready' })).map(({ id }) => id), ['late', 'c']);
    const rows = await lease.read(500);
    await lease.settle(rows[0]!.position, []);
    assert.equal((await store.ports.inspect.counts()).ready, 1);
    assert.deepEqual((await store.ports.inspect.outbox({ state: 'ready' })).map(({ id }) => id), ['c']);
    await writer.end();
    await store.close();
  });

  it('cuts its log of positions back', async () => {
    const { store, database } = await fresh();
    const lease = await acquire(store);
    for (let i = 0; i < 450; i++) await lease.renew();
    const { rows } = await server.query('select count(*)::int as n, max(no)::int as top from waybill.position', undefined, database);
    assert.ok(rows[0].n <= 300 && rows[0].top >= 450, JSON.stringify(rows[0]));
    await append(store, 'a');
    assert.deepEqual(await drain(lease), ['a']);
    await store.close();
  });

  describe('after kill -9 of the server', () => {
    /** Uses up transaction ids whose use is not written to disk. */
    async function burn(url: string): Promise<void> {
      const client = await connect(url);
      for (let i = 0; i < 300; i++) {
        await client.query('begin');
        await client.query('select pg_current_xact_id()');
        await client.query('rollback');
      }
      await client.end();
    }

    it('publishes what is committed under a transaction id that was handed out before', async () => {
      // now and then the server notes the last id of its own accord, and hands none out again
      for (let tries = 1; !(await handedOutAgain(tries === 20)); tries++);
    });

    async function handedOutAgain(mustBe: boolean): Promise<boolean> {
      const { store, url, database } = await fresh();
      const lease = await acquire(store);
      await append(store, 'a');
      assert.deepEqual(await drain(lease), ['a']);
      await server.query('checkpoint');
      await burn(url);
      assert.deepEqual(await lease.read(500), []); // its snapshot counts all of these as over, and is nowhere written down
      const sql = { query: async (text: string, values?: readonly unknown[]) => (await server.query(text, values, database)).rows };
      const { seen } = await poll(sql as never, '"waybill"', { base: '1:1:', floor: 0, max: 1 });
      await server.kill();
      await server.start();
      const again = await session(url);
      await append(again, 'b');
      const { rows } = await server.query('select xid::text, pg_visible_in_snapshot(xid, $1::pg_snapshot) as "inMemory" from waybill.ledger where id = $2', [seen, 'b'], database);
      const next = await acquire(again, 'one'); // the same process: it does not wait for its own lease
      if (!mustBe && rows[0].inMemory !== true) {
        await Promise.all([again.close(), store.close()]);
        return false;
      }
      assert.equal(rows[0].inMemory, true, `no id was handed out again (${rows[0].xid}, ${xmaxOf(seen)}): the test shows nothing`);
      // a base kept in memory loses it: the sabotage that the design is about
      assert.deepEqual(ids((await poll(sql as never, '"waybill"', { base: seen, floor: 0, max: 10 })).rows), []);
      assert.deepEqual(await drain(next), ['b']);
      await again.close();
      await store.close();
      return true;
    }

    it('writes down no snapshot that it was given before', async () => {
      let refused = false;
      for (let tries = 1; tries <= 20 && !refused; tries++) {
        const { store, url } = await fresh();
        const lease = await acquire(store);
        await append(store, 'a');
        await drain(lease);
        await server.query('checkpoint');
        await burn(url);
        await lease.read(500);
        await server.kill();
        await server.start();
        refused = !(await lease.renew().catch(() => true)); // a connection that was lost says nothing
        await append(store, 'b');
        assert.deepEqual(await drain(await acquire(store, 'one')), ['b']);
        await store.close();
      }
      assert.ok(refused, 'no id was handed out again: the test shows nothing');
    });

    it('trusts a position that was written down', async () => {
      const { store, url } = await fresh();
      const lease = await acquire(store);
      await append(store, 'a');
      await drain(lease);
      await server.query('checkpoint');
      await burn(url);
      await lease.read(500);
      await lease.renew(); // writes the empty poll's snapshot down
      await server.kill();
      await server.start();
      const again = await session(url);
      await append(again, 'b');
      assert.deepEqual(await drain(await acquire(again, 'one')), ['b']);
      await again.close();
      await store.close();
    });
  });
});
