import { uuidv7, type Clock } from '../contract/clock.ts';

/** A clock that stands still until a test moves it. Chance is seeded: the same seed gives the same run. */
export interface VirtualClock extends Clock {
  /**
   * Lets this much time go by: timers fire in the order they are due, each at its own time, and what they set off
   * comes to rest before the next one. Also sees timers that are set on the way. `advance(0)` only lets things settle.
   */
  advance(ms: number): Promise<void>;
  /** Milliseconds until the next timer; undefined when there is none. */
  next(): number | undefined;
}

export interface VirtualClockOptions {
  /** @default 1 */
  seed?: number;
  /** Wall time at the start, in milliseconds since 1970. @default 2030-01-01T00:00:00Z */
  startMs?: number;
}

/** Timers that one `advance` may fire: a timer that sets itself again for now would never end. */
const firingsMax = 1_000_000;
/** Turns within one moment after which the program is taken to be spinning rather than working. */
const turnsMax = 100_000;

interface Timer {
  readonly dueMs: number;
  readonly fn: () => void;
}

export function virtualClock({ seed = 1, startMs = Date.UTC(2030, 0, 1) }: VirtualClockOptions = {}): VirtualClock {
  const timers = new Set<Timer>(); // in the order they were set, which decides among timers due at once
  const random = mulberry32(seed);
  let elapsedMs = 0;
  let turnsWaiting = 0;
  let running: Promise<void> = Promise.resolve();

  const now = (): number => startMs + elapsedMs;

  const after = (delayMs: number, fn: () => void): (() => void) => {
    const timer: Timer = { dueMs: elapsedMs + Math.max(0, delayMs), fn };
    timers.add(timer);
    return () => void timers.delete(timer);
  };

  const turn = async (): Promise<void> => {
    turnsWaiting++;
    await realTurn();
    turnsWaiting--;
  };

  /** A real turn runs every promise reaction that is ready; somebody in `turn()` may have made more. */
  const settle = async (): Promise<void> => {
    for (let turns = 0; turns === 0 || turnsWaiting > 0; turns++) {
      if (turns > turnsMax) throw new Error(`still busy after ${turnsMax} turns without any time going by`);
      await realTurn();
    }
  };

  const earliest = (): Timer | undefined => {
    let found: Timer | undefined;
    for (const timer of timers) if (found === undefined || timer.dueMs < found.dueMs) found = timer;
    return found;
  };

  const run = async (ms: number): Promise<void> => {
    const untilMs = elapsedMs + ms;
    await settle();
    for (let firings = 0; ; firings++) {
      const timer = earliest();
      if (timer === undefined || timer.dueMs > untilMs) break;
      if (firings > firingsMax) throw new Error(`more than ${firingsMax} timers fired within ${ms} ms`);
      timers.delete(timer);
      elapsedMs = Math.max(elapsedMs, timer.dueMs);
      timer.fn();
      await settle();
    }
    elapsedMs = untilMs;
  };

  return {
    now,
    simulated: true,
    monotonic: () => elapsedMs,
    after,
    turn,
    random,
    id: uuidv7(now, (bytes) => {
      for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(random() * 256);
    }),
    advance(ms) {
      if (!(ms >= 0)) throw new RangeError(`time goes forward only, not by ${ms} ms`);
      const mine = running.then(() => run(ms));
      running = mine.catch(() => {}); // whoever called it gets the error
      return mine;
    },
    next() {
      const timer = earliest();
      return timer && timer.dueMs - elapsedMs;
    },
  };
}

function realTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** 32 bits of state are plenty for jitter; public domain (Tommy Ettinger's mulberry32). */
export function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
