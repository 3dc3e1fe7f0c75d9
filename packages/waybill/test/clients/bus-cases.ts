/** A whole bus over a user's library, on a real server: with one connection, with foreign transactions, with COMMIT cut. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { type Bus, createBus, defineEvent, WaybillError } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import type { PostgresServer } from '../support/postgres-server.ts';
import { systemClock, type Clock } from '../../src/contract/clock.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import { startProxy } from '../support/proxy.ts';
import type { Library, Root } from './library.ts';
import { sharedServer, skip } from './server.ts';

/** The server’s tag: the statement itself may be a prepared one, without its text. */
const commitDone = /COMMIT\0/;

const Renamed = defineEvent('catalog.renamed', { schema: z.object({ id: z.number() }) });

export function busCases({ name, open }: Library): void {
  describe(`a bus over ${name}`, { skip }, () => {
    let server: PostgresServer;
    let database: string;
    let url: string;
    let user: Root;
    let bus: Bus;
    const handled: number[] = [];
    let notice: (() => void) | undefined;
    /** What the next message's handler does besides noting it. */
    let besides: ((tx: object) => Promise<unknown>) | undefined;

    before(async () => {
      server = await sharedServer();
      database = await server.createDatabase();
      url = server.url(database);
      await server.query('create table product (id int primary key); create table applied (id int)', undefined, database);
      user = await open(url, 1);
      bus = createBus({ service: 'catalog', store: postgres<any>(user.root), transport: memory(), logger: silent });
      bus.subscribe(Renamed, { name: 'renamed', retry: { immediate: 0, delayed: 0 } }, async (event, ctx) => {
        await user.rows(ctx.tx, 'insert into applied values ($1::text::int)', [String(event.id)]);
        await besides?.(ctx.tx as object);
        ctx.afterCommit(() => {
          handled.push(event.id);
          notice?.();
        });
      });
      await bus.start();
    });
    after(async () => {
      await bus?.stop();
      await user?.close();
    });

    /** Resolves when the handler's transaction for this message has committed. */
    const seen = async (id: number): Promise<void> => {
      while (!handled.includes(id)) await new Promise<void>((resolve) => (notice = resolve));
    };
    const put = (tx: unknown, id: number) => user.rows(tx, 'insert into product values ($1::text::int)', [String(id)]);
    const count = async (table: string, id: number) => (await server.query(`select count(*)::int as n from ${table} where id = $1`, [id], database)).rows[0].n as number;
    const code = (expected: string) => (error: unknown) => WaybillError.is(error, expected as never) || assert.fail(`${String(error)}, not ${expected}`);

    it('publishes, applies and publishes again with a single connection', async () => {
      besides = (tx) => bus.publish(Renamed, { id: 2 }, { tx: tx as never }).then(() => (besides = undefined));
      await bus.transaction(async (tx) => {
        await put(tx, 1);
        await bus.publish(Renamed, { id: 1 }, { tx: tx as never });
      });
      await seen(1);
      await seen(2);
      assert.deepEqual([await count('product', 1), await count('applied', 1), await count('applied', 2)], [1, 1, 1]);
    });

    it('joins the transaction that the user opened, and is undone with it', async () => {
      const undone = user.transaction(async (tx) => {
        await put(tx, 10);
        await bus.publish(Renamed, { id: 10 }, { tx });
        throw new Error('changed my mind');
      });
      await assert.rejects(undone, /changed my mind/);
      await user.transaction(async (tx) => {
        await put(tx, 11);
        await bus.publish(Renamed, { id: 11 }, { tx });
      });
      await seen(11);
      assert.equal(handled.includes(10), false);
      assert.deepEqual([await count('product', 10), await count('product', 11), await count('applied', 11)], [0, 1, 1]);
    });

    it('takes the transaction of another library on the same database', async () => {
      const pool = new pg.Pool({ connectionString: url, max: 1 });
      const client = await pool.connect();
      await client.query('begin');
      await client.query('insert into product values (20)');
      await bus.publish(Renamed, { id: 20 }, { tx: client });
      await client.query('commit');
      client.release();
      await seen(20);
      assert.equal(await count('applied', 20), 1);
      await assert.rejects(async () => bus.publish(Renamed, { id: 21 }, { tx: pool as never }), code('NOT_A_TRANSACTION'));
      await pool.end();
    });

    it('wants a transaction by default, since it cannot see the user’s own', async () => {
      await assert.rejects(async () => bus.publish(Renamed, { id: 30 }), code('TX_MISSING'));
      await bus.publish(Renamed, { id: 31 }, { tx: 'own' });
      await seen(31);
      await assert.rejects(async () => bus.publish(Renamed, { id: 32 }, { tx: user.root as never }), code('NOT_A_TRANSACTION'));
    });

    it('parks a message whose statement fails, and keeps nothing of it', async () => {
      const failed = Promise.withResolvers<void>();
      const stop = bus.on('failed', () => failed.resolve());
      besides = async (tx) => {
        besides = undefined;
        await put(tx, 1); // is there
      };
      await bus.publish(Renamed, { id: 40 }, { tx: 'own' });
      await failed.promise;
      stop();
      await bus.publish(Renamed, { id: 41 }, { tx: 'own' });
      await seen(41);
      assert.equal(await count('applied', 40), 0);
      const { rows } = await server.query('select count(*)::int as n from waybill.failures', undefined, database);
      assert.equal(rows[0].n, 1);
    });

    it('asks the database when COMMIT is cut from its answer, and doubles nothing', async () => {
      const proxy = await startProxy(server.port);
      const behind = await open(url.replace(String(server.port), String(proxy.port)), 4);
      const other = createBus({ service: 'catalog', store: postgres<any>(behind.root), transport: memory(), relay: 'off', logger: silent });
      try {
        let runs = 0;
        const write = (id: number) => other.transaction(async (tx) => {
          runs++;
          await behind.rows(tx, 'insert into product values ($1::text::int)', [String(id)]);
          await other.publish(Renamed, { id }, { tx: tx as never });
        });
        await write(50);
        // A server that has begun or saved a checkpoint in this very second cannot tell (stores/postgres/outcome.ts).
        await server.query(
          `select pg_sleep(greatest(0, 5 - extract(epoch from
             clock_timestamp() - greatest(pg_postmaster_start_time(), (select checkpoint_time from pg_control_checkpoint())))))`,
        );
        const cut = proxy.cutAnswer(commitDone);
        await write(51);
        await cut;
        assert.equal(runs, 2);
        assert.equal(await count('product', 51), 1);
        await seen(51);
        assert.equal(await count('applied', 51), 1);
      } finally {
        await other.stop();
        await behind.close();
        await proxy.close();
      }
    });

    it('says COMMIT_UNKNOWN when COMMIT’s answer is lost and the database cannot be asked', async () => {
      const proxy = await startProxy(server.port);
      const behind = await open(url.replace(String(server.port), String(proxy.port)), 4);
      const session = await postgres<any>(behind.root).open(recordingHost('catalog', hasty()));
      try {
        const unknown = session.transaction(async (tx) => {
          await behind.rows(tx.native, 'insert into product values (60)');
          void proxy.cutAnswer(commitDone).then(() => proxy.refuse());
        });
        await assert.rejects(unknown, code('COMMIT_UNKNOWN'));
        assert.equal(await count('product', 60), 1); // it had, and nobody ran it again
      } finally {
        await session.close();
        await behind.close();
        await proxy.close();
      }
    });
  });
}

/** The store asks for ten seconds; by this clock every pause of it is a hundred times as long. */
function hasty(): Clock {
  const machine = systemClock();
  let aheadMs = 0;
  const after: Clock['after'] = (delayMs, fn) => {
    aheadMs += 100 * delayMs;
    return machine.after(0, fn);
  };
  return { ...machine, monotonic: () => machine.monotonic() + aheadMs, after };
}

const silent = { debug() {}, info() {}, warn() {}, error() {} };
