import type { Clock } from '../contract/clock.ts';
import type { WaitingPort } from '../contract/store.ts';

/** When something is due next, looked up for all subscriptions of a process at once. */
export type Glance = (subscription: string) => Promise<Glanced>;

export interface Glanced {
  /** Until the subscription's next row is due, from now on; 0 and less when one is. Undefined where nothing waits. */
  readonly dueMs: number | undefined;
  /** So long this is as good as a look of one's own: others may write rows, too. */
  readonly freshMs: number;
}

/**
 * A subscription that has nothing to do looks for what another process put there, time and again: with a read of its own
 * each, a hundred idle subscriptions would cost the database a hundred reads a second. They share one: who comes while it
 * is under way waits for it, who comes later finds it until it is `everyMs` old. A look that fails fails for all who
 * waited, and is made again by the next.
 */
export function createGlance({ waiting, clock, everyMs }: { waiting: Pick<WaitingPort, 'nextDue'>; clock: Clock; everyMs: number }): Glance {
  let askedMs = -Infinity;
  let found: Promise<ReadonlyMap<string, number>> | undefined;
  return async (subscription) => {
    if (found === undefined || clock.monotonic() - askedMs >= everyMs) {
      askedMs = clock.monotonic();
      const asked = waiting.nextDue();
      found = asked;
      asked.catch(() => {
        if (found === asked) found = undefined;
      });
    }
    const atMs = askedMs;
    const leftMs = (await found).get(subscription);
    const sinceMs = clock.monotonic() - atMs;
    return { dueMs: leftMs === undefined ? undefined : leftMs - sinceMs, freshMs: Math.max(0, everyMs - sinceMs) };
  };
}
