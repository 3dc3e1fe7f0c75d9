/** Behind a pooler in transaction mode: the store's suite, through PgBouncer. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, chmodSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { needs } from '../../../../test/support/needs.ts';
import { runCase } from '../../src/testing/conformance/conformance.ts';
import { storeCases } from '../../src/testing/conformance/store/cases.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { overPostgres } from './over-postgres.ts';
import { until } from './log-session.ts';
import { connect, named, server as startServer, session, skip } from './support.ts';

const pooler = needs('pgbouncer');
/** Where a pooler could make a difference: transactions, what holds over them, what is remembered between statements. */
const part = /transaction|savepoint|lease|lock|insert waits|nobody gets past|sessions|stream|migrate|projection/;

describe('behind PgBouncer in transaction mode', { skip: skip === false ? pooler.skip : skip }, () => {
  let server: PostgresServer;
  let child: ChildProcess;
  let port: number;
  before(async () => {
    server = await startServer();
    port = await freePort();
    const config = join(server.folder, 'pgbouncer.ini');
    const users = join(server.folder, 'users.txt');
    writeFileSync(users, '"waybill" ""\n');
    writeFileSync(config, [
      '[databases]', `* = host=127.0.0.1 port=${server.port}`,
      '[pgbouncer]', 'listen_addr = 127.0.0.1', `listen_port = ${port}`, 'auth_type = trust', `auth_file = ${users}`,
      'pool_mode = transaction', 'default_pool_size = 8', 'max_client_conn = 200', 'unix_socket_dir =', '',
    ].join('\n')); // prettier-ignore
    for (const file of [config, users]) chmodSync(file, 0o644);
    if (process.getuid?.() === 0) for (const file of [config, users]) chownSync(file, 0, 0);
    const as = process.getuid?.() === 0 ? ['-u', 'postgres'] : [];
    child = spawn(pooler.path!, [...as, config], { stdio: ['ignore', 'ignore', 'ignore'] });
    for (let tries = 0; ; tries++) {
      try {
        await (await connect(server.url().replace(`:${server.port}/`, `:${port}/`))).end();
        break;
      } catch (error) {
        if (tries > 200) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  });
  after(async () => {
    child?.kill('SIGKILL');
    await server?.close();
  });

  const driver = overPostgres(() => ({ ...server, url: (database?: string, role?: string) => server.url(database, role).replace(`:${server.port}/`, `:${port}/`) }));
  it('nobody listens through it: a notification would reach whoever has that connection just then', async () => {
    const database = await server.createDatabase();
    const store = await session(server.url(database).replace(`:${server.port}/`, `:${port}/`));
    assert.ok(await store.ports.outbox.acquire('one', 60_000, { wake: () => assert.fail('it was woken') }));
    await until(async () => (await server.query(`select from pg_stat_activity where datname = $1 and query ilike '%pg_backend_pid%'`, [database])).rowCount! > 0, 'it has asked');
    store.ports.outbox.hint!();
    await store.transaction((tx) => store.ports.outbox.append(tx, [named('a')]));
    assert.equal((await server.query(`select from pg_stat_activity where datname = $1 and query ilike 'listen %'`, [database])).rowCount, 0);
    await store.close();
  });

  for (const subject of storeCases.filter(({ name }) => part.test(name))) {
    it(subject.name, async (t) => {
      const skipped = await runCase(subject, driver);
      if (skipped !== undefined) t.skip(skipped);
    });
  }
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
