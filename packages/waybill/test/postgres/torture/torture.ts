/**
 * Publishers and subscribers as real processes over one PostgreSQL server, all of which are killed, frozen and started
 * again at random, beside a writing transaction that stays open from beginning to end. Afterwards the accounts, the
 * ledger and the effects are compared: the report says what was violated, nothing if all is well.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import pg from 'pg';
import type { PostgresServer } from '../../support/postgres-server.ts';
import type { Role } from './process.ts';

export interface TortureOptions {
  readonly server: PostgresServer;
  readonly folder: string;
  readonly seconds: number;
  readonly onProgress?: (line: string) => void;
}

export interface TortureReport {
  readonly faults: Readonly<Record<string, number>>;
  /** Raised and committed. */
  readonly published: number;
  readonly effects: number;
  readonly violations: readonly string[];
  /** From the last fault until all was applied, starts of processes included; told, not judged. */
  readonly drainMs: number;
  /** What processes said on stderr, by first line. */
  readonly errors: ReadonlyMap<string, number>;
}

const accounts = 12;
const subscriptions = ['ordered', 'own'];
/** Everything must be applied this soon after the last fault: claims of the dead run out after 15 s, several times over. */
const drainMaxMs = 150_000;
/** Faults begin when every process works. */
const startMaxMs = 60_000;
const program = join(import.meta.dirname, 'process.ts');
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(Math.random() * from.length)];

export async function torture({ server, folder, seconds, onProgress }: TortureOptions): Promise<TortureReport> {
  await server.query('create database bank; ').catch(() => {});
  await server.query('create database shop').catch(() => {});
  await server.query('create table account (id text primary key, version int not null default 0) with (fillfactor = 50)', undefined, 'bank');
  await server.query(`insert into account (id) select 'a' || generate_series(0, ${accounts - 1})`, undefined, 'bank');
  await server.query('create table effect (at bigint generated always as identity, subscription text, id text, account text, version int)', undefined, 'shop');

  const faults: Record<string, number> = { 'server killed': 0, 'backend killed': 0, 'process killed': 0, 'process frozen': 0 };
  const errors = new Map<string, number>();
  const processes = new Map<string, ChildProcess>();
  const working = new Set<ChildProcess>();
  let restarting = true;

  const start = (name: string, role: Role): void => {
    const child = spawn(process.execPath, [program, JSON.stringify(role)], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    processes.set(name, child);
    child.once('message', () => working.add(child));
    let text = '';
    child.stderr!.on('data', (data) => (text += String(data)));
    child.on('exit', (code, signal) => {
      if (signal === 'SIGKILL' && restarting) faults['process killed']!++;
      for (const line of text.split('\n').filter((one) => /error/i.test(one)).slice(0, 3)) errors.set(line.slice(0, 200), (errors.get(line.slice(0, 200)) ?? 0) + 1);
      if (code !== 0 && code !== null) errors.set(`${name} ended with ${code}`, (errors.get(`${name} ended with ${code}`) ?? 0) + 1);
      if (restarting) setTimeout(() => restarting && start(name, role), 20 + Math.random() * 100);
    });
  };
  const roles = new Map<string, Role>();
  const base = { folder, accounts, selfKills: 0.5 };
  for (const i of [1, 2]) roles.set(`bank ${i}`, { ...base, role: 'publisher', service: 'bank', url: server.url('bank') });
  for (const i of [1, 2]) roles.set(`shop ${i}`, { ...base, role: 'subscriber', service: 'shop', url: server.url('shop') });
  for (const [name, role] of roles) start(name, role);
  const holding = new AbortController();
  const held = holdOpen(server, holding.signal);

  const alive = (): ChildProcess[] => [...processes.values()].filter((child) => working.has(child) && child.exitCode === null && child.signalCode === null);
  for (const endMs = Date.now() + startMaxMs; working.size < roles.size && Date.now() < endMs; ) await sleep(20);
  for (const endMs = Date.now() + seconds * 1_000; Date.now() < endMs; ) {
    await sleep(150 + Math.random() * 450);
    const dice = Math.random();
    if (dice < 0.4) pick(alive())?.kill('SIGKILL');
    else if (dice < 0.55) freeze(pick(alive()), faults);
    else if (dice < 0.75) {
      if (killed(pick(server.children()))) faults['backend killed']!++; // the whole server recovers from it
    } else if (dice < 0.87) {
      await server.kill();
      faults['server killed']!++;
      await sleep(Math.random() * 300);
      await server.start();
    }
    onProgress?.(JSON.stringify(faults));
  }

  // Publishers end; subscribers and a relay go on without faults until all is applied.
  restarting = false;
  for (const child of processes.values()) child.kill('SIGKILL');
  for (const child of processes.values()) {
    if (child.exitCode === null && child.signalCode === null) await new Promise((resolve) => child.once('exit', resolve));
  }
  await untilUp(server);
  const quiet = new Map([...roles].map(([name, role]) => [name, { ...role, selfKills: 0 }]));
  for (const [name, role] of quiet) if (role.role === 'subscriber') start(name, role);
  start('relay', { ...quiet.get('bank 1')!, role: 'subscriber', service: 'bank' });
  const drainedMs = await drain(server);
  for (const child of processes.values()) child.kill('SIGKILL');
  holding.abort();
  await held;
  const { published, effects, violations } = await compare(server);
  if (drainedMs === undefined) violations.push(`not drained within ${drainMaxMs} ms: ${await stuck(server)}`);
  return { faults, published, effects, violations, drainMs: drainedMs ?? drainMaxMs, errors };
}

function killed(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false; // it has ended by itself meanwhile
  }
}

