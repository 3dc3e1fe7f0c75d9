/**
 * Time and chance, injected (decision 9): the same rooms run on the machine's clock, under a test's virtual time and in
 * the simulator. Wall time is for what is stored (due times, leases of files on this machine); monotonic time is for
 * waits within the process.
 */
export interface Clock {
  /**
   * Wall time in milliseconds since 1970. May step, and be hours off: what is due is told by the store's clock
   * (`WaitingPort.nowMs`).
   */
  now(): number;
  /** A test's: then a database with a clock of its own goes by this one where it tells what is due. @default false */
  readonly simulated?: boolean;
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonic(): number;
  /** Calls `fn` once after `delayMs`; any length (a timer past 2^31-1 ms is cut in pieces). Returns its cancel. */
  after(delayMs: number, fn: () => void): () => void;
  /** The next turn of the event loop, so that others get theirs. */
  turn(): Promise<void>;
  /** Uniform in [0, 1). */
  random(): number;
  /** A new time-ordered id, UUIDv7 (RFC 9562 §5.7), rising within this process. */
  id(): string;
}

/** Node fires a longer timer at once, with a warning (its documentation of `setTimeout`). */
const timerMaxMs = 2 ** 31 - 1;

export function systemClock(): Clock {
  const after = (delayMs: number, fn: () => void): (() => void) => {
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const now = Math.min(leftMs, timerMaxMs);
      timer = setTimeout(() => (leftMs > now ? arm(leftMs - now) : fn()), now);
    };
    arm(Math.max(0, delayMs));
    return () => clearTimeout(timer);
  };
  return {
    now: Date.now,
    monotonic: () => performance.now(),
    after,
    turn: () => new Promise((resolve) => setImmediate(resolve)),
    random: Math.random,
    id: uuidv7(Date.now, (bytes) => crypto.getRandomValues(bytes)),
  };
}

/** Resolves after `delayMs`, or as soon as `signal` is aborted; never rejects. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const cancel = clock.after(delayMs, done);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/**
 * UUIDv7 with the 12 bits of `rand_a` as a counter within the millisecond (RFC 9562 §6.2, method 1), so that ids of one
 * process rise and the inbox, which is keyed by them, is appended to. A clock that steps back goes on from the last.
 */
export function uuidv7(now: () => number, fill: (bytes: Uint8Array<ArrayBuffer>) => void): () => string {
  const pool = new Uint8Array(8 * 128); // random bytes are fetched for 128 ids at a time
  let used = pool.length;
  let lastMs = -1;
  let counter = 0;
  /** The first 48 bits as text, and the version. */
  let time = '';
  const begin = (ms: number): void => {
    lastMs = ms;
    counter = 0;
    const digits = ms.toString(16).padStart(12, '0');
    time = `${digits.slice(0, 8)}-${digits.slice(8)}-7`;
  };
  return () => {
    const ms = Math.floor(now());
    if (ms > lastMs) begin(ms);
    else if (++counter > 0xfff) begin(lastMs + 1);
    if (used === pool.length) {
      fill(pool);
      used = 0;
    }
    const at = used;
    used += 8;
    pool[at] = (pool[at]! & 0x3f) | 0x80; // variant 10
    const two = (i: number): string => hex[pool[at + i]!]!;
    const count = hex[counter >> 8]!.slice(1) + hex[counter & 0xff]!;
    return `${time}${count}-${two(0)}${two(1)}-${two(2)}${two(3)}${two(4)}${two(5)}${two(6)}${two(7)}`;
  };
}
const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
