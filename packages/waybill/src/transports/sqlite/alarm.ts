import type { Clock } from '../../contract/clock.ts';

/** Ends the sleep of whoever waits for news. `rings` tells one who is about to sleep whether he just missed some. */
export class Alarm {
  rings = 0;
  readonly #clock: Clock;
  readonly #sleepers = new Set<() => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  ring(): void {
    this.rings++;
    for (const wake of this.#sleepers) wake();
  }

  /** Until it rings, the time is up, or the signal is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        this.#sleepers.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const cancel = this.#clock.after(ms, done);
      this.#sleepers.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
