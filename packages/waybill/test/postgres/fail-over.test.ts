/**
 * The primary dies while publishers publish, and a physical standby is promoted: whole buses go on there, with a relay that
 * polls and with one that reads the log. PostgreSQL 15 copies no slots to a standby: the promoted one has none.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it, type TestContext } from 'node:test';
import { createBus, defineEvent, type RelayMode, WaybillError } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { faultProxy } from '../support/fault-proxy.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { until } from './log-session.ts';
import { programOf, server as startServer, skip } from './support.ts';

const Counted = defineEvent('bank.counted', { schema: z.object({ key: z.string(), n: z.number().int() }), key: ({ key }) => key });
const keys = ['a', 'b', 'c', 'd'];
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
/** Enough to be in the middle of something when the primary dies. */
const before = 150;

interface World {
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
}

async function pairOfServers(synchronous: boolean): Promise<World> {
  const settings = { wal_level: 'logical', hot_standby: 'on' };
  const primary = await startServer({ settings });
  await primary.query(`create table counter (key text primary key, n int not null)`);
  const standby = await startServer({
    settings,
    init(data) {
      execFileSync(programOf('pg_basebackup'), ['-h', '127.0.0.1', '-p', String(primary.port), '-U', 'waybill', '-D', data, '-R', '-c', 'fast', '--no-sync'], { stdio: ['ignore', 'ignore', 'inherit'] });
      if (process.getuid?.() === 0) execFileSync('chown', ['-R', 'postgres:', data]);
    },
  });
  await until(async () => (await primary.query('select from pg_stat_replication')).rowCount === 1, 'the standby follows');
  if (synchronous) {
    await primary.query(`alter system set synchronous_standby_names = '*'`);
    await primary.query('select pg_reload_conf()');
    await until(async () => (await primary.query(`select from pg_stat_replication where sync_state = 'sync'`)).rowCount === 1, 'it is waited for');
  }
  return { primary, standby };
}

async function failOver(t: TestContext, { relay, synchronous }: { relay: RelayMode; synchronous: boolean }) {
  const { primary, standby } = await pairOfServers(synchronous);
  t.after(() => Promise.all([primary.close(), standby.close()]));
  const proxy = await faultProxy(primary.port);
  t.after(() => proxy.close());
  const url = `postgres://waybill@127.0.0.1:${proxy.port}/postgres`;
  const transport = memory();
  const bank = createBus({ service: 'bank', store: postgres(url), transport, relay: 'off', logger: quiet });
  const relaying = createBus({ service: 'bank', store: postgres(url), transport, relay, logger: quiet });
  const desk = createBus({ service: 'desk', store: 'sqlite::memory:', transport, logger: quiet });
  for (const bus of [desk, relaying, bank]) t.after(() => bus.stop({ drainMs: 0 }));
  const states: string[] = [];
  relaying.on('log-slot', ({ state }) => states.push(state));
  const received: { id: string; key: string; n: number }[] = [];
  desk.subscribe(Counted, { order: 'by-key' }, ({ key, n }, { message, afterCommit }) => afterCommit(() => void received.push({ id: message.id, key, n })));
  for (const bus of [desk, relaying, bank]) await bus.start();
  if (relay === 'log') await until(() => states.includes('streaming'), 'the log is read');

  const told: string[] = [];
  let publishing = true;
  const publishers = keys.map(async (key) => {
    while (publishing) {
      try {
        const id = await bank.transaction(async (tx) => {
          const { rows } = await tx.query<{ n: number }>('insert into counter values ($1, 1) on conflict (key) do update set n = counter.n + 1 returning n', [key]);
          return (await bank.publish(Counted, { key, n: rows[0]!.n }, { tx })).id;
        });
        told.push(id);
      } catch (error) {
        assert.ok(WaybillError.is(error), String(error)); // away, busy, or unknown
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  });
  await until(() => received.length >= before, 'they work');
  await primary.kill();
  const toldBefore = told.length;
  await standby.query('select pg_promote()');
  states.length = 0;
  proxy.target = standby.port;
  await until(() => told.length >= toldBefore + before, 'they go on');
  publishing = false;
  await Promise.all(publishers);
  const ledger = (await standby.query(`select id, convert_from(body, 'UTF8') as body from waybill.ledger order by pos`)).rows.map(({ id, body }) => ({ id: id as string, ...(JSON.parse(body as string) as { key: string; n: number }) }));
  const got = (): Set<string> => new Set(received.map(({ id }) => id));
  await until(() => ledger.every(({ id }) => got().has(id)), 'all that there is is received');
  if (relay === 'log') await until(() => states.includes('streaming'), 'the log is read again');

  const there = new Set(ledger.map(({ id }) => id));
  assert.equal(received.length, got().size, 'each once');
  for (const key of keys) {
    const numbers = received.filter((one) => one.key === key && there.has(one.id)).map(({ n }) => n);
    assert.deepEqual(numbers, ledger.filter((one) => one.key === key).map(({ n }) => n), `the order of ${key}`);
  }
  return { states, invented: received.filter(({ id }) => !there.has(id)), lost: told.filter((id) => !there.has(id)) };
}

describe('after a fail-over', { skip, concurrency: 1 }, () => {
  for (const relay of ['worker', 'log'] as const) {
    it(`a relay of mode ${relay} goes on from its position; with a synchronous standby nothing is lost or invented`, async (t) => {
      const { states, invented, lost } = await failOver(t, { relay, synchronous: true });
      assert.deepEqual({ invented, lost }, { invented: [], lost: [] });
      if (relay === 'log') assert.ok(states.includes('created'), `the promoted standby has no slot: ${states.join()}`);
    });
  }

  it('of an asynchronous standby only what it had not received is missing, and mode log makes its slot anew', async (t) => {
    const { states, invented, lost } = await failOver(t, { relay: 'log', synchronous: false });
    assert.ok(states.includes('created'), states.join());
    t.diagnostic(`committed and not there: ${lost.length}, sent and not there: ${invented.length}`);
  });
});
