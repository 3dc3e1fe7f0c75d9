/** Services whose saga spans them, as real processes on one directory, killed at random; then every order is looked at. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { type Place } from './place.ts';
import { type Role, graceMs } from './role.ts';

export interface Report {
  readonly kills: number;
  readonly orders: number;
  readonly ends: Readonly<Record<string, number>>;
  readonly violations: readonly string[];
}

/** Every saga must have ended this soon after the last kill. */
const drainMaxMs = 60_000;
const startMaxMs = 60_000;
const program = join(import.meta.dirname, 'process.ts');
const instances: readonly Role['service'][] = ['web', 'ordering', 'ordering', 'stock', 'payment'];

export async function runSagaKills({ place, seconds }: { readonly place: Place; readonly seconds: number }): Promise<Report> {
  const processes = new Map<number, ChildProcess>();
  /** Those that have come as far as working: most kills hit one of them, some hit a start. */
  const working = new Set<ChildProcess>();
  let kills = 0;
  let selfKill = 0.002;
  let quiet = false;
  let restarting = true;

  const start = (n: number): void => {
    const service = instances[n]!;
    const role: Role = { service, dir: place.dir, store: place.store(service), selfKill, quiet };
    const child = spawn(process.execPath, [program, JSON.stringify(role)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    processes.set(n, child);
    child.once('message', () => working.add(child));
    child.on('exit', (_, signal) => {
      if (signal === 'SIGKILL') kills++;
      if (restarting) setTimeout(() => restarting && start(n), 20 + Math.random() * 100);
    });
  };
  // Until a service has started once, nobody takes its commands: orders come afterwards.
  for (let n = 1; n < instances.length; n++) start(n);
  for (const untilMs = Date.now() + startMaxMs; working.size < instances.length - 1; await sleep(50)) {
    if (Date.now() > untilMs) throw new Error('the services do not start');
  }
  start(0);
  const endMs = Date.now() + seconds * 1_000;
  while (Date.now() < endMs) {
    await sleep(300 + Math.random() * 900);
    const candidates = [...processes.values()].filter((child) => working.has(child) || Math.random() < 0.05);
    candidates[Math.floor(Math.random() * candidates.length)]?.kill('SIGKILL');
  }
  // Quiet: no more orders, no more deaths, until all is at rest.
  selfKill = 0;
  quiet = true;
  for (const child of processes.values()) child.kill('SIGKILL');
  const deadlineMs = Date.now() + drainMaxMs;
  while (Date.now() < deadlineMs && !(await isDrained(place))) await sleep(300);
  restarting = false;
  await Promise.all([...processes.values()].map((child) => end(child)));
  return { ...(await check(place)), kills };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

async function isDrained({ read }: Place): Promise<boolean> {
  const count = async (service: string, from: string): Promise<number> => (await read(service, `select 1 from ${from}`)).length;
  try {
    const orders = await count('web', 'submitted');
    if (orders === 0 || (await count('ordering', `waybill_saga where status in ('completed', 'compensated')`)) < orders) return false;
    for (const service of ['ordering', 'stock', 'payment']) if ((await count(service, 'waybill_waiting')) > 0) return false;
    const sent = await count('ordering', `waybill_ledger where kind = 'command'`);
    return (await count('stock', 'waybill_inbox')) + (await count('payment', 'waybill_inbox')) >= sent;
  } catch {
    return false; // a file is just being made
  }
}

interface Saga {
  readonly key: string;
  readonly status: string;
  readonly state: string;
  readonly ledger: string;
}

interface Work {
  readonly done: number;
  readonly undone: number;
}

export async function check({ read }: Place): Promise<Omit<Report, 'kills'>> {
  const violations: string[] = [];
  const orders = await read<{ id: string }>('web', 'select id from submitted');
  const sagas = new Map((await read<Saga>('ordering', 'select key, status, state, ledger from waybill_saga')).map((saga) => [saga.key, saga]));
  const works = async (service: string): Promise<Map<string, Work>> =>
    new Map((await read<Work & { id: string }>(service, 'select id, done, undone from work')).map((work) => [work.id, work]));
  const stock = await works('stock');
  const payment = await works('payment');
  const ends: Record<string, number> = {};
  if (sagas.size > orders.length) violations.push(`${sagas.size} sagas of ${orders.length} orders`);
  for (const { id } of orders) {
    const saga = sagas.get(id);
    const report = (what: string): void => void violations.push(`${id}: ${what}: ${JSON.stringify({ saga, stock: stock.get(id), payment: payment.get(id) })}`);
    if (!saga) {
      report('was submitted, and has no saga (I1)');
      continue;
    }
    ends[saga.status] = (ends[saga.status] ?? 0) + 1;
    const state = JSON.parse(saga.state) as { setMs: number; firedMs: number | null; steps: string[] };
    const { steps } = JSON.parse(saga.ledger) as { steps: { step: string; undone: boolean }[] };
    if (new Set(state.steps).size !== state.steps.length) report('a step took effect twice (I3)');
    if (state.firedMs !== null && state.firedMs < state.setMs + graceMs) report(`its timeout came ${state.setMs + graceMs - state.firedMs} ms early (I16)`);
    const s = stock.get(id) ?? { done: 0, undone: 0 };
    const p = payment.get(id) ?? { done: 0, undone: 0 };
    if (saga.status === 'completed') {
      if (s.done !== 1 || s.undone !== 0 || p.done !== 1 || p.undone !== 0) report('completed, and not reserved and paid once');
    } else if (saga.status === 'compensated') {
      const undone = state.steps.filter((step) => step.startsWith('undo ')).map((step) => step.slice('undo '.length));
      if (undone.join() !== steps.map(({ step }) => step).toReversed().join()) report('not undone in reverse, each once (I15)');
      if (s.undone !== 1 || s.done > 1) report('compensated, and its stock not released once');
      if (p.done > 0 && p.undone !== 1) report('compensated, and paid');
    } else report(`has not ended (I15)`);
  }
  for (const service of ['web', 'ordering', 'stock', 'payment']) {
    const failed = await read<{ error_code: string }>(service, `select error_code from waybill_failures where error_code <> 'BROKE'`);
    if (failed.length > 0) violations.push(`${service}: ${failed.length} innocent messages in failures, ${failed[0]!.error_code} first`);
  }
  return { orders: orders.length, ends, violations };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
