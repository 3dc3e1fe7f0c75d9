/**
 * `capacity`: what the simulation says of larger systems, and whether it is right of a small one. One relay and one
 * consumer, each a process, drain a backlog: that gives the costs per message. From these the simulation foretells how
 * fast two relays (of a service each) and two instances of the consumer drain one on this machine's cores; then they do.
 * Effects are counted. Then it is asked for a thousand to a million messages a second, each place at 60 % at most.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { atLeast, atMost, median, type Report, rounded } from '../report.ts';
import { fill } from '../rabbitmq/contract.ts';
import { type Servers, startServers } from '../rabbitmq/servers.ts';
import { environment, workload } from '../workload.ts';
import { type Costs, firstBottleneck, shapeFor, simulate, takeoverMs } from './simulation.ts';

const share = 0.6;
const databaseCores = 4;
const rates = [1_000, 10_000, 100_000, 1_000_000];

interface Real {
  /** From the first message that was handled to the last. */
  readonly perSecond: number;
  /** Of this machine's, what others did not use meanwhile. */
  readonly coresLeft: number;
  /** Processor time per message, µs, and what goes on besides. */
  readonly us: Readonly<Record<'relay' | 'consumer' | 'rabbit' | 'postgres', number>>;
}

export async function capacity({ quick }: { quick: boolean }): Promise<Report> {
  const count = quick ? 4_000 : 40_000;
  const rounds = quick ? 1 : 3;
  const servers = await startServers();
  const pool = new pg.Pool({ connectionString: servers.postgres });
  pool.on('error', () => {});
  try {
    await pool.query('create table stock (key text primary key, effects integer not null default 0)');
    await pool.query(`insert into stock (key) select 'key-' || n from generate_series(0, $1) n`, [workload.keys - 1]);
    const { writeUs, flushMs, roundTripMs } = await writing(servers, pool, quick ? 2_000 : 20_000);
    const [one, two]: [Real[], Real[]] = [[], []];
    let expected = 0;
    let correct = true;
    for (let round = 0; round < rounds; round++) {
      for (const [relays, into] of [[1, one], [2, two]] as const) {
        into.push(await drained(servers, relays, count, `r${round}x${relays}`));
        expected += count;
        const { rows } = await pool.query('select sum(effects)::int as n from stock');
        correct &&= rows[0].n === expected;
      }
    }
    const us = (part: keyof Real['us']): number => median(one.map((real) => real.us[part]));
    const costs: Costs = {
      writeUs,
      relayUs: us('relay'),
      // of the server's time in the drain a tenth is the relay's: what relay-drain measures alone
      relayDatabaseUs: us('postgres') * 0.1,
      brokerUs: us('rabbit'),
      consumerUs: us('consumer'),
      consumerDatabaseUs: us('postgres') * 0.9,
      flushMs,
      roundTripMs,
    };
    const foretold = drainOf(costs, 2, count, median(two.map(({ coresLeft }) => coresLeft)));
    const measured = median(two.map(({ perSecond }) => perSecond));
    const shapes = rates.map((perSecond) => {
      const shape = shapeFor(costs, perSecond, share, databaseCores);
      const seconds = Math.max(0.3, Math.min(5, 200_000 / perSecond));
      const { p50Ms, p99Ms, bottleneck } = simulate(costs, shape, { perSecond, seconds });
      return { perSecond, ...shape, p50Ms: rounded(p50Ms), p99Ms: rounded(p99Ms), busiest: bottleneck };
    });
    const bytesPerMessage = await keptBytes(pool, quick ? 2_000 : 20_000, count);
    const single = { services: 1, queues: 1, consumers: 1, publisherDatabases: 1, consumerDatabases: 1, databaseCores };
    const first = firstBottleneck(costs, single);
    const calm = first.perSecond * share;
    const dying = simulate(costs, single, { perSecond: calm, seconds: 15, dies: { atMs: 5_000 } });
    return {
      name: 'capacity',
      ratios: [
        atLeast('two relays and two consumers: foretold beside measured, no less than', foretold / measured, 0.67),
        atMost('two relays and two consumers: foretold beside measured, no more than', foretold / measured, 1.5),
      ],
      correct,
      bytesPerMessage,
      costs: Object.fromEntries(Object.entries(costs).map(([name, value]) => [name, rounded(value)])),
      check: { foretoldPerSecond: rounded(foretold), measuredPerSecond: rounded(measured), ratio: rounded(foretold / measured), onePerSecond: rounded(median(one.map(({ perSecond }) => perSecond))), coresLeft: rounded(median(two.map(({ coresLeft }) => coresLeft))) },
      firstBottleneck: { ...first, perSecond: rounded(first.perSecond) },
      shapes,
      takeover: { perSecond: rounded(calm), silentMs: takeoverMs, p50Ms: rounded(dying.p50Ms), p99Ms: rounded(dying.p99Ms) },
    };
  } finally {
    await pool.end();
    await servers.close();
  }
}

