import { systemClock, type Clock } from '../../contract/clock.ts';

/** The machine's clock, which a test may set forward: timers that have come due by that fire at once. */
export interface HastenedClock extends Clock {
  pass(ms: number): void;
}

/**
 * For drivers whose work is real (files, sockets) and whose promises speak of long times: a lease that expires, a store
 * that is busy for seconds.
 */
export function hastenedClock(): HastenedClock {
  const machine = systemClock();
  const timers = new Set<{ readonly dueMs: number; readonly fire: () => void; rearm: () => void }>();
  let aheadMs = 0;
  const monotonic = (): number => machine.monotonic() + aheadMs;

  return {
    ...machine,
    now: () => machine.now() + aheadMs,
    monotonic,
    after(delayMs, fn) {
      const dueMs = monotonic() + delayMs;
      let cancel: () => void;
      const timer = {
        dueMs,
        fire: () => {
          stop();
          fn();
        },
        rearm: () => {
          cancel();
          cancel = machine.after(dueMs - monotonic(), timer.fire);
        },
      };
      const stop = (): void => {
        cancel();
        timers.delete(timer);
      };
      cancel = machine.after(delayMs, timer.fire);
      timers.add(timer);
      return stop;
    },
    pass(ms) {
      aheadMs += ms;
      const due = [...timers].filter(({ dueMs }) => dueMs <= monotonic()).sort((a, b) => a.dueMs - b.dueMs);
      for (const timer of due) if (timers.has(timer)) timer.fire();
      for (const timer of timers) timer.rearm();
    },
  };
}
