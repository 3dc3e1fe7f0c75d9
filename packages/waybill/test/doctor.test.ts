/** What `operations(bus).doctor()` finds: each finding by a planted fault, and nothing where nothing is wrong. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createBus, WaybillError } from 'waybill';
import { operations } from 'waybill/operations';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { needs } from '../../../test/support/needs.ts';
import { assembleBus } from '../src/bus.ts';
import { systemClock } from '../src/contract/clock.ts';
import { type FindingCode, findingCodes } from '../src/contract/doctor.ts';
import { internalsOf } from '../src/contract/internals.ts';
import type { SqliteStoreSession } from '../src/stores/sqlite/port.ts';
import { examine as examinePostgres } from '../src/stores/postgres/examine.ts';
import { examine as examineRabbit } from '../src/transports/rabbitmq/examine.ts';
import { Link } from '../src/transports/rabbitmq/link.ts';
import { createNames } from '../src/transports/rabbitmq/names.ts';
import type { Topology } from '../src/transports/rabbitmq/topology.ts';
import { refuseUnsafe } from '../src/wiring/unsafe.ts';
import { Priced } from './support/contracts.ts';
import { type PostgresServer, startPostgres } from './support/postgres-server.ts';
import { rabbitServer, type RabbitServer } from './support/rabbitmq-server.ts';

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const codes = async (bus: object): Promise<string[]> => (await operations(bus as never).doctor()).map(({ code }) => code);

it('docs/doctor.md lists every finding, and no other', async () => {
  const page = await readFile(new URL('../../../docs/doctor.md', import.meta.url), 'utf8');
  const listed = [...page.matchAll(/^\| `([A-Z_]+)`/gm)].map(([, code]) => code);
  assert.deepEqual([...new Set(listed)], [...findingCodes]);
});

describe('on SQLite files the doctor', () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'waybill-doctor-'));
  });
  after(() => rm(dir, { recursive: true, force: true }));
  const embedded = (options: object = {}) => createBus({ service: 'desk', store: `sqlite:${dir}/desk.db`, transport: `sqlite:${dir}`, logger: quiet, ...options });

  it('finds nothing where nothing is wrong', async () => {
    await using bus = embedded();
    bus.subscribe(Priced, () => {});
    await bus.start();
    assert.deepEqual(await operations(bus).doctor(), []);
  });

  it('finds a connection that does not wait for the disk, and says what to do', async () => {
    await using bus = embedded();
    const { database } = (await internalsOf(bus).store()) as SqliteStoreSession & { database: { connection: { exec(sql: string): void } } };
    database.connection.exec('pragma synchronous = normal');
    const [finding] = await operations(bus).doctor();
    assert.deepEqual([finding!.code, finding!.severity], ['SQLITE_NOT_DURABLE', 'unsafe']);
    assert.match(finding!.message, /desk\.db is written with synchronous = 1/);
    assert.match(finding!.next, /FULL/);
  });

  it('is asked by start, which refuses what is unsafe unless it is accepted by name', async () => {
    const careless = (accept?: string[]) => {
      const bus = embedded({ accept });
      return internalsOf(bus).store().then((store) => {
        (store as SqliteStoreSession & { database: { connection: { exec(sql: string): void } } }).database.connection.exec('pragma synchronous = normal');
        return bus;
      });
    };
    {
      await using bus = await careless();
      await assert.rejects(bus.start(), (error) => WaybillError.is(error, 'UNSAFE') && /SQLITE_NOT_DURABLE: .*FULL.*accept: \['SQLITE_NOT_DURABLE'\]/.test(error.message));
      assert.equal((await bus.health()).checks.find(({ name }) => name === 'started')?.ok, false);
    }
    {
      await using bus = await careless(['POSTGRES_FSYNC_OFF']); // another name is not this one
      await assert.rejects(bus.start(), (error) => WaybillError.is(error, 'UNSAFE'));
    }
    await using bus = await careless(['SQLITE_NOT_DURABLE']);
    await bus.start();
    assert.deepEqual(await codes(bus), ['SQLITE_NOT_DURABLE'], 'accepted, and told all the same');
  });

  it('lets nobody accept what it does not know', async () => {
    for (const accept of [['SQLITE_UNSAFE'], 'SQLITE_NOT_DURABLE', [1]]) {
      assert.throws(() => embedded({ accept }), (error) => WaybillError.is(error, 'INVALID_OPTION') && /accept/.test(error.message), String(accept));
    }
    const env = { WAYBILL_ACCEPT: 'SQLITE_NOT_DURABLE,nothing' };
    assert.throws(() => assembleBus({ service: 'desk', logger: quiet }, { env }), (error) => WaybillError.is(error, 'INVALID_OPTION') && /"nothing"/.test(error.message));
  });

  it('finds a file that has left its write-ahead log', async () => {
    await using bus = embedded({ store: `sqlite:${dir}/other.db`, service: 'other' });
    const { database } = (await internalsOf(bus).store()) as SqliteStoreSession & { database: { close(): void; connection: { prepare(sql: string): object } } };
    // SQLite refuses to leave the mode while two connections are open: the answer is planted.
    const { connection } = database;
    const prepare = connection.prepare.bind(connection);
    connection.prepare = (sql) => (sql === 'pragma journal_mode' ? { get: () => ({ journal_mode: 'delete' }) } : prepare(sql));
    assert.deepEqual(await codes(bus), ['SQLITE_NO_WAL']);
  });

  it('finds a store that forgets, and retries that outlive the ledger', async () => {
    await using bus = embedded({ store: 'sqlite::memory:', transport: 'memory:', horizonMs: 3_600_000 });
    bus.subscribe(Priced, { retry: { delayed: 10, delayMs: 600_000, delayMaxMs: 600_000 } }, () => {});
    assert.deepEqual(await codes(bus), ['RETRIES_OUTLIVE_LEDGER', 'STORE_FORGETS']);
  });
});

const postgresql = needs('postgres');
describe('on PostgreSQL the doctor', { skip: postgresql.skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startPostgres({ bin: dirname(postgresql.path!), settings: { fsync: 'on' } });
    await server.query('create role service login; grant all on database postgres to service');
  });
  after(() => server?.close());
  const on = (role = 'service') => createBus({ service: 'desk', store: server.url('postgres', role), transport: 'memory:', logger: quiet });

  it('finds nothing where nothing is wrong', async () => {
    await using bus = on();
    assert.deepEqual(await operations(bus).doctor(), []);
  });

  it('finds a role that may do everything, and commits that wait for nothing', async () => {
    await server.query('alter role waybill set synchronous_commit = off');
    await using bus = on('waybill');
    assert.deepEqual(await codes(bus), ['POSTGRES_COMMIT_ASYNC', 'POSTGRES_SUPERUSER']);
  });

  it('finds a sequence that stands before its rows', async () => {
    await using bus = on();
    for (let revision = 1; revision <= 3; revision++) await bus.publish(Priced, { id: 'a', price: 1, revision });
    await server.query(`select setval(pg_get_serial_sequence('waybill.ledger', 'pos'), 1)`);
    assert.deepEqual(await codes(bus), ['POSTGRES_SEQUENCE_BEHIND']);
    await server.query(`select setval(pg_get_serial_sequence('waybill.ledger', 'pos'), 100)`);
    assert.deepEqual(await codes(bus), []);
  });

  it('finds a slot that nobody reads', async () => {
    await server.query(`select pg_create_physical_replication_slot('forgotten', true)`);
    await using bus = on();
    const [finding] = await operations(bus).doctor();
    assert.deepEqual([finding!.code, finding!.severity], ['POSTGRES_SLOT_INACTIVE', 'warning']);
    assert.match(finding!.message, /forgotten/);
    await server.query(`select pg_drop_replication_slot('forgotten')`);
  });

  it('finds clocks that differ', async () => {
    const machine = systemClock();
    await using bus = assembleBus({ service: 'desk', store: server.url('postgres', 'service'), transport: 'memory:', logger: quiet }, { clock: { ...machine, now: () => machine.now() - 60_000 } });
    const [finding] = await operations(bus).doctor();
    assert.equal(finding!.code, 'CLOCK_SKEW');
    assert.match(finding!.message, /clock is (59|60)\d{3} ms/);
  });

  it('finds a server whose settings lose what was committed', async () => {
    await server.stop();
    await using careless = await startPostgres({ bin: dirname(postgresql.path!), settings: { fsync: 'off', full_page_writes: 'off' } }).then((started) => ({ ...started, [Symbol.asyncDispose]: () => started.close() }));
    await using bus = createBus({ service: 'desk', store: careless.url(), transport: 'memory:', logger: quiet });
    assert.deepEqual(await codes(bus), ['POSTGRES_FSYNC_OFF', 'POSTGRES_FULL_PAGE_WRITES_OFF', 'POSTGRES_SUPERUSER']);
    const start = async (accept: readonly FindingCode[]): Promise<void> => {
      await using one = createBus({ service: 'desk', store: careless.url(), transport: 'memory:', logger: quiet, accept });
      await one.start();
    };
    await assert.rejects(start([]), (error) => WaybillError.is(error, 'UNSAFE') && /POSTGRES_FSYNC_OFF: .*POSTGRES_FULL_PAGE_WRITES_OFF: /.test(error.message) && !/SUPERUSER/.test(error.message));
    await assert.rejects(start(['POSTGRES_FSYNC_OFF']), (error) => WaybillError.is(error, 'UNSAFE') && !/POSTGRES_FSYNC_OFF/.test(error.message));
    await start(['POSTGRES_FSYNC_OFF', 'POSTGRES_FULL_PAGE_WRITES_OFF']);
  });
});

describe('a doctor who is told', () => {
  it('by a look that fails, refuses nothing, and says so', async () => {
    const troubles: unknown[] = [];
    await refuseUnsafe([{ examine: () => Promise.reject(new Error('no right to look')) }, undefined, {}], [], (error) => troubles.push(error));
    assert.match(String(troubles), /no right to look/);
  });

  it('that a queue is missing, leaves it to the start to make it', async () => {
    const missing = { code: 'QUEUE_MISSING', severity: 'unsafe', message: 'm', next: 'n' } as const;
    const warned = { code: 'CLOCK_SKEW', severity: 'warning', message: 'm', next: 'n' } as const;
    await refuseUnsafe([{ examine: async () => [missing, warned] }], [], (error) => assert.fail(String(error)));
    await assert.rejects(refuseUnsafe([{ examine: async () => [missing, { ...warned, code: 'RABBITMQ_TOO_OLD', severity: 'unsafe' }] }], [], (error) => assert.fail(String(error))), /RABBITMQ_TOO_OLD/);
  });

  it('that the server is old, or a standby, says what that means', async () => {
    const row = { version: '120004', fsync: 'on', pages: 'on', commits: 'on', standby: 'true', superuser: 'false', now: `${Date.now()}`, slots: null, behind: 'false' };
    const findings = await examinePostgres({ query: async () => [row] as never }, '"waybill"', systemClock());
    assert.deepEqual(findings.map(({ code, severity }) => `${code} ${severity}`), ['POSTGRES_STANDBY unsafe', 'POSTGRES_TOO_OLD unsafe']);
  });

  it('that a queue is gone, or was made in another way, names it', async () => {
    const topology = {
      inspect: async (queue: string) => (queue === 'waybill.desk.gone' ? undefined : { messageCount: 0, consumerCount: 0 }),
      conflict: async (queue: string) => (queue === 'waybill.desk.other' ? new WaybillError('TOPOLOGY_CONFLICT', `the queue ${queue} is there with other arguments`) : undefined),
    } as unknown as Topology;
    const declared = ['desk.gone', 'desk.other', 'desk.well'].map((name) => ({ name, bindings: [], order: 'any', from: 'now', formerly: [] }) as const);
    const findings = await examineRabbit({ topology, names: createNames('waybill'), service: 'desk', queueType: 'quorum', declared, version: '3.10.8' });
    assert.deepEqual(findings.map(({ code, message }) => [code, /waybill\.desk\.\w+/.exec(message)?.[0]]), [
      ['QUEUE_MISSING', 'waybill.desk.gone'],
      ['QUEUE_OTHER_ARGUMENTS', 'waybill.desk.other'],
    ]);
  });
});

const { skip } = needs('rabbitmq');
describe('on RabbitMQ the doctor', { skip }, () => {
  let server: RabbitServer;
  before(async () => {
    server = await rabbitServer();
  });
  after(() => server?.close());
  const on = (service: string, options: object = {}, more: object = {}) =>
    createBus({ service, store: 'sqlite::memory:', transport: rabbitmq(server.url, { settleMs: 0, ...options }), logger: quiet, ...more });
  const found = async (bus: object): Promise<string[]> => (await codes(bus)).filter((code) => code !== 'STORE_FORGETS');

  it('finds nothing where nothing is wrong, and then the queues that somebody removed', async () => {
    await using bus = on('desk');
    bus.subscribe(Priced, { name: 'prices' }, () => {});
    await bus.start();
    assert.deepEqual(await found(bus), []);
    await server.ctl('delete_queue', 'waybill.desk~dead');
    assert.deepEqual(await found(bus), ['DEAD_LETTERS_MISSING']);
    await bus.subscription('other').on(Priced, () => {}).ready();
  });

  it('finds queues that live on one node', async () => {
    await using bus = on('clerk', { queues: 'classic' });
    await bus.start();
    assert.deepEqual(await found(bus), ['QUEUES_NOT_REPLICATED']);
  });

  it('finds a broker that is too old', async (t) => {
    t.mock.getter(Link.prototype, 'version' as never, (() => '3.8.9') as never);
    {
      await using bus = on('early');
      await assert.rejects(bus.start(), (error) => WaybillError.is(error, 'UNSAFE') && /RABBITMQ_TOO_OLD/.test(error.message));
    }
    await using bus = on('early', {}, { accept: ['RABBITMQ_TOO_OLD'] });
    await bus.start();
    assert.deepEqual(await found(bus), ['RABBITMQ_TOO_OLD']);
  });
});
