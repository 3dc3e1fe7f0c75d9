/**
 * What goes wrong in a torture run: faults drawn with a seed, up to three at once. What the processes do meanwhile is
 * theirs, so a seed repeats the faults and not the run.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { steps } from '../../packages/waybill/test/azure-service-bus/stand-in/faults.ts';
import type { Ground } from './ground.ts';
import type { Processes } from './processes.ts';

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
  readonly onFault?: (counts: Readonly<Record<string, number>>) => void;
}

type Grounds = Pick<Ground, 'postgres' | 'rabbit' | 'azure' | 'disk'>;
type Victims = Omit<Processes<never>, 'start'>;

interface Fault {
  readonly weight: number;
  /** Faults of one place exclude each other. */
  readonly place: string;
  /** Resolves when it is healed. */
  strike(): Promise<void>;
}

const overlapMax = 3;
/** Processes are given so long to come back to work, then starts are struck too. */
const patienceMs = 10_000;
/** A quorum queue younger than this does not outlive its node (RabbitMQ 3.10): no broker dies before. */
const warmUpMs = 4_000;
const clockOffMaxMs = 30_000;

/** Resolves when everything is healed. */
export async function torment(options: NemesisOptions): Promise<Readonly<Record<string, number>>> {
  const { processes, random, ground } = options;
  const counts: Record<string, number> = {};
  const faults = Object.entries(faultsOf(options));
  const busy = new Map<string, Promise<void>>();
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
      .catch((error: unknown) => processes.say({ what: 'trouble', text: `${name}: ${String(error).slice(0, 300)}` })) // two of them met
      .then(() => {
        processes.say({ what: 'healed', text: name });
        busy.delete(fault.place);
      });
    busy.set(fault.place, healed);
    options.onFault?.(counts);
  }
  await Promise.all(busy.values());
  processes.skewMs = () => 0;
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

function faultsOf({ ground, processes, random, freezeMaxMs, outageMaxMs = 1_500, seconds }: NemesisOptions): Record<string, Fault> {
  const { postgres, rabbit, azure, disk } = ground;
  const between = (min: number, max: number): number => min + random() * (max - min);
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
  if (postgres) Object.assign(faults, proxyFaults('database', postgres.proxy, between), postgresFaults(postgres.server, between, outageMaxMs));
  if (rabbit) Object.assign(faults, proxyFaults('broker', rabbit.proxy, between), rabbitFaults(rabbit.server, between, outageMaxMs));
  if (azure) Object.assign(faults, proxyFaults('broker', azure.proxy, between), azureFaults(azure.server, between, seconds));
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
    faults['power cut'] = { weight: 1, place: 'database', strike: () => cutPower(ground, processes) };
  }
  return faults;
}

function proxyFaults(what: string, proxy: NonNullable<Ground['postgres']>['proxy'], between: (min: number, max: number) => number): Record<string, Fault> {
  const fault = (strike: () => Promise<void>): Fault => ({ weight: 1, place: `${what}'s network`, strike });
  return {
    [`${what}: connections cut`]: fault(async () => proxy.cut()),
    [`${what}: connections reset`]: fault(async () => proxy.reset()),
    [`${what}: cut after n bytes`]: fault(async () => {
      proxy.cutAfterBytes = between(2_000, 50_000);
      await sleep(1_000);
      proxy.cutAfterBytes = Infinity;
    }),
    [`${what}: half-open`]: fault(async () => {
      proxy.mode = 'swallow';
      await sleep(between(300, 1_500));
      proxy.mode = 'pass';
      proxy.cut();
    }),
    [`${what}: nothing gets through for a while`]: fault(async () => {
      proxy.mode = 'stall';
      await sleep(between(500, 12_000));
      proxy.mode = 'pass';
    }),
    [`${what}: nobody listens`]: fault(async () => {
      proxy.mode = 'refuse';
      proxy.cut();
      await sleep(between(200, 3_000));
      proxy.mode = 'pass';
    }),
    [`${what}: delay`]: fault(async () => {
      proxy.delayMs = between(5, 60);
      await sleep(between(500, 2_000));
      proxy.delayMs = 0;
    }),
  };
}

