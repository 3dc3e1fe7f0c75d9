/**
 * Asks after a link that brings nothing. The SDK opens links again by itself after a cut, and tells nobody when it stands
 * still at that: so a silent link is asked for, over the same client, and what is found decides.
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import { isBusy } from './trouble.ts';

export interface Watched {
  readonly clock: Clock;
  /** Silence after which the link is asked after, and how long the answer may take, in milliseconds. */
  readonly silentMs: number;
  /** Whether something is there that the link should have brought. */
  missed(): Promise<boolean>;
  /** The `link` brings nothing of what is there, or nothing answers and the `client` is of no use: another one is watched from now on. */
  stuck(what: 'link' | 'client'): void;
}

export interface Watch {
  /** Something came. */
  heard(): void;
  end(): void;
}

export function watch({ clock, silentMs, missed, stuck }: Watched): Watch {
  const patience = new Patience(silentMs);
  let heard = false;
  let over = false;
  let cancel = (): void => {};
  const look = async (): Promise<void> => {
    heard = false;
    const found = await answerWithin(clock, patience.ms, missed()).catch((error: unknown) => (isBusy(error) ? false : undefined));
    if (over) return;
    if (found === undefined && !heard) patience.double();
    else patience.reset();
    if (!heard && found !== false) stuck(found ? 'link' : 'client');
    arm();
  };
  const arm = (): void => {
    heard = false;
    cancel = clock.after(silentMs, () => void (heard ? arm() : look()));
  };
  arm();
  return {
    heard: () => void (heard = true),
    end() {
      over = true;
      cancel();
    },
  };
}

/** The SDK waits no longer either. */
const patienceMaxMs = 60_000;

/** How long an answer may take. Where even a new client gives none in that time, it was too short: a slow network, a busy process. */
export class Patience {
  readonly #firstMs: number;
  ms: number;

  constructor(firstMs: number) {
    this.#firstMs = firstMs;
    this.ms = firstMs;
  }

  double(): void {
    this.ms = Math.max(this.#firstMs, Math.min(this.ms * 2, patienceMaxMs));
  }

  reset(): void {
    this.ms = this.#firstMs;
  }
}

/** What it resolves to, or undefined when that takes longer. */
export async function answerWithin<T>(clock: Clock, maxMs: number, work: Promise<T>): Promise<T | undefined> {
  const limit = new AbortController();
  try {
    return await Promise.race([work, sleep(clock, maxMs, limit.signal).then(() => undefined)]);
  } finally {
    limit.abort();
  }
}
