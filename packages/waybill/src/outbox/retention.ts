import type { Clock } from '../contract/clock.ts';
import { type Loop, createLoop } from '../contract/loop.ts';

/** Rows to one delete: 4–5 ms on SQLite, so that nobody waits long for the file. */
const rowsMax = 500;
const everyMs = 60_000;
/** Between two pieces: what is too much for now is left to the next turn. */
const piecesMax = 200;

/**
 * Removes what has outlived its use, in small pieces, once a minute. Each piece is told the time and answers how many rows
 * it removed; a crash between two leaves rows for the next turn, nothing else.
 *
 * The time is no later than this process knows to have passed: a wall clock that is set forward by a week must not remove
 * a week's messages. What then stays too long goes after a restart with a clock that is right.
 */
export function createRetention(options: {
  clock: Clock;
  pieces: readonly ((nowMs: number, rowsMax: number) => Promise<number>)[];
  trouble: (where: string, error: unknown) => void;
}): Loop {
  const { clock } = options;
  const began = { wallMs: clock.now(), monotonicMs: clock.monotonic() };
  const nowMs = (): number => Math.min(clock.now(), began.wallMs + clock.monotonic() - began.monotonicMs);
  return createLoop({
    clock,
    onError: (error) => options.trouble('retention', error),
    async turn(signal) {
      for (const piece of options.pieces) {
        for (let i = 0; i < piecesMax && !signal.aborted; i++) {
          if ((await piece(nowMs(), rowsMax)) < rowsMax) break;
          await clock.turn();
        }
      }
      return everyMs;
    },
  });
}
