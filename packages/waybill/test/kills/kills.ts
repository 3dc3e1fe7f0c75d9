/**
 * Publishers and subscribers as real processes on one directory, killed at random; afterwards the ledgers, the inboxes
 * and the effects are compared. The report says what was violated: nothing, if all is well.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Role } from './process.ts';

export interface KillOptions {
  readonly dir: string;
  readonly seconds: number;
  readonly onProgress?: (line: string) => void;
  /** Chance of the nemesis, in [0, 1). @default Math.random */
  readonly random?: () => number;
  /** Besides kill -9: SIGTERM, and SIGSTOP for up to so many milliseconds. @default neither */
  readonly stopMaxMs?: number;
}

export interface KillReport {
  readonly kills: number;
  readonly terms: number;
  readonly stops: number;
  readonly acknowledged: number;
  readonly published: number;
  readonly effects: number;
  /** Each with the subscription and the first few messages it concerns. */
  readonly violations: readonly string[];
  /** What processes printed on stderr, by first line, with counts. */
  readonly errors: ReadonlyMap<string, number>;
}

const publishers = ['alpha', 'beta'];
const subscribers = ['gamma', 'delta'];
export const subscriptions: readonly string[] = ['ordered', 'latest', 'own', 'manual'];
const program = join(import.meta.dirname, 'process.ts');
/** Everything must be applied this soon after the last kill. */
const drainMaxMs = 90_000;

