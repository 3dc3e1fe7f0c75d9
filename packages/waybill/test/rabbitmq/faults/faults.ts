/**
 * Publishers with relays, and subscribers, as real processes on a private PostgreSQL and a private RabbitMQ behind a proxy.
 * At random: processes are killed or frozen, connections cut in the middle of a frame, half-opened or delayed, the broker
 * killed and started again, or frozen. Afterwards what was committed is compared with its effects. The report says what
 * was violated: nothing, if all is well.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultProxy } from '../../support/fault-proxy.ts';
import type { PostgresServer } from '../../support/postgres-server.ts';
import type { RabbitServer } from '../../support/rabbitmq-server.ts';
import type { Role } from './process.ts';

export interface FaultReport {
  readonly faults: Readonly<Record<string, number>>;
  readonly published: number;
  readonly effects: number;
  readonly violations: readonly string[];
  readonly errors: ReadonlyMap<string, number>;
}

export interface Ground {
  readonly rabbit: RabbitServer;
  readonly proxy: FaultProxy;
  readonly postgres: PostgresServer;
  /** Databases of the services `count` and `sum`. */
  readonly databases: { readonly count: string; readonly sum: string };
}

const program = join(import.meta.dirname, 'process.ts');
export const tables: readonly string[] = ['ordered', 'any_order'];
/** A quorum queue younger than this does not outlive its node (RabbitMQ 3.10); so no broker is killed before. */
const warmUpMs = 4_000;
const drainMaxMs = 100_000;

export async function prepare(ground: Ground): Promise<void> {
  await ground.postgres.query('create table counter (key text primary key, n integer not null)', [], ground.databases.count);
  for (const table of tables) {
    await ground.postgres.query(`create table ${table} (at bigserial primary key, id text not null, key text not null, n integer not null)`, [], ground.databases.sum);
  }
}

