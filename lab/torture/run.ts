/**
 * One torture run: servers and processes are started, tormented, left in peace until nothing is to be done any more, and
 * then what they said and what they hold is judged. Nothing of the supervisor's own is trusted to be there at the right
 * moment: the history lies in a file, the state is read when all are dead.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tell } from 'waybill/testing';
import { type Ground, type Pair, prepareGround } from './ground.ts';
import type { Line } from './history.ts';
import { holdOpen } from './hold-open.ts';
import { judge } from './judge.ts';
import { torment } from './nemesis.ts';
import { createProcesses, type Processes } from './processes.ts';
import type { Role } from './role.ts';
import { leftToDo, readState, type State } from './state.ts';

export interface TortureOptions {
  readonly pair: Pair;
  /** History and state are left there. */
  readonly folder: string;
  readonly seconds: number;
  /** In [0, 1). */
  readonly random: () => number;
  /** @default 90,000 */
  readonly freezeMaxMs?: number;
  /** Stores on a file system of their own, which gets full and loses its power. @default false */
  readonly ownDisk?: boolean;
  /** Fewer processes, for a short run. @default false */
  readonly small?: boolean;
  readonly onProgress?: (line: string) => void;
}

export interface TortureReport {
  readonly faults: Readonly<Record<string, number>>;
  /** Ends of processes, by whatever cause. */
  readonly deaths: number;
  readonly published: number;
  readonly effects: number;
  readonly orders: number;
  /** From the last fault until nothing was left to do, starts of processes included; undefined: not in time. */
  readonly drainMs: number | undefined;
  /** Each with its story. */
  readonly violations: readonly string[];
  /** What processes complained of, with counts; the most frequent first. */
  readonly troubles: readonly (readonly [string, number])[];
  readonly state: State;
  readonly history: readonly Line[];
}

const program = join(import.meta.dirname, 'process.ts');
const startMaxMs = 120_000;
/** Transactions that have committed before anything goes wrong: a slow machine shall have something to lose too. */
const committedMin = 40;
/** After the last fault something must be done this often until all is; claims of the dead run out after 15 s, several times over. */
const stillMaxMs = 120_000;
const drainMaxMs = 1_200_000;

export async function torture(options: TortureOptions): Promise<TortureReport> {
  const { pair, folder, random } = options;
  const ground = await prepareGround({ pair, folder, ownDisk: options.ownDisk ?? false });
  const processes = createProcesses<Omit<Role, 'by'>>({ file: join(folder, 'history.jsonl'), random, programOf: () => program });
  const holding = new AbortController();
  const { postgres } = ground;
  const held = postgres ? Promise.all(['bank', 'postgres'].map((database) => holdOpen(postgres.server, database, holding.signal))) : undefined;
  try {
    const roles = rolesOn(ground, options.small ?? false);
    for (const [name, role] of roles) if (role.service !== 'bank') processes.start(name, role);
    await allWork(processes);
    for (const [name, role] of roles) if (role.service === 'bank') processes.start(name, role);
    await allWork(processes);
    await allWell(processes);
    const faults = await torment({
      ground,
      processes,
      random,
      seconds: options.seconds,
      freezeMaxMs: options.freezeMaxMs ?? 90_000,
      onFault: (counts) => options.onProgress?.(`${Object.values(counts).reduce((sum, n) => sum + n, 0)} faults`),
    });
    await processes.killAll();
    const deaths = processes.history.filter(({ what }) => what === 'ended').length;
    const drainMs = await drain(ground, processes, roles, options.onProgress);
    const left = drainMs === undefined ? await leftToDo(ground) : undefined;
    await processes.killAll();
    const state = await readState(ground);
    await writeFile(join(folder, 'state.json'), JSON.stringify(state));
    const { violations, story } = judge(processes.history, state);
    return {
      faults,
      deaths,
      published: state.ledger.length,
      effects: state.effects.length,
      orders: state.submitted.length,
      drainMs,
      violations: [...(left === undefined ? [] : [`I19 liveness: it stands still, or is not done within ${drainMaxMs} ms: ${left}`]), ...violations.map((violation) => tell(violation, story))],
      troubles: troublesOf(processes),
      state,
      history: processes.history,
    };
  } finally {
    holding.abort();
    await processes.killAll();
    await held;
    await ground.close();
  }
}

function rolesOn(ground: Ground, small: boolean): Map<string, Omit<Role, 'by'>> {
  const roles = new Map<string, Omit<Role, 'by'>>();
  const add = (service: Role['service'], instances: number, more: Partial<Role> = {}): void => {
    for (let i = 1; i <= instances; i++) {
      const usual = { service, publishes: false, relay: 'inline' as const, selfKill: 0.0004, throws: 0.003, pauseMs: 25 };
      roles.set(`${service} ${i}`, { ...usual, store: ground.store(service), transport: ground.transport, ...more });
    }
  };
  add('shop', 2);
  add('ordering', small ? 1 : 2);
  add('works', small ? 1 : 2);
  add('bank', small ? 1 : 2, { publishes: true });
  const last = small ? 'bank 1' : 'bank 2';
  roles.set(last, { ...roles.get(last)!, relay: 'off' }); // leaves it to the others
  roles.set('bank relay', { ...roles.get('bank 1')!, relay: 'inline', publishes: false });
  return roles;
}

export async function allWork(processes: Omit<Processes<never>, 'start'>): Promise<void> {
  for (const untilMs = performance.now() + startMaxMs; processes.working.length < processes.names.length; await sleep(20)) {
    if (performance.now() > untilMs) throw new Error(`not all processes have started: ${JSON.stringify(processes.history.slice(-10))}`);
  }
}

export async function allWell({ history }: Pick<Processes<never>, 'history'>): Promise<void> {
  const untilMs = performance.now() + startMaxMs;
  for (let seen = 0, committed = 0; committed < committedMin && performance.now() < untilMs; await sleep(20)) {
    for (; seen < history.length; seen++) if (history[seen]!.what === 'committed') committed++;
  }
}

/** Nothing new is published, nothing goes wrong. */
async function drain(ground: Ground, processes: Processes<Omit<Role, 'by'>>, roles: ReadonlyMap<string, Omit<Role, 'by'>>, onProgress?: (line: string) => void): Promise<number | undefined> {
  processes.say({ what: 'healed', text: 'everything' });
  for (const [name, role] of roles) processes.start(name, { ...role, publishes: false, selfKill: 0, throws: 0 });
  const beganMs = performance.now();
  let before: string | undefined;
  let movedMs = beganMs;
  while (performance.now() - beganMs < drainMaxMs && performance.now() - movedMs < stillMaxMs) {
    await ground.postgres?.server.revive(); // a server may end only now of a disk that was full
    const left = await leftToDo(ground);
    if (left === undefined) return Math.round(performance.now() - beganMs);
    onProgress?.(left);
    if (left !== before) movedMs = performance.now();
    before = left;
    await sleep(200);
  }
  return undefined;
}

/** What processes complained of, with counts; the most frequent first. */
export function troublesOf({ history }: Pick<Processes<never>, 'history'>): [string, number][] {
  const counts = new Map<string, number>();
  for (const { what, by, text = '' } of history) {
    const unexpected = (what === 'trouble' && !text.includes('has failed for good')) || (what === 'ended' && !/^(SIG|0$)/.test(text));
    if (!unexpected) continue;
    const line = `${by.replace(/#\d+$/, '')}: ${text.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}|\d+/g, 'N').slice(0, 220)}`;
    counts.set(line, (counts.get(line) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]);
}
