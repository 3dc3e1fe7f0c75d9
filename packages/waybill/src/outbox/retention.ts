import type { Clock } from '../contract/clock.ts';
import { type Loop, createLoop } from '../contract/loop.ts';

/** Rows to one delete: 4–5 ms on SQLite, so that nobody waits long for the file. */
const rowsMax = 500;
const everyMs = 60_000;
/** Between two pieces: what is too much for now is left to the next turn. */
const piecesMax = 200;

/**
 * Removes what has outlived its use, in small pieces, once a minute. Each piece answers how many rows it removed; a crash
 * between two leaves rows for the next turn, nothing else.
 */
export function createRetention(options: {
  clock: Clock;
  pieces: readonly ((rowsMax: number) => Promise<number>)[];
  trouble: (where: string, error: unknown) => void;
}): Loop {
  const { clock } = options;
  return createLoop({
    clock,
    onError: (error) => options.trouble('retention', error),
    async turn(signal) {
      for (const piece of options.pieces) {
        for (let i = 0; i < piecesMax && !signal.aborted; i++) {
          if ((await piece(rowsMax)) < rowsMax) break;
          await clock.turn();
        }
      }
      return everyMs;
    },
  });
}
