import type { Clock } from '../contract/clock.ts';
import type { Plan } from '../contract/handling.ts';
import type { Signals } from '../contract/signals.ts';

/**
 * A shared handler that takes longer gets a transaction of its own once it has done so three times more than in one of a
 * hundred runs; after three hundred runs that did not it shares again.
 */
const slowMs = 100;
const slowMax = 3;
const fastRuns = 100;

/** Whether a handler waits for something else than the database, by how long its runs take. */
export class Slowness {
  readonly #clock: Pick<Clock, 'monotonic'>;
  #count = 0;
  /** When a slow run was last heard of. */
  #heardMs = -Infinity;

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
  }

  /** To be told at the end of a run. Answers what the handler is, if that is certain. */
  took(ms: number): 'slow' | 'fast' | undefined {
    if (ms < slowMs) this.#count = Math.max(0, this.#count - 1 / fastRuns);
    else this.#hear(ms);
    if (this.#count >= slowMax) return 'slow';
    return this.#count === 0 ? 'fast' : undefined;
  }

  /** Runs beside each other are slow together, by a pause of the process or of the server: that counts once. */
  #hear(ms: number): void {
    const nowMs = this.#clock.monotonic();
    if (nowMs - ms < this.#heardMs) return;
    this.#heardMs = nowMs;
    this.#count = Math.min(this.#count + 1, slowMax);
  }
}

/** Gives a shared handler transactions of its own while it is slow; to be told how long each of its runs took. */
export function modeByPace({ plan, clock, signals }: { readonly plan: Plan; readonly clock: Clock; readonly signals: Signals }): (ms: number) => void {
  const slowness = new Slowness(clock);
  const mayShare = plan.mode === 'shared';
  return (ms) => {
    const is = slowness.took(ms);
    if (is === 'fast' && mayShare && plan.mode === 'own') plan.mode = 'shared';
    if (is !== 'slow' || plan.mode !== 'shared') return;
    plan.mode = 'own';
    signals.emit('slow-handler', { subscription: plan.name, tookMs: ms });
  };
}
