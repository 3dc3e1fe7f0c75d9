/**
 * What test buses that talk to each other have in common: one clock, and the question whether anything is still going on.
 * Nothing here sleeps while there is something to wait for by turns of the event loop; time moves only where nothing
 * but time can help, and only virtual time.
 */
import { WaybillError } from '../contract/errors.ts';
import { type VirtualClock, virtualClock } from './clock.ts';

/** `settled()` gave up waiting. */
export class NotSettled extends Error {
  override readonly name: string = 'NotSettled';
  /** What is still going on. */
  readonly open: readonly string[];

  constructor(open: readonly string[], advice: string) {
    super(`not settled: ${open.join('; ')}. ${advice}`);
    this.open = open;
  }
}

/** A bus as the world sees it. */
export interface Inhabitant {
  /** Starts it, its late subscriptions too, and waits for a new life after a crash. */
  awake(): Promise<void>;
  isAwake(): boolean;
  /** Its own operations that are under way, and user code that runs; each named. */
  running(): readonly string[];
  /** User code that runs; each named. Time must not go by while it does. */
  runningUserCode(): readonly string[];
  /** What is left to be done now, with nobody at it; each named. */
  outstanding(): Promise<readonly string[]>;
  /** Has what was delivered under this id delivered again; answers how many deliveries that are. */
  redeliver(id: string): number;
}

export interface World {
  readonly clock: VirtualClock;
  readonly inhabitants: Set<Inhabitant>;
  /** Something happened. */
  active(): void;
  awake(): Promise<void>;
  /** Then `awake` need not be awaited: what the test asks is asked at once. */
  isAwake(): boolean;
  /** @throws NotSettled with what is still going on */
  settled(): Promise<void>;
  advance(ms: number): Promise<void>;
  /** The result of something that may need virtual time to go by. */
  drive<R>(work: Promise<R>): Promise<R>;
}

/** Turns of the event loop without anything happening, after which something is taken to be waiting. */
const quietTurns = 20;
/** The same for an operation that is under way: it may be at a disk or a socket. */
const busyTurns = 200;
/** After those, one look each millisecond, for as long as user code may take for its own I/O in a test. */
const patienceMs = 10_000;
/** For what a start does at a disk or a socket; after that, it is taken to wait for virtual time. */
const wakingMs = 50;
/** Virtual time that `settled` lets go by at most, for leases and pauses that only time can end. */
const stuckMaxMs = 15_000;

export function createWorld(clock: VirtualClock): World {
  const inhabitants = new Set<Inhabitant>();
  let activity = 0;

  /** In whole milliseconds: a step that is too small for the clock's own precision would be none. */
  const nextMs = (): number | undefined => {
    const ms = clock.next();
    return ms === undefined ? undefined : Math.ceil(ms);
  };
  const all = <R>(ask: (inhabitant: Inhabitant) => readonly R[]): R[] => [...inhabitants].flatMap(ask);
  const running = (): string[] => all((one) => one.running());

  /** Until nothing is under way, or what is does not move; answers what that is. */
  const calm = async (patient: boolean): Promise<readonly string[]> => {
    let last = activity;
    let since = performance.now();
    for (let turns = 0; ; turns++) {
      await turn();
      if (activity !== last) {
        last = activity;
        turns = 0;
        since = performance.now();
        continue;
      }
      const what = running();
      if (what.length === 0) {
        if (turns >= 3) return what;
      } else if (turns > busyTurns) {
        if (!patient || performance.now() - since > patienceMs) return what;
        await pause();
      }
    }
  };

  const outstanding = async (): Promise<string[]> => {
    const found: string[] = [];
    for (const one of inhabitants) found.push(...(await one.outstanding()));
    return found;
  };

  /**
   * Wakes everybody as far as that goes without time: a bus that finds its broker away at the start tries again later.
   * Answers whether all are up.
   */
  const rouse = async (patient: boolean): Promise<boolean> => {
    if (world.isAwake()) return true;
    let up = false;
    const waking = world.awake().then(() => void (up = true));
    waking.catch(() => {}); // heard below, or by whoever wakes it next
    for (const sinceMs = performance.now(); !up && performance.now() - sinceMs < wakingMs; ) {
      await Promise.race([waking, calm(patient)]);
      await Promise.race([waking, pause()]);
    }
    return up;
  };

  const settle = async (strict: boolean): Promise<void> => {
    let budgetMs = stuckMaxMs;
    let clean = -1;
    for (;;) {
      const up = await rouse(strict);
      const stuck = await calm(strict);
      const before = activity;
      const open = stuck.length > 0 ? stuck : [...(up ? [] : ['a bus is not up yet']), ...(await outstanding())];
      if (open.length === 0) {
        // Looked at one after the other: only when nothing happened meanwhile was it all at rest at once.
        if (clean === activity) return;
        clean = activity;
        continue;
      }
      if (activity !== before) continue;
      // An operation may be slow at a disk or a socket: whoever asked for so much time gets no more of it for that.
      if (!strict && stuck.length > 0) return;
      const dueMs = nextMs();
      const timeHelps = all((one) => one.runningUserCode()).length === 0 && dueMs !== undefined && dueMs <= budgetMs;
      if (!timeHelps) {
        if (!strict) return;
        throw new NotSettled(open, advice(stuck));
      }
      await clock.advance(dueMs);
      budgetMs -= Math.max(dueMs, 1);
    }
  };

  const world: World = {
    clock,
    inhabitants,
    active() {
      activity++;
    },
    async awake() {
      for (const one of inhabitants) await one.awake();
    },
    isAwake: () => [...inhabitants].every((one) => one.isAwake()),
    settled: () => settle(true),
    async advance(ms) {
      await rouse(false);
      await calm(false);
      for (let leftMs = ms; ; ) {
        const dueMs = nextMs();
        const stepMs = dueMs === undefined ? leftMs : Math.min(dueMs, leftMs);
        await clock.advance(stepMs);
        leftMs -= stepMs;
        await calm(false);
        if (leftMs <= 0) break;
      }
      await settle(false);
    },
    async drive(work) {
      let done = false;
      const finished = work.finally(() => {
        done = true;
      });
      finished.catch(() => {}); // heard below
      for (let turns = 0; !done; turns++) {
        await turn();
        if (done || turns < quietTurns) continue;
        await calm(false);
        const dueMs = nextMs();
        if (done) break;
        if (dueMs === undefined) await pause();
        else await clock.advance(dueMs);
        turns = 0;
      }
      return finished;
    },
  };
  return world;
}

/** Buses meet on the transport's value, or on the clock's. */
const worlds = new WeakMap<object, World>();

/** @throws WaybillError `INVALID_OPTION` when it would have two clocks */
export function worldOf({ clock, transport }: { clock?: VirtualClock; transport?: unknown }): World {
  const keys = [clock, transport].filter((key) => typeof key === 'object' && key !== null);
  const known = new Set(keys.map((key) => worlds.get(key)).filter((world) => world !== undefined));
  const world = [...known][0] ?? createWorld(clock ?? virtualClock());
  if (known.size > 1 || (clock && world.clock !== clock)) {
    throw new WaybillError('INVALID_OPTION', 'createTestBus: this transport has a clock already; leave `clock` out, or give all its buses the same');
  }
  for (const key of keys) worlds.set(key, world);
  return world;
}

function advice(stuck: readonly string[]): string {
  return stuck.length > 0
    ? 'Let what runs come to its end, or move the time: advance(ms)'
    : 'Move the time (advance(ms)), or mend what keeps it from going on';
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}