/**
 * A backlog through so many of each, all of them on this machine: no faster than its busiest place, and no faster than all
 * its cores together, as far as others leave them.
 */
function drainOf(costs: Costs, each: number, count: number, cores: number): number {
  const all = costs.relayUs + costs.relayDatabaseUs + costs.brokerUs + costs.consumerUs + costs.consumerDatabaseUs;
  const places = [costs.relayUs / each, costs.brokerUs, costs.consumerUs / each];
  const slower = Math.max(1, all / cores / Math.max(...places));
  const scaled = Object.fromEntries(Object.entries(costs).map(([name, value]) => [name, name.endsWith('Us') ? value * slower : value])) as unknown as Costs;
  const shape = { services: each, queues: 1, consumers: each, publisherDatabases: each, consumerDatabases: 1, databaseCores: cpus().length };
  return simulate({ ...scaled, writeUs: 0 }, shape, { perSecond: 1e7, seconds: count / 1e7 }).perSecond;
}

async function drained(servers: Servers, each: number, count: number, suffix: string): Promise<Real> {
  const services = Array.from({ length: each }, (_, n) => `shop-${suffix}-${n}`);
  const system = `capacity${suffix}`;
  const children: { role: 'relay' | 'consumer'; child: ChildProcess }[] = [];
  const start = async (role: 'relay' | 'consumer', service: string, expected: number): Promise<void> => {
    const child = fork(fileURLToPath(new URL('service.ts', import.meta.url)), [role, service, servers.postgres, servers.amqp, system, String(expected)], { env: environment() });
    await once(child, 'message'); // ready
    children.push({ role, child });
  };
  let handled = 0;
  for (let n = 0; n < each; n++) await start('consumer', `stock-${suffix}`, count);
  for (const [n, service] of services.entries()) {
    await fill(servers, service, count / each, n * (count / each), service.replaceAll('-', '_'));
    await start('relay', service, count / each);
  }
  let first: { readonly atMs: number; readonly count: number } | undefined;
  const note = (more: number): number => {
    handled += more;
    first ??= { atMs: performance.now(), count: handled };
    return handled;
  };
  const all = new Promise<void>((resolve) => {
    for (const { role, child } of children) if (role === 'consumer') child.on('message', (word: unknown) => typeof word === 'number' && note(word) >= count && resolve());
  });
  const [before, machineBefore, began] = [servers.cpu(), machineMs(), performance.now()];
  for (const { child } of children) child.send('go');
  await all;
  const ended = performance.now();
  const [after, machineAfter] = [servers.cpu(), machineMs()];
  const used = { relay: 0, consumer: 0 };
  for (const { role, child } of children) {
    const said = new Promise<number>((resolve) => child.on('message', (word: unknown) => typeof word === 'object' && resolve((word as { cpuUs: number }).cpuUs)));
    child.send('end');
    used[role] += await said;
    await once(child, 'exit');
  }
  const ours = after.node + after.rabbit + after.postgres - before.node - before.rabbit - before.postgres + (used.relay + used.consumer) / 1_000;
  const others = Math.max(0, machineAfter - machineBefore - ours);
  return {
    perSecond: ((count - first!.count) * 1_000) / (ended - first!.atMs),
    coresLeft: Math.max(0.1, cpus().length - others / (ended - began)),
    us: { relay: used.relay / count, consumer: used.consumer / count, rabbit: ((after.rabbit - before.rabbit) * 1_000) / count, postgres: ((after.postgres - before.postgres) * 1_000) / count },
  };
}

/** Of a row with its indexes: what a service has published, and what one of its subscriptions has taken on. */
async function keptBytes(pool: pg.Pool, published: number, handled: number): Promise<{ readonly ledger: number; readonly inbox: number }> {
  const size = async (table: string, rows: number): Promise<number> => {
    const { rows: found } = await pool.query(`select pg_total_relation_size('${table}')::float8 as bytes`);
    return Math.round(found[0].bytes / rows);
  };
  return { ledger: await size('writer.ledger', published), inbox: await size('stock_r0x1.inbox', handled) };
}

/** Processor time of all processes so far. */
function machineMs(): number {
  return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
}

/** What a publisher's own commit costs its server: an update and a message, 100 to a transaction; and how long the least takes. */
async function writing(servers: Servers, pool: pg.Pool, count: number): Promise<{ writeUs: number; flushMs: number; roundTripMs: number }> {
  const before = servers.cpu();
  await fill(servers, 'writer', count, 0, 'writer');
  const after = servers.cpu();
  const timed = async (text: string): Promise<number> => {
    const times: number[] = [];
    for (let i = 0; i < 50; i++) {
      const began = performance.now();
      await pool.query(text);
      times.push(performance.now() - began);
    }
    return median(times);
  };
  await pool.query('create table flushed (n integer)');
  const roundTripMs = await timed('select 1');
  return { writeUs: Math.max(1, ((after.postgres - before.postgres) * 1_000) / count), roundTripMs, flushMs: Math.max(0, (await timed('insert into flushed values (1)')) - roundTripMs) };
}