function postgresFaults(server: NonNullable<Ground['postgres']>['server'], between: (min: number, max: number) => number, outageMaxMs: number): Record<string, Fault> {
  const place = 'database';
  return {
    'database: backends terminated': {
      weight: 2,
      place,
      strike: async () => void (await server.query('select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and random() < 0.3')),
    },
    'database: backend killed': {
      weight: 1,
      place,
      async strike() {
        const all = server.children();
        const victim = all[Math.floor(between(0, all.length))];
        if (victim !== undefined) process.kill(victim, 'SIGKILL'); // the whole server recovers from it
      },
    },
    'database: server killed': {
      weight: 1,
      place,
      async strike() {
        await server.kill();
        await sleep(between(0, outageMaxMs));
        await server.start();
      },
    },
  };
}

function rabbitFaults(server: NonNullable<Ground['rabbit']>['server'], between: (min: number, max: number) => number, outageMaxMs: number): Record<string, Fault> {
  const place = 'broker';
  return {
    'broker: killed': {
      weight: 1,
      place,
      async strike() {
        await server.kill();
        await sleep(between(0, outageMaxMs));
        await server.start();
        await sleep(warmUpMs);
      },
    },
    'broker: frozen': {
      weight: 1,
      place,
      async strike() {
        await server.signal('SIGSTOP');
        await sleep(between(300, 4_000));
        await server.signal('SIGCONT');
      },
    },
    'broker: memory alarm': {
      weight: 1,
      place,
      async strike() {
        await server.ctl('set_vm_memory_high_watermark', 'absolute', '1MB');
        await sleep(between(500, 4_000));
        await server.ctl('set_vm_memory_high_watermark', 'absolute', '512MB');
      },
    },
  };
}

/** A long run has a long throttling in it. */
const longSeconds = 240;
const minuteMs = 60_000;

function azureFaults(server: NonNullable<Ground['azure']>['server'], between: (min: number, max: number) => number, seconds: number): Record<string, Fault> {
  const place = 'broker';
  const fault = (strike: () => Promise<void>): Fault => ({ weight: 1, place, strike });
  const throttled = (minMs: number, maxMs: number): Fault => ({
    weight: 1,
    place: 'throttling',
    async strike() {
      server.order({ do: 'throttle' });
      await sleep(between(minMs, maxMs));
      server.order({ do: 'serve' });
    },
  });
  return {
    'broker: killed': fault(async () => {
      await server.kill();
      await sleep(between(0, 1_500));
      await server.start();
    }),
    'broker: frozen': fault(async () => {
      server.signal('SIGSTOP');
      await sleep(between(300, 4_000));
      server.signal('SIGCONT');
    }),
    'broker: all connections cut': fault(async () => server.order({ do: 'cut all' })),
    'broker: all locks run out': fault(async () => server.order({ do: 'expire locks' })),
    'broker: all tokens end': fault(async () => server.order({ do: 'expire tokens' })),
    'broker: throttled': throttled(300, 4_000),
    ...(seconds >= longSeconds && { 'broker: throttled for a minute': throttled(minuteMs, minuteMs) }),
    ...Object.fromEntries(
      steps.map((step) => [
        `broker: cut at ${step}`,
        fault(async () => {
          if (step === 'attach' || step === 'token') server.order({ do: 'cut all' }); // asked for only by who has lost its connection
          server.order({ do: 'cut at', step, chance: 0.2, times: 3 });
          await sleep(between(500, 2_000));
          server.order({ do: 'cut no more' });
        }),
      ]),
    ),
  };
}

/** The machine of the stores loses its power: with SQLite the processes too, as they run on it. */
async function cutPower({ disk, postgres }: Grounds, processes: Victims): Promise<void> {
  if (postgres) {
    postgres.server.freeze();
    await disk!.snapshot();
    await postgres.server.kill();
    await disk!.restore();
    await postgres.server.start();
    return;
  }
  processes.hold(true);
  try {
    for (const name of processes.names) processes.signal(name, 'SIGSTOP');
    await sleep(50); // what was in a system call has left it
    await disk!.snapshot();
    for (const name of processes.names) processes.signal(name, 'SIGKILL');
    await disk!.restore(); // waits until they are gone
  } finally {
    processes.hold(false);
  }
}
