/**
 * What torture and soak have in common: processes are started, tormented, left in peace until nothing is to be done any more, and
 * killed. What they said is in their history; what it means others judge, when all are dead.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type NemesisOptions, torment } from './nemesis.ts';
import type { Processes } from './processes.ts';

export interface Trial<Role extends object> extends Omit<NemesisOptions, 'processes' | 'onFault'> {
  readonly processes: Processes<Role>;
  readonly roles: ReadonlyMap<string, Role>;
  /** Whether it must be at work before the others begin. */
  readonly first: (role: Role) => boolean;
  /** Its role when nothing new is published and nothing goes wrong; undefined: it has none. */
  readonly calm: (role: Role) => Role | undefined;
  /** Undefined: nothing is left to do. Else what it is. */
  readonly leftToDo: () => Promise<string | undefined>;
  /** Called once, when it is at rest and something is left to do all the same; if it may be. */
  readonly operate?: () => Promise<void>;
  readonly onProgress?: ((line: string) => void) | undefined;
}

export interface Outcome {
  readonly faults: Readonly<Record<string, number>>;
  /** Ends of processes, by whatever cause. */
  readonly deaths: number;
  /** From the last fault until nothing was left to do, starts of processes included; undefined: not in time. */
  readonly drainMs: number | undefined;
  /** What was left to do then. */
  readonly left: string | undefined;
}

const startMaxMs = 120_000;
/** Transactions that have committed before anything goes wrong: a slow machine shall have something to lose too. */
const committedMin = 40;
/** After the last fault something must be done this often until all is; claims of the dead run out after 15 s, several times over. */
const stillMaxMs = 120_000;
const drainMaxMs = 1_200_000;
/** Nothing has changed for so long: it is at rest. */
const restMs = 25_000;
const lookMs = 200;
const lookMaxMs = 2_000;

export async function tryOut<Role extends object>(trial: Trial<Role>): Promise<Outcome> {
  const { processes, roles, first } = trial;
  for (const isFirst of [true, false]) {
    for (const [name, role] of roles) if (first(role) === isFirst) processes.start(name, role);
    await allWork(processes);
  }
  await allWell(processes);
  const faults = await torment({ ...trial, onFault: (counts) => trial.onProgress?.(`${Object.values(counts).reduce((sum, n) => sum + n, 0)} faults`) });
  await processes.killAll();
  const deaths = processes.history.filter(({ what }) => what === 'ended').length;
  const outcome = await drain(trial);
  await processes.killAll();
  return { faults, deaths, ...outcome };
}

async function drain<Role extends object>({ ground, processes, roles, calm, leftToDo, operate, onProgress }: Trial<Role>): Promise<Pick<Outcome, 'drainMs' | 'left'>> {
  processes.say({ what: 'healed', text: 'everything' });
  for (const [name, role] of roles) {
    const calmed = calm(role);
    if (calmed) processes.start(name, calmed);
  }
  const beganMs = performance.now();
  let left: string | undefined;
  let movedMs = beganMs;
  let operated = operate === undefined;
  for (;;) {
    await ground.postgres?.server.revive(); // a server may end only now of a disk that was full
    const before = left;
    const lookedMs = performance.now();
    left = await leftToDo();
    const nowMs = performance.now();
    if (left === undefined) return { drainMs: Math.round(nowMs - beganMs), left };
    if (left !== before || !working(processes)) movedMs = nowMs; // a slow machine takes long to start them
    if (left !== before) {
      processes.say({ what: 'left', text: left });
      onProgress?.(left);
    }
    if (!operated && nowMs - movedMs > restMs) {
      operated = true;
      await operate!();
      movedMs = performance.now();
    }
    if (nowMs - beganMs > drainMaxMs || nowMs - movedMs > stillMaxMs) return { drainMs: undefined, left };
    await sleep(Math.min(lookMaxMs, Math.max(lookMs, 3 * (nowMs - lookedMs)))); // others have something to do
  }
}

function working({ working, names }: Pick<Processes<never>, 'working' | 'names'>): boolean {
  return working.length === names.length;
}

async function allWork(processes: Omit<Processes<never>, 'start'>): Promise<void> {
  for (const untilMs = performance.now() + startMaxMs; !working(processes); await sleep(20)) {
    if (performance.now() > untilMs) throw new Error(`not all processes have started: ${JSON.stringify(processes.history.slice(-10))}`);
  }
}

async function allWell({ history }: Pick<Processes<never>, 'history'>): Promise<void> {
  const untilMs = performance.now() + startMaxMs;
  for (let seen = 0, committed = 0; committed < committedMin && performance.now() < untilMs; await sleep(20)) {
    for (; seen < history.length; seen++) if (history[seen]!.what === 'committed') committed++;
  }
}

/** What was left, and for how long it had not changed. */
export function stillness(left: string): string {
  return `I19 liveness: it stands still, or is not done within ${drainMaxMs} ms: ${left}`;
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
