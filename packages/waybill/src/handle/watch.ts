import type { Clock } from '../contract/clock.ts';

/** Ends runs that last too long, or when the bus stops. Returns what to call when a run has ended. */
export type Watch = (limitMs: number, stopping: AbortSignal, abandon: (why: 'late' | 'stopped') => void) => () => void;

interface Watched {
  readonly untilMs: number;
  readonly abandon: (why: 'late' | 'stopped') => void;
}

/**
 * One timer for all runs of one limit: they end in the order they began, so it stands at the oldest one's limit, and most
 * runs are over long before and set or clear nothing (a timer and a listener for each cost 3 µs). It is left standing
 * when nothing runs, for at most the limit, and goes when the bus stops.
 */
export function createWatch(clock: Clock): Watch {
  const lines = new Map<number, Set<Watched>>();
  const timers = new Map<number, () => void>();
  const heard = new WeakSet<AbortSignal>();

  const look = (limitMs: number): void => {
    timers.delete(limitMs);
    const line = lines.get(limitMs)!;
    for (const watched of line) {
      const leftMs = watched.untilMs - clock.monotonic();
      if (leftMs > 0) return arm(limitMs, leftMs);
      line.delete(watched);
      watched.abandon('late');
    }
  };
  const arm = (limitMs: number, leftMs: number): void => {
    if (!timers.has(limitMs)) timers.set(limitMs, clock.after(leftMs, () => look(limitMs)));
  };
  const stop = (): void => {
    for (const cancel of timers.values()) cancel();
    timers.clear();
    for (const line of lines.values()) {
      for (const watched of line) {
        line.delete(watched);
        watched.abandon('stopped');
      }
    }
  };

  return (limitMs, stopping, abandon) => {
    if (stopping.aborted) {
      abandon('stopped');
      return () => {};
    }
    if (!heard.has(stopping)) {
      heard.add(stopping);
      stopping.addEventListener('abort', stop, { once: true });
    }
    let line = lines.get(limitMs);
    if (!line) lines.set(limitMs, (line = new Set()));
    const watched: Watched = { untilMs: clock.monotonic() + limitMs, abandon };
    line.add(watched);
    arm(limitMs, limitMs);
    return () => void line.delete(watched);
  };
}