function freeze(child: ChildProcess | undefined, faults: Record<string, number>): void {
  if (child === undefined) return;
  child.kill('SIGSTOP');
  faults['process frozen']!++;
  setTimeout(() => child.kill('SIGCONT'), 1_000 + Math.random() * 4_000); // past a lease, or not
}

/** A writing transaction in each database that never ends: delivery must not wait for it. */
async function holdOpen(server: PostgresServer, signal: AbortSignal): Promise<void> {
  const hold = async (database: string): Promise<void> => {
    while (!signal.aborted) {
      const client = new pg.Client({ connectionString: server.url(database) });
      const lost = new Promise<void>((resolve) => client.on('error', () => resolve()).on('end', () => resolve()));
      try {
        await client.connect();
        await client.query('begin');
        await client.query('create table if not exists held_open (n int)');
        await client.query('insert into held_open values (1)');
        await Promise.race([lost, new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))]);
      } catch {
        await sleep(50); // the server is away
      }
      await Promise.race([client.end().catch(() => {}), sleep(100)]); // of a connection that broke nobody hears the end
    }
  };
  await Promise.all([hold('bank'), hold('postgres')]);
}

async function untilUp(server: PostgresServer): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await server.query('select 1');
      return;
    } catch (error) {
      if (tries > 200) throw error;
      await sleep(50);
    }
  }
}

async function drain(server: PostgresServer): Promise<number | undefined> {
  const began = Date.now();
  const { rows } = await server.query('select count(*)::int as n from waybill.ledger', undefined, 'bank');
  while (Date.now() - began < drainMaxMs) {
    const done = await server.query('select subscription, count(distinct id)::int as n from effect group by subscription', undefined, 'shop').catch(() => ({ rows: [] }));
    if (subscriptions.every((name) => (done.rows.find((row) => row.subscription === name)?.n ?? 0) >= rows[0].n)) return Date.now() - began;
    await sleep(100);
  }
  return undefined;
}

/** Where messages are that have not been applied. */
async function stuck(server: PostgresServer): Promise<string> {
  const waiting = await server.query(
    `select subscription, reason, starts, claimed > now() as claimed, owner is not null as owned, head, count(*)::int as n from waybill.waiting group by 1, 2, 3, 4, 5, 6`,
    undefined,
    'shop',
  );
  const position = await server.query(`select owner, expires_at < now() as expired, base::text, targets::text, after from waybill.position order by no desc limit 1`, undefined, 'bank');
  const ready = await server.query(`select count(*)::int as n from waybill.ledger where not pg_visible_in_snapshot(xid, $1)`, [position.rows[0].base], 'bank');
  return JSON.stringify({ waiting: waiting.rows, position: position.rows, ready: ready.rows });
}

export async function compare(server: PostgresServer): Promise<{ published: number; effects: number; violations: string[] }> {
  const violations: string[] = [];
  const report = (what: string, found: readonly unknown[]): void => {
    if (found.length > 0) violations.push(`${found.length} ${what}: ${JSON.stringify(found.slice(0, 5))}`);
  };
  const accountRows = (await server.query('select id, version from account', undefined, 'bank')).rows as { id: string; version: number }[];
  const ledger = (await server.query(`select id, key, convert_from(body, 'UTF8') as body from waybill.ledger`, undefined, 'bank')).rows as { id: string; key: string; body: string }[];
  const effects = (await server.query('select subscription, id, account, version from effect order by at', undefined, 'shop')).rows as { subscription: string; id: string; account: string; version: number }[];
  const sent = new Map(ledger.map(({ id, body }) => [id, JSON.parse(body) as { account: string; version: number }]));
  const versions = new Set([...sent.values()].map(({ account, version }) => `${account} ${version}`));
  for (const { id, version } of accountRows) {
    report(`versions of ${id} without their event`, Array.from({ length: version }, (_, i) => i + 1).filter((n) => !versions.has(`${id} ${n}`)));
    report(`events of ${id} whose transaction was undone`, [...sent.values()].filter((event) => event.account === id && event.version > version));
  }
  report('versions with two events', versions.size === sent.size ? [] : [sent.size - versions.size]);
  for (const subscription of subscriptions) {
    const mine = effects.filter((effect) => effect.subscription === subscription);
    const counts = new Map<string, number>();
    for (const { id } of mine) counts.set(id, (counts.get(id) ?? 0) + 1);
    report(`lost (${subscription})`, [...sent.keys()].filter((id) => !counts.has(id)));
    report(`doubled (${subscription})`, [...counts].filter(([, n]) => n > 1));
    report(`invented (${subscription})`, mine.filter(({ id, account, version }) => sent.get(id)?.account !== account || sent.get(id)?.version !== version));
    if (subscription === 'own') continue;
    const latest = new Map<string, number>();
    report(`reordered (${subscription})`, mine.filter(({ account, version }) => {
      const before = latest.get(account) ?? 0;
      latest.set(account, version);
      return version !== before + 1;
    }));
  }
  const failed = await server.query('select count(*)::int as n from waybill.failures', undefined, 'shop');
  report('in failures', failed.rows[0].n > 0 ? [failed.rows[0].n] : []);
  return { published: sent.size, effects: effects.length, violations };
}
