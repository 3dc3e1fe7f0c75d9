import type { Clock } from '../contract/clock.ts';

/** Ends runs that last too long, or when the bus stops. Returns what to hand to `leave` when a run has ended. */
export type Watch = (limitMs: number, stopping: AbortSignal, abandon: (why: 'late' | 'stopped') => void) => Watched;

/** A run in a line of those of one limit, oldest first. */
export interface Watched {
  readonly untilMs: number;
  readonly abandon: (why: 'late' | 'stopped') => void;
  /** Undefined once it has left. */
  before: Place | undefined;
  after: Place | undefined;
}
/** A run, or the line itself: it stands before the first one and after the last. */
type Place = Pick<Watched, 'before' | 'after'> & Partial<Watched>;

function emptyLine(): Place {
  const line: Place = { before: undefined, after: undefined };
  line.before = line.after = line;
  return line;
}

/** It has ended; or it was abandoned, and nothing happens. */
export function leave(watched: Place): void {
  if (watched.before === undefined) return;
  watched.before.after = watched.after;
  watched.after!.before = watched.before;
  watched.before = watched.after = undefined;
}

/**
 * One timer for all runs of one limit: they end in the order they began, so it stands at the oldest one's limit, and most
 * runs are over long before and set or clear nothing (a timer and a listener for each cost 3 µs). It is left standing
 * when nothing runs, for at most the limit, and goes when the bus stops.
 *
 * The line is a list, no `Set`: a set that is filled and emptied makes a new table every few times, each old one points
 * at the next, and one that has grown old keeps all that follow, with the messages in them, from the young collection
 * (a quarter of what a subscriber allocated).
 */
export function createWatch(clock: Clock): Watch {
  const lines = new Map<number, Place>();
  const timers = new Map<number, () => void>();
  const heard = new WeakSet<AbortSignal>();

  const look = (limitMs: number): void => {
    timers.delete(limitMs);
    const line = lines.get(limitMs)!;
    for (let oldest = line.after!; oldest !== line; oldest = line.after!) {
      const leftMs = oldest.untilMs! - clock.monotonic();
      if (leftMs > 0) return arm(limitMs, leftMs);
      leave(oldest);
      oldest.abandon!('late');
    }
  };
  const arm = (limitMs: number, leftMs: number): void => {
    if (!timers.has(limitMs)) timers.set(limitMs, clock.after(leftMs, () => look(limitMs)));
  };
  const stop = (): void => {
    for (const cancel of timers.values()) cancel();
    timers.clear();
    for (const line of lines.values()) {
      for (let oldest = line.after!; oldest !== line; oldest = line.after!) {
        leave(oldest);
        oldest.abandon!('stopped');
      }
    }
  };

  return (limitMs, stopping, abandon) => {
    if (stopping.aborted) {
      abandon('stopped');
      return { untilMs: 0, abandon, before: undefined, after: undefined };
    }
    if (!heard.has(stopping)) {
      heard.add(stopping);
      stopping.addEventListener('abort', stop, { once: true });
    }
    let line = lines.get(limitMs);
    if (!line) lines.set(limitMs, (line = emptyLine()));
    const watched: Watched = { untilMs: clock.monotonic() + limitMs, abandon, before: line.before, after: line };
    line.before!.after = watched;
    line.before = watched;
    arm(limitMs, limitMs);
    return watched;
  };
}
