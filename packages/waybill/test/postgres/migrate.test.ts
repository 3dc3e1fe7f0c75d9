/** Making and checking Waybill's tables, and roles that may do little. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import type pg from 'pg';
import { systemClock } from '../../src/contract/clock.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import { migrationSql, postgres } from '../../src/stores/postgres/index.ts';
import { formatNow } from '../../src/stores/postgres/schema.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { acquire, append, connect, drain, server as startServer, session, skip } from './support.ts';

describe('the tables in PostgreSQL', { skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startServer();
  });
  after(() => server?.close());

  it('are made once by several that start at once, and all of them work', async () => {
    for (let round = 0; round < 3; round++) {
      const url = server.url(await server.createDatabase());
      const stores = await Promise.all(Array.from({ length: 6 }, () => session(url)));
      await Promise.all(stores.map((store, i) => append(store, `m${i}`)));
      assert.deepEqual((await drain(await acquire(stores[0]!))).toSorted(), ['m0', 'm1', 'm2', 'm3', 'm4', 'm5']);
      await Promise.all(stores.map((store) => store.close()));
    }
  });

  it('are taken as the user’s own tool made them from the text', async () => {
    const database = await server.createDatabase();
    await server.query(migrationSql({ service: 'basket', schema: 'my "own"' }), undefined, database);
    const store = await postgres(server.url(database), { schema: 'my "own"' }).open(recordingHost('basket', systemClock(), [], 'check'));
    await append(store, 'a');
    assert.deepEqual(await drain(await acquire(store)), ['a']);
    await store.close();
    const again = migrationSql({ service: 'basket', schema: 'my "own"', from: formatNow });
    await server.query(again, undefined, database); // nothing is left to do
    assert.throws(() => migrationSql({ service: 'basket', from: formatNow + 1 }), (error) => WaybillError.is(error, 'INVALID_OPTION'));
    assert.match(migrationSql({ service: "o'brien" }), /'o''brien'/);
  });

  it('are the same whether the bus made them or the text', async () => {
    const [byBus, byText] = [await server.createDatabase(), await server.createDatabase()];
    await (await session(server.url(byBus))).close();
    await server.query(migrationSql({ service: 'basket' }), undefined, byText);
    const shape = `select table_name, column_name, data_type, is_nullable, column_default from information_schema.columns
      where table_schema = 'waybill' order by 1, ordinal_position`;
    const indexes = `select indexdef from pg_indexes where schemaname = 'waybill' order by 1`;
    for (const text of [shape, indexes]) {
      assert.deepEqual((await server.query(text, undefined, byBus)).rows, (await server.query(text, undefined, byText)).rows);
    }
  });

  it('compress large bodies with lz4 where the server can, and stay as they are where it cannot', async () => {
    const database = await server.createDatabase();
    const [{ able }] = (await server.query(`select exists (select 1 from pg_settings where name = 'default_toast_compression' and 'lz4' = any (enumvals)) as able`, undefined, database)).rows;
    const name = `o'brien "b\\"`;
    const text = migrationSql({ service: 'basket', schema: name });
    await server.query(text, undefined, database);
    await server.query(migrationSql({ service: 'basket', schema: 'other' }).replaceAll('set compression lz4', 'set pressure lz4'), undefined, database); // as a server reads it that is older
    // as JSON: a server before 14 has no column attcompression, and neither has its row
    const found = async (schema: string): Promise<(string | boolean)[][]> =>
      (await server.query(`select c.relname, coalesce(to_jsonb(a) ->> 'attcompression' = 'l', false) as lz4 from pg_attribute a join pg_class c on c.oid = a.attrelid
         join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and a.attname = 'body' and c.relkind = 'r' order by 1`, [schema], database)).rows.map(({ relname, lz4 }) => [relname, lz4]);
    const tables = ['event', 'failures', 'ledger', 'waiting'];
    assert.deepEqual(await found(name), tables.map((table) => [table, able]));
    assert.deepEqual(await found('other'), tables.map((table) => [table, false]));
  });

  it('of a newer Waybill are refused', async () => {
    const database = await server.createDatabase();
    await (await session(server.url(database))).close();
    await server.query('update waybill.identity set format = 999', undefined, database);
    await assert.rejects(session(server.url(database)), (error) => WaybillError.is(error, 'STORE_NEWER'));
  });

  it('are not looked for in a schema with a name that cannot be one', () => {
    for (const schema of ['', 'a\0b', 'x'.repeat(64), 'pg_mine', 'information_schema', '\ud800']) {
      assert.throws(() => postgres(server.url(), { schema }), (error) => WaybillError.is(error, 'INVALID_OPTION'), JSON.stringify(schema));
    }
    assert.throws(() => postgres('mysql://x'), (error) => WaybillError.is(error, 'INVALID_URL'));
    assert.throws(() => postgres({} as never), (error) => WaybillError.is(error, 'INVALID_OPTION'));
  });

  it('say that a server is away, and never the password', async () => {
    const url = 'postgres://waybill:s3cret@127.0.0.1:1/none';
    await assert.rejects(session(url), (error) => {
      assert.ok(WaybillError.is(error, 'STORE_UNREACHABLE'), String(error));
      assert.ok(!JSON.stringify([error.message, String(error.cause)]).includes('s3cret'));
      return true;
    });
  });

  describe('under roles that may do little', () => {
    let database: string;
    before(async () => {
      database = await server.createDatabase();
      await server.query(migrationSql({ service: 'basket' }), undefined, database);
      await server.query('create role basket_service login; create role basket_relay login');
      const docs = readFileSync(new URL('../../../../docs/postgres.md', import.meta.url), 'utf8');
      const [, grants] = /## Roles[^]*?```sql\n([^]*?)```/.exec(docs)!;
      await server.query(grants!, undefined, database);
    });

    it('the service’s role publishes, handles and parks, and the relay’s role sends', async () => {
      const service = await postgres(server.url(database, 'basket_service')).open(recordingHost('basket', systemClock(), [], 'check'));
      const relay = await postgres(server.url(database, 'basket_relay')).open(recordingHost('basket', systemClock(), [], 'check'));
      await append(service, 'a', 'b');
      await service.transaction((tx) => service.ports.inbox.insert(tx, 'basket.x', [{ source: 's', id: 'i' }]));
      const lease = await acquire(relay);
      assert.deepEqual(await drain(lease), ['a', 'b']);
      for (let i = 0; i < 210; i++) await lease.renew(); // cuts the log back once
      assert.equal(await relay.ports.outbox.trim(Date.now() + 60_000, 10), 2);
      await Promise.all([service.close(), relay.close()]);
    });

    it('the service’s role cannot forge a position, nor move the relay’s', async () => {
      const client = await connect(server.url(database, 'basket_service'));
      for (const text of [
        `insert into waybill.ledger (pos, kind, id, source, type, time, headers, body) overriding system value values (1, 'event', 'x', 'basket', 't', 0, '{}', '')`,
        `insert into waybill.ledger (xid, kind, id, source, type, time, headers, body) values ('3', 'event', 'x', 'basket', 't', 0, '{}', '')`,
        `update waybill.ledger set body = ''`,
        `delete from waybill.ledger`,
        `insert into waybill.position (no, epoch, owner, expires_at, system, base) values (99, 9, '', now(), '', '1:1:')`,
      ]) {
        await assert.rejects(client.query(text), (error: pg.DatabaseError) => error.code === '42501', text);
      }
      await client.end();
    });

    it('without the right to make tables a start says that they are missing', async () => {
      const empty = await server.createDatabase();
      const store = postgres(server.url(empty, 'basket_service'));
      await assert.rejects(store.open(recordingHost('basket', systemClock(), [], 'check')), (error) => WaybillError.is(error, 'STORE_NOT_MIGRATED'));
    });
  });
});
