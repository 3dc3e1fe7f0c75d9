/**
 * Hints: a byte written to `wake/<service>` after a commit, seen by every process through one watch on the folder. They
 * make reading prompt and nothing else: a lost one costs the time until the next poll, a false one a look.
 *
 * Cost: 1 µs per byte, at most one a millisecond and process; where none is due, a comparison.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, statSync, watch, writeSync, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../contract/clock.ts';
import { wakeFolder } from './names.ts';

/** More often than this, nobody would be earlier: a reader takes all that is there. */
const pokeEveryMs = 1;
/** A file that was deleted under us is written to in vain; looked at this often, on the way. */
const checkEveryMs = 5_000;

export interface Poker {
  /** Says that the ledger has grown: now, or (so that the last one always counts) a millisecond later. Never throws. */
  poke(): void;
  close(): void;
}

export function createPoker(directory: string, service: string, clock: Clock): Poker {
  const file = join(wakeFolder(directory), service);
  let handle: number | undefined;
  let pokedMs = -Infinity;
  let checkedMs = -Infinity;
  let cancel: (() => void) | undefined;
  let closed = false;

  const reopen = (): number => {
    if (handle !== undefined) closeSync(handle);
    handle = undefined;
    mkdirSync(wakeFolder(directory), { recursive: true });
    // Not 'a': Linux appends there whatever the position (pwrite(2), BUGS), and the file would grow.
    handle = openSync(file, constants.O_RDWR | constants.O_CREAT, 0o666);
    return handle;
  };
  const isSame = (open: number): boolean => {
    const there = statSync(file, { throwIfNoEntry: false });
    return there !== undefined && there.ino === fstatSync(open).ino;
  };
  const write = (): void => {
    cancel = undefined;
    const nowMs = clock.monotonic();
    pokedMs = nowMs;
    try {
      if (nowMs - checkedMs >= checkEveryMs) {
        checkedMs = nowMs;
        if (handle === undefined || !isSame(handle)) reopen();
      }
      if (handle !== undefined) writeSync(handle, '.', 0);
    } catch {
      // A full disk, a folder that another user made: readers poll.
    }
  };

  return {
    poke() {
      if (closed || cancel !== undefined) return;
      if (clock.monotonic() - pokedMs >= pokeEveryMs) write();
      else cancel = clock.after(pokeEveryMs, write);
    },
    close() {
      closed = true;
      if (cancel !== undefined) {
        cancel();
        write();
      }
      if (handle !== undefined) closeSync(handle);
      handle = undefined;
    },
  };
}

/**
 * Watches the folder of hints. `hinted` gets the service's name, or undefined where the system does not tell which.
 * Returns undefined when the folder cannot be watched (no inotify watches left, say); `failed` when a watch breaks.
 */
export function watchHints(
  directory: string,
  hinted: (service: string | undefined) => void,
  failed: () => void,
): FSWatcher | undefined {
  try {
    mkdirSync(wakeFolder(directory), { recursive: true });
    const watcher = watch(wakeFolder(directory), (_event, file) => hinted(file ?? undefined));
    watcher.on('error', failed);
    return watcher;
  } catch {
    return undefined;
  }
}
