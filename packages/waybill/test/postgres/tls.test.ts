/** TLS to PostgreSQL, of the store's connections and of those that read the log: its authority is verified, certificates name the client. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { systemClock } from '../../src/contract/clock.ts';
import { WaybillError } from '../../src/contract/errors.ts';
import type { Store, StoreSession } from '../../src/contract/store.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { come, streaming, until } from './log-session.ts';
import { append, drain, ids, server as startServer, skip } from './support.ts';

const role = 'secured';

describe('over TLS', { skip }, () => {
  let server: PostgresServer;
  let certificates: Certificates;
  const sessions: StoreSession[] = [];
  const pools: pg.Pool[] = [];

  before(async () => {
    certificates = makeCertificates(role);
    server = await startServer({ settings: { wal_level: 'logical' } });
    const data = join(server.folder, 'data');
    const { uid, gid } = statSync(data);
    for (const name of ['ca.pem', 'server.pem', 'server.key']) {
      copyFileSync(join(certificates.folder, name), join(data, name));
      chmodSync(join(data, name), 0o600);
      chownSync(join(data, name), uid, gid);
    }
    const rules = join(data, 'pg_hba.conf');
    writeFileSync(rules, `hostnossl all ${role} all reject\nhostssl all ${role} all cert\n${readFileSync(rules, 'utf8')}`);
    for (const [name, value] of [['ssl_ca_file', 'ca.pem'], ['ssl_cert_file', 'server.pem'], ['ssl_key_file', 'server.key'], ['ssl', 'on']]) await server.query(`alter system set ${name} = '${value}'`);
    await server.query('select pg_reload_conf()');
    await server.query(`create role ${role} login replication superuser`);
  });
  after(async () => {
    for (const one of sessions) await one.close();
    for (const pool of pools) await pool.end();
    await server?.close();
    certificates?.close();
  });

  const file = (name: string): string => join(certificates.folder, name);
  const url = (database: string, files: { ca: string; cert?: string }): string => {
    const own = files.cert === undefined ? '' : `&sslcert=${file(`${files.cert}.pem`)}&sslkey=${file(`${files.cert}.key`)}`;
    return `${server.url(database, role).replace('127.0.0.1', 'localhost')}?sslmode=verify-full&sslrootcert=${file(`${files.ca}.pem`)}${own}`;
  };
  async function session(store: Store<any>): Promise<{ store: StoreSession; states: () => string[] }> {
    const reports: { name: string; detail: unknown }[] = [];
    const opened = await store.open(recordingHost('basket', systemClock(), reports));
    sessions.push(opened);
    return { store: opened, states: () => reports.filter(({ name }) => name === 'log-slot').map(({ detail }) => (detail as { state: string }).state) };
  }
  const connections = async (database: string): Promise<{ kind: string; ssl: boolean; subject: string }[]> =>
    (await server.query(`select backend_type as kind, ssl, client_dn as subject from pg_stat_ssl join pg_stat_activity using (pid) where datname = $1 and usename = $2`, [database, role])).rows;

  const ways: Readonly<Record<string, (database: string) => Store<any>>> = {
    'a URL': (database) => postgres(url(database, { ca: 'ca', cert: 'client' })),
    'a pg Pool': (database) => {
      const ssl = { ca: certificates.read('ca.pem'), cert: certificates.read('client.pem'), key: certificates.read('client.key') };
      const pool = new pg.Pool({ host: 'localhost', port: server.port, user: role, database, ssl });
      pools.push(pool);
      return postgres(pool);
    },
  };
  for (const [name, storeOf] of Object.entries(ways)) {
    it(`by ${name}, rows are written, and read out of the log, with the client's certificate`, async () => {
      const database = await server.createDatabase();
      const { store } = await session(storeOf(database));
      const lease = (await store.ports.outbox.acquire('one', 30_000, { log: true }))!;
      await streaming(lease);
      assert.deepEqual(await lease.read(500), []);
      await append(store, 'a');
      await server.query('delete from waybill.ledger', [], database); // so that it comes out of the log
      await come(lease, server, database);
      assert.deepEqual(ids(await lease.read(500)), ['a']);
      const seen = await connections(database);
      assert.ok(seen.some(({ kind }) => kind === 'walsender') && seen.some(({ kind }) => kind === 'client backend'), JSON.stringify(seen));
      assert.ok(seen.every(({ ssl, subject }) => ssl && subject === `/CN=${role}`), JSON.stringify(seen));
      await lease.release();
    });
  }

  it('a server whose authority is another, and a client without a certificate, are refused', async () => {
    const database = await server.createDatabase();
    for (const files of [{ ca: 'other', cert: 'client' }, { ca: 'ca' }]) {
      await assert.rejects(session(postgres(url(database, files))), (error) => WaybillError.is(error, 'STORE_UNREACHABLE') && !error.message.includes('PRIVATE KEY'), JSON.stringify(files));
    }
    await assert.rejects(session(postgres(server.url('no_such_database'))), (error) => WaybillError.is(error, 'STORE_UNREACHABLE'));
  });

  it('where only the log’s connection does not trust the server, rows come from the ledger, and it is told', async () => {
    const database = await server.createDatabase();
    const pool = new pg.Pool({ connectionString: server.url(database) });
    pools.push(pool);
    const { store, states } = await session(postgres(pool, { direct: url(database, { ca: 'other', cert: 'client' }) }));
    const lease = (await store.ports.outbox.acquire('one', 30_000, { log: true }))!;
    await until(() => states().includes('away'), 'it is told');
    await append(store, 'a');
    assert.deepEqual(await drain(lease), ['a']);
    assert.ok(!states().includes('streaming'), 'it streams from a server that it does not know');
    await lease.release();
  });
});
