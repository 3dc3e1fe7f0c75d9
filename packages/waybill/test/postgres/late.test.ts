/** Ledger rows that travel with COMMIT: what the user does in between has the effect it had if they had been written at once. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { type Bus, createBus, defineEvent, WaybillError } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { systemClock } from '../../src/contract/clock.ts';
import { literal } from '../../src/stores/postgres/literal.ts';
import { isThere } from '../../src/stores/postgres/outcome.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { connect, server as startServer, skip } from './support.ts';

const Noted = defineEvent('desk.noted', { schema: z.object({ text: z.string() }), key: (e) => e.text.toWellFormed().replaceAll(/[\n\t]/g, ' ') });
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const hostile = ["'", "''; drop table waybill.ledger; --", '\\', "\\'", "E'\\''", '$1 $$ {} %s', 'ünï€𝄞\ud800', '"quoted"\n\t'];

describe('ledger rows that travel with COMMIT', { skip }, () => {
  let server: PostgresServer;
  let proxy: Proxy;
  let database: string;
  let pool: pg.Pool;
  let bus: Bus<any>;
  /** Statements of the pool's connections. */
  const said: string[] = [];

  before(async () => {
    server = await startServer();
    proxy = await startProxy(server.port);
    database = await server.createDatabase();
    await server.query('create table note (text text)', undefined, database);
    [pool, bus] = busOn(server.url(database));
    await bus.publish(Noted, { text: 'first' }, { tx: 'own' });
  });
  after(async () => {
    await bus?.stop();
    await pool?.end();
    await proxy?.close();
    await server?.close();
  });

  function busOn(url: string, how: object = {}): [pg.Pool, Bus<any>] {
    const made = new pg.Pool({ connectionString: url, ...how });
    made.on('error', () => {});
    made.on('connect', (client) => {
      const query = client.query;
      client.query = ((...given: [string]) => (said.push(String((given[0] as { text?: string }).text ?? given[0])), (query as any).apply(client, given))) as never;
    });
    return [made, createBus({ service: 'desk', store: postgres(made), transport: memory(), relay: 'off', logger: silent })];
  }
  const rows = async (): Promise<string[]> =>
    (await server.query('select body from waybill.ledger order by pos', undefined, database)).rows.map(({ body }) => JSON.parse(body.toString()).text as string);
  const notes = async (): Promise<string[]> => (await server.query('select text from note order by 1', undefined, database)).rows.map(({ text }) => text as string);
  const clear = (): Promise<unknown> => server.query('delete from waybill.ledger; delete from note', undefined, database);
  const note = (tx: pg.PoolClient, text: string): Promise<unknown> => tx.query('insert into note values ($1)', [text]);

  it('are one statement with it, in the order of the calls, however many', async () => {
    await clear();
    said.length = 0;
    const texts = Array.from({ length: 1_203 }, (_, i) => `n${String(i).padStart(4, '0')}`);
    await bus.transaction(async (tx) => {
      for (const text of texts) {
        await bus.publish(Noted, { text }, { tx });
        if (text.endsWith('9')) await note(tx, text);
      }
    });
    assert.deepEqual(await rows(), texts);
    assert.equal(said.filter((text) => !text.includes('pg_notify')).length, 120 + 3, '120 notes, BEGIN with the first, twice 500 rows, the rest with COMMIT');
  });

  it('are told with their positions', async (t) => {
    await clear();
    const told: [string | undefined, number | undefined][] = [];
    t.after(bus.on('published', ({ key, position }) => told.push([key, position])));
    await bus.transaction(async (tx) => {
      await bus.publish(Noted, { text: 'a' }, { tx });
      await bus.publishAll([Noted.of({ text: 'b' }), Noted.of({ text: 'c' })], { tx });
    });
    const stored = (await server.query('select key, pos::int from waybill.ledger order by pos', undefined, database)).rows.map(({ key, pos }) => [key, pos]);
    assert.deepEqual(told, stored);
  });

  it('hold any text', async () => {
    for (const setting of ['on', 'off']) {
      await clear();
      await bus.transaction(async (tx) => {
        await tx.query(`select set_config('standard_conforming_strings', $1, true)`, [setting]);
        for (const text of hostile) await bus.publish(Noted, { text }, { tx, headers: { note: encodeURIComponent(text.toWellFormed()) } });
      });
      assert.deepEqual(await rows(), hostile, setting);
      const keys = (await server.query('select key from waybill.ledger order by pos', undefined, database)).rows.map(({ key }) => key as string);
      assert.deepEqual(keys, hostile.map((text) => text.toWellFormed().replaceAll(/[\n\t]/g, ' ')), setting);
    }
    for (const text of hostile) {
      const { rows: [row] } = await server.query(`select ${literal(text)}::text as text, 1 as one`, undefined, database);
      assert.deepEqual({ ...row }, { text: text.toWellFormed(), one: 1 });
    }
    assert.throws(() => literal('a\0b'), RangeError);
  });

  it('are undone with a savepoint of the user’s own in which they were published, and only with that', async () => {
    await clear();
    await bus.transaction(async (tx) => {
      await bus.publish(Noted, { text: 'before' }, { tx });
      await tx.query('savepoint a');
      await bus.publish(Noted, { text: 'undone' }, { tx });
      await tx.query({ text: '/* a comment */ rollback to savepoint a' });
      await bus.publish(Noted, { text: 'between' }, { tx });
      await tx.query('savepoint b');
      await bus.publish(Noted, { text: 'kept' }, { tx });
      await tx.query('release savepoint b');
      await tx.query('savepoint c');
      await bus.publish(Noted, { text: 'undone as well' }, { tx });
      await assert.rejects(tx.query('select 1 / 0'));
      await tx.query('rollback to savepoint c');
      await bus.publish(Noted, { text: 'after' }, { tx });
    });
    assert.deepEqual(await rows(), ['before', 'between', 'kept', 'after']);
  });

  for (const pipeline of [false, true]) it(`are undone with it also where the client hears of the error before it hears what that did to the transaction${pipeline ? ', and pipelines' : ''}`, async (t) => {
    await clear();
    const [slow, other] = busOn(server.url(database), { pipeline });
    t.after(async () => {
      await other.stop();
      await slow.end();
    });
    slow.on('connect', (client) => {
      const { connection } = client as unknown as { connection: { emit(name: string, ...more: unknown[]): boolean } };
      const { emit } = connection;
      const waiting: (() => boolean)[] = [];
      connection.emit = (name, ...more) => {
        if (name !== 'readyForQuery' && waiting.length === 0) return emit.call(connection, name, ...more);
        if (waiting.push(() => emit.call(connection, name, ...more)) === 1) setTimeout(() => waiting.splice(0).forEach((tell) => tell()), 2);
        return true;
      };
    });
    await other.transaction(async (tx) => {
      await tx.query('savepoint a');
      await other.publish(Noted, { text: 'undone' }, { tx });
      await assert.rejects(tx.query('select 1 / 0'), { code: '22012' });
      await tx.query('rollback to savepoint a');
      await other.publish(Noted, { text: 'after' }, { tx });
    });
    assert.deepEqual(await rows(), ['after']);
  });

  it('travel also where who measures statements lets nobody change their text any more', async (t) => {
    await clear();
    const [watched, other] = busOn(server.url(database));
    t.after(async () => {
      await other.stop();
      await watched.end();
    });
    watched.on('connect', (client) => {
      const { query } = client;
      client.query = ((...given: unknown[]) => {
        const { text } = given[0] as { text?: string };
        if (text !== undefined) Object.defineProperty(given[0], 'text', { get: () => text });
        return (query as any).apply(client, given);
      }) as never;
    });
    await other.transaction(async (tx) => {
      await other.publish(Noted, { text: 'before' }, { tx });
      await tx.query('savepoint a');
    });
    assert.deepEqual(await rows(), ['before']);
  });

  it('are written under the rights that the transaction had when they were published', async () => {
    await clear();
    await server.query('create role stranger', undefined, database);
    await bus.transaction(async (tx) => {
      await bus.publish(Noted, { text: 'mine' }, { tx });
      await tx.query('set local role stranger');
    });
    assert.deepEqual(await rows(), ['mine']);
    await assert.rejects(bus.transaction(async (tx) => {
      await tx.query('set local role stranger');
      await bus.publish(Noted, { text: 'a stranger’s' }, { tx });
    }), (error: { code?: string }) => error.code === '42501');
    assert.deepEqual(await rows(), ['mine']);
  });

  it('are there for whoever looks in the same transaction', async () => {
    await clear();
    const seen = await bus.transaction(async (tx) => {
      await bus.publish(Noted, { text: 'seen' }, { tx });
      return (await tx.query('select count(*)::int as n from waybill.ledger')).rows[0].n as number;
    });
    assert.equal(seen, 1);
  });

  it('take the transaction along when they cannot be written', async (t) => {
    await clear();
    await server.query(`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no' using errcode = 'ZZ001'; end $$;
      create trigger refuse before insert on waybill.ledger for each row execute function refuse()`, undefined, database);
    t.after(() => server.query('drop trigger refuse on waybill.ledger', undefined, database));
    for (const more of [async () => {}, (tx: pg.PoolClient) => tx.query('savepoint a').catch(() => {})]) {
      const refused = bus.transaction(async (tx) => {
        await note(tx, 'with it');
        await bus.publish(Noted, { text: 'refused' }, { tx });
        await more(tx);
      });
      await assert.rejects(refused, (error: { code?: string }) => error.code === 'ZZ001');
    }
    assert.deepEqual([await rows(), await notes()], [[], []]);
  });

  it('are not committed when a statement had failed and its error was swallowed, or when the block throws', async () => {
    await clear();
    await assert.rejects(bus.transaction(async (tx) => {
      await tx.query('select 1 / 0').catch(() => {});
      await bus.publish(Noted, { text: 'no' }, { tx });
    }), (error) => WaybillError.is(error, 'NOT_A_TRANSACTION'));
    await assert.rejects(bus.transaction(async (tx) => {
      await bus.publish(Noted, { text: 'no' }, { tx });
      throw new Error('changed my mind');
    }), /changed my mind/);
    await bus.transaction((tx) => note(tx, 'the same connection')); // takes nothing along
    assert.deepEqual([await rows(), await notes()], [[], ['the same connection']]);
  });

  it('are asked about when COMMIT was not answered: committed once, or run again', async () => {
    const [behind, other] = busOn(server.url(database).replace(`:${server.port}/`, `:${proxy.port}/`));
    await other.transaction(async () => {}); // connected, and migrated
    for (const cut of [() => proxy.cutAnswer(/COMMIT\0/), () => proxy.cutRequest(/;commit/)]) {
      await clear();
      let runs = 0;
      const happened = cut();
      await other.transaction(async (tx) => {
        await note(tx, `run ${++runs}`);
        await other.publish(Noted, { text: `run ${runs}` }, { tx });
      });
      await happened;
      assert.deepEqual([await rows(), await notes()], [[`run ${runs}`], [`run ${runs}`]]);
      assert.ok(runs <= 2);
    }
    await other.stop();
    await behind.end();
  });

  it('are asked about by a row that travelled with COMMIT, not by one that a savepoint took back', async () => {
    const [behind, other] = busOn(server.url(database).replace(`:${server.port}/`, `:${proxy.port}/`));
    await other.transaction(async () => {});
    await clear();
    let runs = 0;
    const happened = proxy.cutAnswer(/COMMIT\0/);
    await other.transaction(async (tx) => {
      runs++;
      await tx.query('savepoint a');
      await other.publish(Noted, { text: 'taken back' }, { tx });
      await tx.query('rollback to savepoint a');
      await other.publish(Noted, { text: 'kept' }, { tx });
    });
    await happened;
    assert.deepEqual([await rows(), runs], [['kept'], 1]);
    await other.stop();
    await behind.end();
  });

  it('are not said to be lost while somebody who began with them is at work', async () => {
    const clock = systemClock();
    const client = await connect(server.url(database));
    const looker = await connect(server.url(database));
    const asked: string[] = [];
    const looking = Promise.withResolvers<void>();
    const sql = {
      query: async (text: string, values: readonly unknown[] = []) => {
        asked.push(text);
        if (asked.length === 3) looking.resolve(); // looked, saw the other at work, looks again
        return (await looker.query(text, values as unknown[])).rows;
      },
    } as never;
    const began = { beganMs: clock.monotonic(), schema: 'waybill' };
    const insert = (id: string): Promise<unknown> =>
      client.query(`insert into waybill.ledger (kind, id, source, type, time, headers, body) values ('event', $1, 'desk', 'desk.x.v1', 0, '{}', '')`, [id]);
    assert.equal(await isThere(sql, clock, { ...began, message: 'never' }), false);
    await client.query('begin');
    await insert('slow');
    asked.length = 0;
    const found = isThere(sql, clock, { ...began, message: 'slow' });
    await looking.promise;
    await client.query('commit');
    assert.equal(await found, true);
    await looker.query('set track_activities = off');
    assert.equal(await isThere(sql, clock, { ...began, message: 'never' }), undefined, 'a server that tells nothing');
    assert.equal(await isThere(sql, clock, { ...began, message: 'slow' }), true);
    await client.end();
    await looker.end();
  });
});
