/**
 * `node packages/waybill/test/postgres/log-soak.ts [seconds]`: relays of both modes over one ledger, killed, frozen and
 * started again at random; their streams cut, their slot dropped, the server killed; publishers with long transactions,
 * savepoints and rollbacks. Afterwards the ledger and the broker's file are compared.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import type { Role } from './log-process.ts';
import { insertRow, server as startServer, session } from './support.ts';

const seconds = Number(process.argv[2] ?? 60);
const keys = 12;
const drainMaxMs = 120_000;
const folder = mkdtempSync(join(tmpdir(), 'waybill-soak-'));
const file = join(folder, 'broker');
writeFileSync(file, '');
const server = await startServer({ settings: { wal_level: 'logical' } });
const url = server.url();
await server.query('create table account (id text primary key, version int not null default 0)');
await server.query(`insert into account (id) select 'k' || generate_series(0, ${keys - 1})`);
await (await session(url)).close();

const faults: Record<string, number> = {};
const count = (what: string): void => void (faults[what] = (faults[what] ?? 0) + 1);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const chance = (share: number): boolean => Math.random() < share;
let running = true;

// --- publishers -------------------------------------------------------------------------------------------------------

async function publisher(): Promise<void> {
  while (running) {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    try {
      await client.connect();
      while (running) await publish(client);
    } catch {
      await sleep(100); // the server is away; what is committed is in the ledger
    }
    void client.end().catch(() => {});
  }
}

async function publish(client: pg.Client): Promise<void> {
  await client.query('begin');
  if (chance(0.2)) await client.query('select pg_current_xact_id()'); // early, so that ids and commits come in another order
  const chosen = [...new Set(Array.from({ length: 1 + Math.floor(Math.random() * 3) }, () => `k${Math.floor(Math.random() * keys)}`))].sort();
  for (const key of chosen) {
    if (chance(0.1)) await client.query('savepoint s');
    const { rows } = await client.query<{ version: number }>('update account set version = version + 1 where id = $1 returning version', [key]);
    await insertRow(client, `${key}/${rows[0]!.version}`, key);
    if (chance(0.05)) await sleep(Math.random() * 100);
  }
  if (chance(0.01)) for (let i = 0; i < 700; i++) await insertRow(client, `long/${Math.random()}`, undefined);
  await client.query(chance(0.1) ? 'rollback' : 'commit');
  await sleep(Math.random() * 5);
}

// --- relays -----------------------------------------------------------------------------------------------------------

const relays = new Set<ChildProcess>();
const states: Record<string, number> = {};
let restarting = true;
function start(role: Role): void {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'log-process.ts'), JSON.stringify(role)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  relays.add(child);
  child.on('message', (state) => (states[String(state)] = (states[String(state)] ?? 0) + 1));
  child.once('exit', () => {
    relays.delete(child);
    if (restarting) start({ url, file, mode: chance(0.75) ? 'log' : 'inline' });
  });
}
for (const mode of ['log', 'log', 'inline'] as const) start({ url, file, mode });
const any = (): ChildProcess | undefined => [...relays][Math.floor(Math.random() * relays.size)];

async function fault(): Promise<void> {
  const dice = Math.random();
  if (dice < 0.4) {
    count('relay killed');
    any()?.kill('SIGKILL');
  } else if (dice < 0.55) {
    count('relay frozen');
    const child = any();
    child?.kill('SIGSTOP');
    setTimeout(() => child?.kill('SIGCONT'), 1_000 + Math.random() * 5_000);
  } else if (dice < 0.75) {
    count('stream cut');
    await server.query('select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null');
  } else if (dice < 0.9) {
    await server.query('select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null');
    await server.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots').then(() => count('slot dropped'), () => {});
  } else {
    count('server killed');
    await server.kill();
    await sleep(Math.random() * 300);
    await server.start();
  }
}

const publishers = Array.from({ length: 6 }, publisher);
for (const endMs = Date.now() + seconds * 1_000; Date.now() < endMs; ) {
  await sleep(300 + Math.random() * 1_500);
  await fault().catch(() => count('fault that came to nothing'));
  process.stdout.write(`\r${JSON.stringify(faults)}`);
}
running = false;
await Promise.all(publishers);
restarting = false;
for (const child of relays) child.kill('SIGKILL');
start({ url, file, mode: 'log' });
start({ url, file, mode: 'inline' });

// --- compared ---------------------------------------------------------------------------------------------------------

const { rows } = await server.query('select id, key from waybill.ledger order by pos');
const published = rows as { id: string; key: string | null }[];
const lines = (): { id: string; key?: string }[] => readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line) as { id: string });
const began = Date.now();
let sent = lines();
while (new Set(sent.map(({ id }) => id)).size < published.length && Date.now() - began < drainMaxMs) {
  await sleep(500);
  sent = lines();
}
for (const child of relays) child.kill('SIGKILL');
const first = new Map(sent.map(({ id }) => [id, true]));
const known = new Set(published.map(({ id }) => id));
const latest = new Map<string, number>();
let reordered = 0;
for (const id of first.keys()) {
  const [key, version] = id.split('/') as [string, string];
  if (key === 'long') continue;
  if (Number(version) !== (latest.get(key) ?? 0) + 1) reordered++;
  latest.set(key, Number(version));
}
const verdict = {
  published: published.length,
  lost: published.filter(({ id }) => !first.has(id)).length,
  invented: [...first.keys()].filter((id) => !known.has(id)).length,
  reordered,
  secondCopies: sent.length - first.size,
};
process.stdout.write('\n');
console.log(verdict, states);
await server.close();
rmSync(folder, { recursive: true, force: true });
process.exit(verdict.lost + verdict.invented + verdict.reordered === 0 && verdict.published > 0 ? 0 : 1);