export async function runFaults(ground: Ground, options: { seconds: number; brokerKills: number; onProgress?: (line: string) => void }): Promise<FaultReport> {
  const { rabbit, proxy, postgres, databases } = ground;
  const faults: Record<string, number> = {};
  const errors = new Map<string, number>();
  const count = (map: Record<string, number>, name: string): void => void (map[name] = (map[name] ?? 0) + 1);
  const processes = new Map<string, ChildProcess>();
  let restarting = true;
  /** A start that was put off in one phase must not come in the next: nobody would end it. */
  let phase = 0;

  const start = (name: string, role: Role): Promise<void> => {
    const mine = phase;
    const child = spawn(process.execPath, [program, JSON.stringify(role)], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    processes.set(name, child);
    let text = '';
    child.stderr!.on('data', (data) => (text += String(data)));
    child.on('exit', (code, signal) => {
      for (const line of text.split('\n').filter((one) => one !== '')) errors.set(line.slice(0, 200), (errors.get(line.slice(0, 200)) ?? 0) + 1);
      if (signal === 'SIGKILL') count(faults, 'process killed');
      else if (code !== 0) errors.set(`${name} ended with ${code}`, 1);
      if (restarting) setTimeout(() => restarting && mine === phase && void start(name, role), 20 + Math.random() * 150);
    });
    return new Promise((resolve) => child.once('message', () => resolve()).once('exit', () => resolve()));
  };

  const transport = `amqp://guest:guest@127.0.0.1:${proxy.port}/`;
  const roles = new Map<string, Role>();
  for (const instance of [1, 2]) {
    roles.set(`subscriber ${instance}`, { role: 'subscriber', service: 'sum', store: postgres.url(databases.sum), transport, selfKill: 0.0003, throws: 0.003 });
    roles.set(`publisher ${instance}`, { role: 'publisher', service: 'count', store: postgres.url(databases.count), transport, selfKill: 0.0003, throws: 0 });
  }
  await Promise.all([...roles].filter(([, { role }]) => role === 'subscriber').map(([name, role]) => start(name, role)));
  await Promise.all([...roles].filter(([, { role }]) => role === 'publisher').map(([name, role]) => start(name, role)));
  await sleep(warmUpMs);

  const any = (): ChildProcess => [...processes.values()][Math.floor(Math.random() * processes.size)]!;
  const kinds: Record<string, () => Promise<unknown> | void> = {
    'kill a process': () => void any().kill('SIGKILL'),
    'freeze a process past its lease': async () => {
      const victim = any();
      victim.kill('SIGSTOP');
      await sleep(500 + Math.random() * 4_000);
      victim.kill('SIGCONT');
    },
    'cut all connections': () => proxy.cut(),
    'cut in the middle of a frame': () => {
      proxy.cutAfterBytes = 5_000 + Math.random() * 50_000;
      return sleep(1_000).then(() => (proxy.cutAfterBytes = Infinity));
    },
    'half-open': async () => {
      proxy.mode = 'swallow';
      await sleep(800);
      proxy.mode = 'pass';
      proxy.cut();
    },
    delay: async () => {
      proxy.delayMs = 30;
      await sleep(700);
      proxy.delayMs = 0;
    },
    'freeze the broker': async () => {
      await rabbit.signal('SIGSTOP');
      await sleep(700);
      await rabbit.signal('SIGCONT');
    },
  };
  const broker = (async () => {
    for (let i = 0; i < options.brokerKills; i++) {
      await sleep((options.seconds * 1000) / (options.brokerKills + 1));
      await rabbit.kill();
      count(faults, 'broker killed');
      await rabbit.start();
    }
  })();
  for (const endMs = performance.now() + options.seconds * 1000; performance.now() < endMs; await sleep(100 + Math.random() * 400)) {
    const names = Object.keys(kinds);
    const name = names[Math.floor(Math.random() * names.length)]!;
    try {
      await kinds[name]!();
      if (name !== 'kill a process') count(faults, name);
    } catch {
      // the broker is being killed at the same time
    }
    options.onProgress?.(JSON.stringify(faults));
  }
  await broker;

  // Quiet: nothing new is published; relays and subscribers run without mishaps until all is applied.
  restarting = false;
  await killAll(processes);
  processes.clear();
  phase++;
  restarting = true;
  for (const [name, role] of roles) void start(name, { ...role, role: role.role === 'publisher' ? 'relay' : role.role, selfKill: 0, throws: 0 });
  for (const untilMs = performance.now() + drainMaxMs; performance.now() < untilMs && !(await isDrained(ground)); ) await sleep(200);
  restarting = false;
  await killAll(processes);
  return { ...(await check(ground)), faults, errors };
}

async function killAll(processes: ReadonlyMap<string, ChildProcess>): Promise<void> {
  for (const child of processes.values()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const over = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await over;
  }
}

async function committed({ postgres, databases }: Ground): Promise<Map<string, number>> {
  const { rows } = await postgres.query('select key, n from counter', [], databases.count);
  return new Map(rows.map(({ key, n }: { key: string; n: number }) => [key, n]));
}

async function isDrained(ground: Ground): Promise<boolean> {
  const total = [...(await committed(ground)).values()].reduce((sum, n) => sum + n, 0);
  for (const table of tables) {
    const { rows } = await ground.postgres.query(`select count(distinct (key, n))::int as n from ${table}`, [], ground.databases.sum);
    if (rows[0].n < total) return false;
  }
  return true;
}

/** Every committed counter value is exactly one effect of each subscription; by key in order where that was asked. */
export async function check(ground: Ground): Promise<Pick<FaultReport, 'published' | 'effects' | 'violations'>> {
  const { postgres, databases } = ground;
  const counters = await committed(ground);
  const violations: string[] = [];
  let effects = 0;
  for (const table of tables) {
    const rows: { key: string; n: number }[] = (await postgres.query(`select key, n from ${table} order by at`, [], databases.sum)).rows;
    effects += rows.length;
    const seen = new Map<string, Set<number>>();
    const last = new Map<string, number>();
    for (const { key, n } of rows) {
      const of = seen.get(key) ?? new Set();
      seen.set(key, of);
      if (of.has(n)) violations.push(`${table}: ${key} ${n} doubled (I3)`);
      of.add(n);
      if (n > (counters.get(key) ?? 0)) violations.push(`${table}: ${key} ${n} invented (I2)`);
      if (table === 'ordered' && n <= (last.get(key) ?? 0)) violations.push(`${table}: ${key} ${n} after ${last.get(key)}, out of order (I5)`);
      last.set(key, n);
    }
    for (const [key, n] of counters) for (let i = 1; i <= n; i++) if (!seen.get(key)?.has(i)) violations.push(`${table}: ${key} ${i} lost (I1)`);
  }
  for (const database of [databases.count, databases.sum]) {
    const { rows } = await postgres.query('select count(*)::int as n from waybill.failures', [], database);
    if (rows[0].n > 0) violations.push(`${database}: ${rows[0].n} failures (I11)`);
  }
  return { published: [...counters.values()].reduce((sum, n) => sum + n, 0), effects, violations };
}