export async function runKills(options: KillOptions): Promise<KillReport> {
  const { dir } = options;
  const processes = new Map<string, ChildProcess>();
  /** Those that have come as far as working: most kills hit one of them, some hit a start. */
  const working = new Set<ChildProcess>();
  const errors = new Map<string, number>();
  let kills = 0;
  let terms = 0;
  let stops = 0;
  const random = options.random ?? Math.random;
  let restarting = true;
  /** A start that was put off in one phase must not come in the next: nobody would end it. */
  let phase = 0;

  const start = (name: string, role: Role): void => {
    const mine = phase;
    const child = spawn(process.execPath, [program, JSON.stringify(role)], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    processes.set(name, child);
    child.once('message', () => working.add(child));
    let text = '';
    child.stderr!.on('data', (data) => (text += String(data)));
    child.on('exit', (code, signal) => {
      if (signal === 'SIGKILL') kills++;
      for (const line of text.split('\n').filter((one) => /error|violat/i.test(one))) count(errors, line.slice(0, 300));
      if (code !== 0 && code !== null) count(errors, `${name} ended with ${code}: ${text.slice(0, 600)}`);
      if (restarting) setTimeout(() => restarting && mine === phase && start(name, role), 20 + Math.random() * 150);
    });
  };

  const roles = new Map<string, Role>();
  for (const service of publishers) roles.set(service, { role: 'publisher', service, dir, keys: 20, selfKill: 0.0005, throws: 0, pauseMs: 4 });
  for (const service of subscribers) {
    for (const instance of [1, 2]) roles.set(`${service}${instance}`, { role: 'subscriber', service, dir, keys: 0, selfKill: 0.0005, throws: 0.005, pauseMs: 0 });
  }
  for (const [name, role] of roles) start(name, role);
  const endMs = Date.now() + options.seconds * 1000;
  while (Date.now() < endMs) {
    await sleep(60 + random() * 300);
    const candidates = [...processes.values()].filter((child) => working.has(child) || random() < 0.1);
    const victim = candidates[Math.floor(random() * candidates.length)];
    if (!victim || victim.exitCode !== null || victim.signalCode !== null) continue;
    const blow = options.stopMaxMs === undefined ? 0 : random();
    if (blow < 0.7) victim.kill('SIGKILL');
    else if (blow < 0.85) {
      terms++;
      victim.kill('SIGTERM');
    } else {
      stops++;
      victim.kill('SIGSTOP');
      setTimeout(() => victim.kill('SIGCONT'), 1_000 + random() * options.stopMaxMs!);
    }
    options.onProgress?.(`${kills} kills, ${terms} terms, ${stops} stops`);
  }

  // Quiet: publishers stay dead, subscribers run without mishaps until all is applied.
  restarting = false;
  await killAll(processes);
  processes.clear();
  working.clear();
  phase++;
  restarting = true;
  for (const [name, role] of roles) if (role.role === 'subscriber') start(name, { ...role, selfKill: 0, throws: 0 });
  const drainedMs = Date.now() + drainMaxMs;
  while (Date.now() < drainedMs && !(await isDrained(dir))) await sleep(200);
  restarting = false;
  await killAll(processes);
  return { ...check(dir), kills, terms, stops, errors };
}

async function killAll(processes: ReadonlyMap<string, ChildProcess>): Promise<void> {
  for (const child of processes.values()) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
  await Promise.all(
    [...processes.values()].map(
      (child) =>
        new Promise<void>((resolve) => (child.exitCode === null && child.signalCode === null ? child.once('exit', () => resolve()) : resolve())),
    ),
  );
}

async function isDrained(dir: string): Promise<boolean> {
  const ledger = publishers.reduce((sum, service) => sum + number(dir, service, 'select count(*) as n from waybill_ledger'), 0);
  return subscribers.every((service) => {
    const waiting = number(dir, service, 'select count(*) as n from waybill_waiting');
    return waiting === 0 && subscriptions.every((name) => number(dir, service, `select count(*) as n from waybill_inbox where subscription = '${service}.${name}'`) >= ledger);
  });
}

interface Effect {
  readonly id: string;
  readonly source: string;
  readonly key: string;
  readonly n: number;
}

/** Compares what was published with what was applied. */
export function check(dir: string): Omit<KillReport, 'kills' | 'terms' | 'stops' | 'errors'> {
  const violations: string[] = [];
  const ledger = new Map<string, string>();
  let acknowledged = 0;
  for (const service of publishers) {
    const rows = all<{ id: string; key: string }>(dir, service, 'select id, key from waybill_ledger order by position');
    for (const { id } of rows) ledger.set(id, service);
    if (ledger.size === 0) violations.push(`${service}: nothing was published`);
    const path = join(dir, `${service}.acked`);
    const acked = existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter((line) => line.length === 36) : [];
    acknowledged += acked.length;
    report(violations, `${service}: acknowledged and not in the ledger (I1)`, acked.filter((id) => !ledger.has(id)));
    // I4: the counters say how many events there must be.
    const counted = number(dir, service, 'select coalesce(sum(n), 0) as n from counter');
    if (counted !== rows.length) violations.push(`${service}: ${counted} counted, ${rows.length} published (I4)`);
    if (all(dir, service, 'pragma integrity_check').length !== 1) violations.push(`${service}: integrity_check`);
  }
  let effects = 0;
  for (const service of subscribers) {
    const failed = number(dir, service, 'select count(*) as n from waybill_failures');
    for (const name of subscriptions) {
      const rows = all<Effect>(dir, service, `select id, source, key, n from ${name} order by at`);
      effects += rows.length;
      const ids = new Set(rows.map((row) => row.id));
      const where = `${service}.${name}`;
      if (rows.length !== ids.size) violations.push(`${where}: ${rows.length - ids.size} effects doubled (I3)`);
      report(violations, `${where}: invented (I2)`, rows.filter((row) => !ledger.has(row.id)).map((row) => row.id));
      if (name === 'latest') checkLatest(violations, where, rows);
      else {
        const lost = [...ledger.keys()].filter((id) => !ids.has(id));
        if (lost.length > failed) report(violations, `${where}: lost (I1)`, lost);
        checkOrder(violations, where, rows, failed > 0);
      }
      const inbox = number(dir, service, `select count(*) as n from waybill_inbox where subscription = '${where}'`);
      if (inbox !== ledger.size) violations.push(`${where}: ${inbox} in the inbox, ${ledger.size} published (I12)`);
    }
    if (failed > 0) violations.push(`${service}: ${failed} innocent messages in failures (I11)`);
  }
  return { acknowledged, published: ledger.size, effects, violations };
}

/** I5: the numbers of a key follow one another without a gap. */
function checkOrder(violations: string[], where: string, rows: readonly Effect[], gapsAllowed: boolean): void {
  const last = new Map<string, number>();
  const breaks: string[] = [];
  for (const { key, n, id } of rows) {
    const before = last.get(key) ?? 0;
    if (gapsAllowed ? n <= before : n !== before + 1) breaks.push(`${id} (${key}: ${before} → ${n})`);
    last.set(key, n);
  }
  report(violations, `${where}: out of order (I5)`, breaks);
}

/** I6: the version of a key never goes back, and ends at the last one. */
function checkLatest(violations: string[], where: string, rows: readonly Effect[]): void {
  const last = new Map<string, number>();
  const breaks: string[] = [];
  for (const { key, n, id } of rows) {
    if (n <= (last.get(key) ?? 0)) breaks.push(`${id} (${key}: ${last.get(key)} → ${n})`);
    last.set(key, n);
  }
  report(violations, `${where}: went back (I6)`, breaks);
}

function report(violations: string[], what: string, found: readonly string[]): void {
  if (found.length > 0) violations.push(`${what}: ${found.length}, first ${found.slice(0, 3).join(', ')}`);
}

function all<Row>(dir: string, service: string, sql: string): Row[] {
  const database = new DatabaseSync(join(dir, `${service}.db`), { readOnly: true, timeout: 5_000 });
  try {
    return database.prepare(sql).all() as Row[];
  } finally {
    database.close();
  }
}

function number(dir: string, service: string, sql: string): number {
  return Number((all<{ n: number }>(dir, service, sql)[0] ?? { n: 0 }).n);
}

function count(map: Map<string, number>, what: string): void {
  map.set(what, (map.get(what) ?? 0) + 1);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
