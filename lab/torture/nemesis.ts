/**
 * What goes wrong in a torture run: faults drawn with a seed, up to three at once. What the processes do meanwhile is
 * theirs, so a seed repeats the faults and not the run.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { deletions } from './deletions.ts';
import type { Ground } from './ground.ts';
import type { Processes } from './processes.ts';
import { restoreBackup } from './restore.ts';
import { type Between, type Fault, proxyFaults, serverFaults, warmUpMs } from './server-faults.ts';

export interface NemesisOptions {
  readonly ground: Grounds;
  readonly processes: Victims;
  /** In [0, 1). */
  readonly random: () => number;
  readonly seconds: number;
  /** Frozen processes wake up after this time at the latest. */
  readonly freezeMaxMs: number;
  /** Servers that were killed are away for so long at most. @default 1,500 */
  readonly outageMaxMs?: number;
  /** Queues are deleted and backups restored, of these servers; somebody must do afterwards what an operator does. */
  readonly losses?: Ground;
  /** Only faults whose names match. @default all */
  readonly only?: RegExp | undefined;
  readonly onFault?: (counts: Readonly<Record<string, number>>) => void;
}

type Grounds = Pick<Ground, 'postgres' | 'rabbit' | 'azure' | 'disk'> & Partial<Pick<Ground, 'pair'>>;
type Victims = Omit<Processes<never>, 'start'>;

const overlapMax = 3;
/** Processes are given so long to come back to work, then starts are struck too. */
const patienceMs = 10_000;
const clockOffMaxMs = 30_000;

/** Resolves when everything is healed. */
export async function torment(options: NemesisOptions): Promise<Readonly<Record<string, number>>> {
  const { processes, random, ground } = options;
  const counts: Record<string, number> = {};
  const faults = Object.entries(faultsOf(options)).filter(([name]) => options.only?.test(name) ?? true);
  const busy = new Map<string, Promise<void>>();
  let broken: unknown;
  if (ground.rabbit) await sleep(warmUpMs);
  let strickenMs = performance.now();
  for (const endMs = performance.now() + options.seconds * 1_000; performance.now() < endMs; await sleep(150 + random() * 850)) {
    // A server may end of a full disk long after there is room again; somebody looks after it.
    if (!busy.has('database')) await ground.postgres?.server.revive().catch((error: unknown) => processes.say({ what: 'trouble', text: `reviving: ${String(error).slice(0, 200)}` }));
    if (busy.size >= overlapMax) continue;
    const fewWork = processes.working.length * 2 < processes.names.length;
    if (fewWork && performance.now() - strickenMs < patienceMs) continue; // who is killed at each start comes to nothing
    strickenMs = performance.now();
    const [name, fault] = draw(faults, random);
    if (busy.has(fault.place)) continue;
    counts[name] = (counts[name] ?? 0) + 1;
    processes.say({ what: 'fault', text: name });
    const healed = fault
      .strike()
      .catch((error: unknown) => {
        processes.say({ what: 'trouble', text: `${name}: ${String(error).slice(0, 300)}` }); // two of them met
        if (fault.mustStrike) broken ??= error;
      })
      .then(() => {
        processes.say({ what: 'healed', text: name });
        busy.delete(fault.place);
      });
    busy.set(fault.place, healed);
    options.onFault?.(counts);
  }
  await Promise.all(busy.values());
  processes.skewMs = () => 0;
  if (broken !== undefined) throw new Error('a fault that is counted did not strike, or the server did not get over it', { cause: broken });
  return counts;
}

function draw(faults: readonly [string, Fault][], random: () => number): [string, Fault] {
  let left = random() * faults.reduce((sum, [, { weight }]) => sum + weight, 0);
  for (const entry of faults) {
    left -= entry[1].weight;
    if (left < 0) return entry;
  }
  return faults[0]!;
}

function faultsOf({ ground, processes, random, freezeMaxMs, outageMaxMs = 1_500, seconds, losses }: NemesisOptions): Record<string, Fault> {
  const { postgres, rabbit, azure, disk } = ground;
  const between: Between = (min, max) => min + random() * (max - min);
  /** Mostly one that works, now and then one that starts. */
  const any = (): string => {
    const from = random() < 0.9 && processes.working.length > 0 ? processes.working : processes.names;
    return from[Math.floor(random() * from.length)]!;
  };
  const ofProcess = (weight: number, strike: (name: string) => Promise<void> | void): Fault => ({ weight, place: `process ${Math.floor(random() * 1e9)}`, strike: async () => strike(any()) });
  const faults: Record<string, Fault> = {
    'kill -9': ofProcess(6, (name) => void processes.signal(name, 'SIGKILL')),
    SIGTERM: ofProcess(3, (name) => void processes.signal(name, 'SIGTERM')),
    'SIGSTOP, SIGCONT': ofProcess(3, async (name) => {
      if (!processes.signal(name, 'SIGSTOP')) return;
      // most for less than a lease, some for as long as may be
      await sleep(random() < 0.8 ? between(200, Math.min(5_000, freezeMaxMs)) : between(1_000, freezeMaxMs));
      processes.signal(name, 'SIGCONT');
    }),
  };
  // Processes on the files of one machine have one clock.
  if (postgres && rabbit) {
    faults['clocks off'] = {
      weight: 1,
      place: 'clock',
      async strike() {
        processes.skewMs = () => Math.round((random() * 2 - 1) * clockOffMaxMs);
        for (const name of [any(), any()]) processes.signal(name, 'SIGKILL');
        await sleep(between(2_000, 6_000));
        processes.skewMs = () => 0;
      },
    };
  }
  if (postgres) Object.assign(faults, proxyFaults('database', postgres.proxy, between));
  for (const one of [rabbit, azure]) if (one) Object.assign(faults, proxyFaults('broker', one.proxy, between));
  Object.assign(faults, serverFaults(ground, { between, outageMaxMs, seconds }));
  if (losses) {
    Object.assign(faults, deletions(ground, random, (sub, text) => processes.say({ what: 'deleted', sub, text })));
    faults['backup restored'] = { weight: 1, place: 'database', strike: () => restoreBackup(losses, processes, random) };
  }
  if (disk) {
    faults['disk full'] = {
      weight: 1,
      place: 'database',
      async strike() {
        await disk.fill();
        await sleep(between(500, 3_000));
        await disk.empty();
        await postgres?.server.revive(); // it panics when its log does not fit
      },
    };
    faults['power cut'] = { weight: 1, place: 'database', mustStrike: true, strike: () => cutPower(ground, processes, random) };
  }
  return faults;
}

/** The machine of the stores loses its power: with files of SQLite the processes too, as they run on it. */
async function cutPower({ disk, postgres, pair }: Grounds, processes: Victims, random: () => number): Promise<void> {
  const all = !postgres || pair?.transport === 'sqlite' ? processes.names : [];
  processes.hold(all);
  try {
    for (const name of all) processes.signal(name, 'SIGSTOP');
    postgres?.server.freeze();
    await sleep(50); // what was in a system call has left it
    await disk!.snapshot();
    const torn = await disk!.tear(random);
    await Promise.all(all.map((name) => processes.kill(name)));
    await postgres?.server.kill();
    await disk!.restore();
    processes.say({ what: 'fault', text: `power cut: ${torn} sectors of what was not synchronized are on the disk` });
    await postgres?.server.start();
  } finally {
    processes.release(all);
  }
}
