/**
 * The door: a courtesy beside SQLite's write lock, so that nobody starves. SQLite's lock has no queue: whoever asks at
 * the right moment gets it, and a writer that works without pause is always there at the right moment (measured: a small
 * writer beside it waited 1.4–2.5 s). So a writer that has held the lock for 2 ms in all waits in the doorway next time,
 * behind those who stand there already. The doorway is the lock of an empty SQLite file, `<file>-turn`, which is never
 * written: the kernel frees it when its holder dies, and a holder that is frozen delays the others by 250 ms each time,
 * nothing more, because the door guards no data.
 *
 * Waits here are the machine's, never a bus's virtual time: what is waited for is another process.
 */
import { DatabaseSync } from 'node:sqlite';
import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import type { StatementSync } from 'node:sqlite';
import { WaybillError } from '../../contract/errors.ts';
import { asStoreError, isBusy } from './errors.ts';

/** After holding the lock for this long in all, a writer goes through the door: 50 small transactions, or one batch. */
const debtMaxMs = 2;
/** As long as a frozen process in the doorway may delay one transaction. */
const doorMaxMs = 250;
/**
 * An empty file is a database that SQLite begins to write as soon as it may; with a journal on disk each pass made and
 * removed a file (90 µs of processor time instead of 10, and 300 instead of 30 on the clock).
 */
const journal = 'pragma journal_mode = memory';
/** Asked at every turn of the event loop this long, since most holds are shorter; then every millisecond. */
const eagerMs = 1;

/** One connection's way to `begin immediate`. */
export class Door {
  /** How long the lock was held since the last time in the doorway, in milliseconds. */
  #debtMs = 0;
  readonly #begin: StatementSync;
  readonly #doorway: Doorway | undefined;
  readonly #file: string;

  constructor(connection: DatabaseSync, file: string) {
    this.#file = file;
    this.#begin = connection.prepare('begin immediate');
    this.#doorway = file === ':memory:' ? undefined : Doorway.open(file); // in memory there is nobody else
  }

  /** The usual case: begins at once, 4 µs. False when it is somebody else's turn. */
  tryBegin(): boolean {
    return this.#debtMs < debtMaxMs && this.#tryLock();
  }

  /** Begins within `waitMs`. @throws WaybillError `STORE_BUSY` */
  async begin(waitMs: number): Promise<void> {
    if (this.tryBegin()) return;
    const deadlineMs = performance.now() + waitMs;
    this.#debtMs = 0;
    await turn(); // a loop of transactions must not keep timers and sockets waiting
    const inDoorway = (await this.#doorway?.enter()) ?? false;
    try {
      await this.#wait(deadlineMs, waitMs);
    } finally {
      if (inDoorway) this.#doorway?.leave();
    }
  }

  /** The lock was given back after `heldMs`. */
  left(heldMs: number): void {
    this.#debtMs += heldMs;
  }

  close(): void {
    this.#doorway?.close();
  }

  async #wait(deadlineMs: number, waitMs: number): Promise<void> {
    const eagerUntilMs = performance.now() + eagerMs;
    while (!this.#tryLock()) {
      const nowMs = performance.now();
      if (nowMs > deadlineMs) throw busy(this.#file, waitMs);
      await (nowMs < eagerUntilMs ? turn() : sleep(1));
    }
  }

  #tryLock(): boolean {
    try {
      this.#begin.run();
      return true;
    } catch (error) {
      if (isBusy(error)) return false;
      throw asStoreError(error, this.#file);
    }
  }
}

export function busy(file: string, waitedMs: number): WaybillError {
  return new WaybillError(
    'STORE_BUSY',
    `${file} was locked for ${Math.round(waitedMs / 1000)} s by another transaction of this service: keep transactions short, with no I/O inside.`,
  );
}

class Doorway {
  readonly #connection: DatabaseSync;
  readonly #lock: StatementSync;
  readonly #unlock: StatementSync;

  private constructor(connection: DatabaseSync) {
    this.#connection = connection;
    this.#lock = connection.prepare('begin immediate');
    this.#unlock = connection.prepare('rollback');
  }

  /** Undefined where it cannot be opened (a folder or disk that takes no new file): courtesy is no condition. */
  static open(file: string): Doorway | undefined {
    const path = `${file}-turn`;
    try {
      createLike(file, path);
      const connection = new DatabaseSync(path, { timeout: 0 });
      try {
        connection.exec(journal);
        return new Doorway(connection);
      } catch {
        connection.close();
      }
    } catch {
      // see above
    }
    return undefined;
  }

  /** True once this process stands in the doorway, false after 250 ms: then it goes without. */
  async enter(): Promise<boolean> {
    const deadlineMs = performance.now() + doorMaxMs;
    for (let tries = 0; ; tries++) {
      try {
        this.#lock.run();
        return true;
      } catch (error) {
        if (!isBusy(error) || performance.now() > deadlineMs) return false;
      }
      await (tries < 2 ? turn() : sleep(1 + 2 * Math.random())); // jitter: two that wait must not keep step
    }
  }

  leave(): void {
    this.#unlock.run();
  }

  close(): void {
    this.#connection.close();
  }
}

/** Where users of one group share the files, the doorway needs the database's mode; the umask would take it away. */
function createLike(file: string, path: string): void {
  let created: number;
  try {
    created = openSync(path, 'wx'); // never opens one that exists: closing that would drop this process's locks on it (POSIX)
  } catch {
    return; // it exists; or the next step says why not
  }
  closeSync(created);
  chmodSync(path, statSync(file).mode & 0o777);
}
