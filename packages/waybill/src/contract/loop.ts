import type { Clock } from './clock.ts';

/**
 * A loop that works while there is work, sleeps while there is none, and is woken by hints. Relay, waiting and
 * retention are loops. `turn` says how long to sleep: 0 = go on at once. A turn that throws is reported to `onError`
 * and followed by a pause that doubles from 100 ms to 30 s (or `pauseMaxMs`), jittered by half: trouble never makes a busy loop.
 */
export interface Loop {
  start(): void;
  /** A hint: the sleep ends now. Also during a turn: then the next one follows without sleep. */
  wake(): void;
  /** No further turn; resolves when the running one is over. */
  stop(): Promise<void>;
}

const pauseFirstMs = 100;
const pauseMaxDefaultMs = 30_000;

export function createLoop(options: {
  clock: Clock;
  turn: (signal: AbortSignal) => Promise<number>;
  onError: (error: unknown) => void;
  pauseMaxMs?: number;
}): Loop {
  const { clock, turn, onError, pauseMaxMs = pauseMaxDefaultMs } = options;
  const stopping = new AbortController();
  let running: Promise<void> | undefined;
  let hinted = false;
  let endSleep: (() => void) | undefined;

  const sleepFor = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const cancel = clock.after(ms, () => endSleep?.());
      endSleep = () => {
        endSleep = undefined;
        cancel();
        resolve();
      };
    });

  const run = async (): Promise<void> => {
    let pauseMs = pauseFirstMs;
    while (!stopping.signal.aborted) {
      let sleepMs: number;
      hinted = false;
      try {
        sleepMs = await turn(stopping.signal);
        pauseMs = pauseFirstMs;
      } catch (error) {
        if (stopping.signal.aborted) return;
        onError(error);
        hinted = false; // a hint must not turn trouble into a busy loop
        sleepMs = pauseMs * (0.5 + clock.random() / 2);
        pauseMs = Math.min(pauseMs * 2, pauseMaxMs);
      }
      if (stopping.signal.aborted) return;
      if (sleepMs > 0 && !hinted) await sleepFor(sleepMs);
      else await clock.turn();
    }
  };

  return {
    start() {
      running ??= run();
    },
    wake() {
      hinted = true;
      endSleep?.();
    },
    async stop() {
      stopping.abort();
      endSleep?.();
      await running;
    },
  };
}
