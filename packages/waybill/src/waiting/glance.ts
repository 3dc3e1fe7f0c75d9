import type { Clock } from '../contract/clock.ts';
import type { WaitingPort } from '../contract/store.ts';

/** Tells a subscription when something of it is due; returns what ends that. */
export type Glance = (subscription: string, due: () => void) => () => void;

/**
 * Other processes put rows there, and nobody announces them: so it is looked time and again what is due. With a look of
 * its own each, a hundred idle subscriptions would cost a hundred reads and timers a second; they share one, which wakes
 * whom it concerns when his next row is due, not later than who put it there. Where the look fails all are woken: each
 * finds out by itself, and says that its store is away.
 */
export function createGlance({ waiting, clock, everyMs }: { waiting: Pick<WaitingPort, 'nextDue'>; clock: Clock; everyMs: number }): Glance {
  const watching = new Map<string, () => void>();
  /** When the next row of each is due, as of the last look; without those that have been told. */
  const dueMs = new Map<string, number>();
  let lookMs = clock.monotonic() + everyMs;
  let cancel: (() => void) | undefined;
  let looking = false;

  const goOn = (): void => {
    cancel?.();
    cancel = undefined;
    if (watching.size === 0 || looking) return;
    const nextMs = Math.min(lookMs, ...dueMs.values());
    cancel = clock.after(Math.max(0, nextMs - clock.monotonic()), turn);
  };

  const turn = (): void => {
    cancel = undefined;
    const nowMs = clock.monotonic();
    for (const [subscription, ms] of dueMs) {
      if (ms > nowMs) continue;
      dueMs.delete(subscription);
      watching.get(subscription)?.();
    }
    if (nowMs >= lookMs) void look();
    else goOn();
  };

  const look = async (): Promise<void> => {
    looking = true;
    dueMs.clear();
    try {
      const found = await waiting.nextDue();
      const nowMs = clock.monotonic();
      for (const [subscription, leftMs] of found) {
        const due = watching.get(subscription);
        if (due === undefined) continue;
        if (leftMs <= 0) due();
        else if (leftMs < everyMs) dueMs.set(subscription, nowMs + leftMs);
      }
    } catch {
      for (const due of watching.values()) due();
    }
    looking = false;
    lookMs = clock.monotonic() + everyMs;
    goOn();
  };

  return (subscription, due) => {
    watching.set(subscription, due);
    if (cancel === undefined) goOn();
    return () => {
      if (watching.get(subscription) === due) watching.delete(subscription);
      if (watching.size === 0) goOn();
    };
  };
}
