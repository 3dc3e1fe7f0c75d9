/**
 * The directory where services meet: which files are ledgers, and which of them have grown. One for all buses of a
 * process: one watch on the hints and one poller read each ledger's end, however many subscriptions there are.
 *
 * A ledger is a file whose name is a service's and whose identity names the same service; a copy under another name is
 * not, and neither is what cannot be read: it is told of once, tried again at each scan, and hurts no other.
 *
 * Cost at rest: per ledger and poll 4 µs for its end and 2 µs for its inode; a listing of the directory every 5 s.
 */
import { readdirSync, realpathSync, statSync, type FSWatcher } from 'node:fs';
import type { Clock } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import { watchHints } from './hints.ts';
import { openLedger, refusalOf, type Ledger, type Refusal } from './ledger.ts';
import { isServiceName, isStray, ledgerFile, serviceOfFile, wakeFolder } from './names.ts';

/** Behind the hints, which may be lost. */
const pollMaxMs = 250;
/** Where polls find what no hint announced (a network of file systems without events), they come this fast. */
const pollMinMs = 2;
const scanEveryMs = 5_000;
/** A file without tables is in the making for this long, and somebody else's afterwards. */
const makingMs = 4_000;

/** What a bus hears of the directory. */
export interface DirectoryListener {
  /** Found, or found again: then another object and perhaps another incarnation under the same name. */
  opened(ledger: Ledger): void;
  /** Its end is another than before. */
  moved(ledger: Ledger): void;
  /** Gone, or not to be read at present. */
  closed(ledger: Ledger): void;
  /** A file that is not read, and why: once, until it could be read. */
  refused(service: string, error: WaybillError): void;
}

export interface Directory {
  readonly path: string;
  readonly ledgers: ReadonlyMap<string, Ledger>;
  /** From now on the listener hears what happens, and the directory is watched and polled. Returns its end. */
  follow(listener: DirectoryListener): () => void;
  /** Looks for files now: whatever is there is opened. */
  scan(): void;
  /** A service's ledger as it is now; why it cannot be read; or undefined when there is no such file. */
  find(service: string): Ledger | Refusal | undefined;
  /** A hint: the ledger is looked at in the next turn. Without a name: all are. */
  hint(service?: string): void;
  /** Looks at all ends now, or at one: whoever follows hears of what moved. */
  look(ledger?: Ledger): void;
  /** A read of it went wrong: it is closed, told of, and tried again. */
  failed(ledger: Ledger, error: unknown): void;
  /** Gives it back; the last one closes it. */
  leave(): void;
}

interface Entry {
  readonly ledger: Ledger;
  pollMs: number;
  dueMs: number;
  hinted: boolean;
}

/** Directories by path, for those whose clocks tell the same time: a test's virtual one has its own. */
const entered = new Map<Clock['now'], Map<string, { readonly shared: Shared; users: number }>>();

/** Enters a directory that exists. */
export function enterDirectory(directory: string, clock: Clock): Directory {
  const path = realpathSync(directory);
  const known = entered.get(clock.now) ?? new Map<string, { readonly shared: Shared; users: number }>();
  entered.set(clock.now, known);
  const use = known.get(path) ?? { shared: new Shared(path, clock), users: 0 };
  known.set(path, use);
  use.users++;
  const { shared } = use;
  const ends = new Set<() => void>();
  let left = false;
  return {
    path,
    ledgers: shared.ledgers,
    follow(listener) {
      const end = shared.follow(listener);
      ends.add(end);
      return () => {
        ends.delete(end);
        end();
      };
    },
    scan: () => shared.scan(),
    find: (service) => shared.find(service),
    hint: (service) => shared.hint(service),
    look: (ledger) => shared.look(ledger),
    failed: (ledger, error) => shared.failed(ledger, error),
    leave() {
      if (left) return;
      left = true;
      for (const end of ends) end();
      if (--use.users > 0) return;
      shared.close();
      known.delete(path);
      if (known.size === 0) entered.delete(clock.now);
    },
  };
}

class Shared {
  readonly ledgers = new Map<string, Ledger>();
  readonly #path: string;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<DirectoryListener>();
  /** What is not read, by service or file name, and since when. */
  readonly #refused = new Map<string, { readonly error: WaybillError; readonly told: boolean; readonly sinceMs: number }>();
  readonly #hints = new Set<string>();
  #hintedAll = false;
  #flushing = false;
  #scannedMs = -Infinity;
  #watcher: { readonly watch: FSWatcher; readonly inode: number | undefined } | undefined;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
  }

  follow(listener: DirectoryListener): () => void {
    this.#listeners.add(listener);
    for (const ledger of this.ledgers.values()) listener.opened(ledger);
    for (const [name, refused] of this.#refused) if (refused.told) listener.refused(name, refused.error);
    this.#rewatch(); // before the scan: what comes in between is hinted
    this.scan();
    this.#arm();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#rest();
    };
  }

  scan(): void {
    if (this.#closed) return;
    this.#scannedMs = this.#clock.monotonic();
    if (this.#listeners.size > 0) this.#rewatch();
    let names: string[];
    try {
      names = readdirSync(this.#path);
    } catch (error) {
      const text = `the directory ${this.#path} cannot be listed (${(error as Error).message}): give this process the right to read it; what was found before goes on`;
      this.#refuse('.', { waiting: false, error: new WaybillError('STORE_UNREACHABLE', text, { cause: error }) });
      return;
    }
    this.#refused.delete('.');
    const found = new Set<string>();
    for (const name of names) {
      const service = serviceOfFile(name);
      if (service !== undefined) found.add(service);
      else if (isStray(name)) this.#refuseStray(name);
    }
    for (const service of this.ledgers.keys()) found.add(service);
    for (const service of this.#refused.keys()) if (!found.has(service) && !names.includes(service)) this.#refused.delete(service);
    for (const service of found) this.#meet(service);
  }

  find(service: string): Ledger | Refusal | undefined {
    return this.#meet(service);
  }

  hint(service?: string): void {
    if (this.#closed || this.#listeners.size === 0) return;
    if (service === undefined) this.#hintedAll = true;
    else this.#hints.add(service);
    if (this.#flushing) return;
    this.#flushing = true;
    void this.#clock.turn().then(() => this.#flush());
  }

  look(ledger?: Ledger): void {
    for (const entry of [...this.#entries.values()]) if (ledger === undefined || entry.ledger === ledger) this.#look(entry);
  }

  failed(ledger: Ledger, error: unknown): void {
    const entry = this.#entries.get(ledger.service);
    if (entry?.ledger !== ledger) return;
    const refusal = refusalOf(error, ledger.file, ledger.service);
    if (refusal.waiting) {
      entry.pollMs = pollMinMs;
      entry.dueMs = this.#clock.monotonic() + pollMinMs;
      this.#arm();
      return;
    }
    this.#drop(ledger);
    this.#refuse(ledger.service, refusal);
  }

  close(): void {
    this.#closed = true;
    this.#rest();
    for (const ledger of this.ledgers.values()) ledger.close();
    this.ledgers.clear();
    this.#entries.clear();
  }

  /** The file of a service, whether it is new, known, replaced or gone. */
  #meet(service: string): Ledger | Refusal | undefined {
    const known = this.ledgers.get(service);
    if (known !== undefined && !this.#isReplaced(known)) return known;
    const met = openLedger(ledgerFile(this.#path, service), service, this.#clock.now());
    if (known !== undefined) this.#drop(known);
    if (met === undefined) {
      this.#refused.delete(service);
      return undefined;
    }
    if ('error' in met) {
      this.#refuse(service, met);
      return met;
    }
    this.#refused.delete(service);
    this.ledgers.set(service, met);
    const dueMs = this.#clock.monotonic() + pollMaxMs;
    this.#entries.set(service, { ledger: met, pollMs: pollMaxMs, dueMs, hinted: false });
    for (const listener of [...this.#listeners]) listener.opened(met);
    return met;
  }

  #drop(ledger: Ledger): void {
    if (this.ledgers.get(ledger.service) !== ledger) return;
    this.ledgers.delete(ledger.service);
    this.#entries.delete(ledger.service);
    for (const listener of [...this.#listeners]) listener.closed(ledger);
    ledger.close();
  }

  #refuse(name: string, { error, waiting }: Pick<Refusal, 'error' | 'waiting'>): void {
    const nowMs = this.#clock.monotonic();
    const before = this.#refused.get(name);
    const same = before?.error.code === error.code;
    const sinceMs = same ? before.sinceMs : nowMs;
    // What may be a file in the making is told of when a later scan finds it unchanged; a lock never is.
    const ripe = !waiting || (error.code !== 'STORE_BUSY' && nowMs - sinceMs >= makingMs);
    const told = same && before.told;
    this.#refused.set(name, { error, told: told || ripe, sinceMs });
    if (ripe && !told) for (const listener of [...this.#listeners]) listener.refused(name, error);
  }

  #refuseStray(file: string): void {
    const text = `${this.#path}: ${file} is not read: a ledger is called after its service, in lower-case letters, digits and dashes. Keep other files in another directory`;
    this.#refuse(file, { waiting: false, error: new WaybillError('LEDGER_SKIPPED', text) });
  }

  #look(entry: Entry): boolean {
    const { ledger } = entry;
    try {
      if (!ledger.look(this.#clock.now())) return false;
    } catch (error) {
      this.failed(ledger, error);
      return false;
    }
    for (const listener of [...this.#listeners]) listener.moved(ledger);
    return true;
  }

  #flush(): void {
    this.#flushing = false;
    if (this.#closed) return;
    const names = this.#hintedAll ? [...this.#entries.keys()] : [...this.#hints];
    this.#hintedAll = false;
    this.#hints.clear();
    for (const name of names) {
      const entry = this.#entries.get(name);
      if (entry !== undefined) {
        entry.hinted = true;
        entry.pollMs = pollMaxMs;
        this.#look(entry);
      } else if (isServiceName(name) && this.#refused.get(name)?.told !== true) this.#meet(name); // else at the next scan
    }
  }

  #poll(): void {
    this.#cancel = undefined;
    const nowMs = this.#clock.monotonic();
    if (nowMs - this.#scannedMs >= scanEveryMs) this.scan();
    for (const entry of [...this.#entries.values()]) {
      if (entry.dueMs - nowMs > entry.pollMs / 4) continue; // nearly due ones come along, so that they fall together
      if (entry.pollMs === pollMaxMs && this.#isReplaced(entry.ledger)) {
        this.#meet(entry.ledger.service);
        continue;
      }
      const unannounced = this.#look(entry) && !entry.hinted;
      entry.pollMs = unannounced ? pollMinMs : Math.min(entry.pollMs * 2, pollMaxMs);
      entry.hinted = false;
      entry.dueMs = nowMs + entry.pollMs;
    }
    this.#arm();
  }

  #isReplaced(ledger: Ledger): boolean {
    try {
      return ledger.replaced();
    } catch (error) {
      this.failed(ledger, error);
      return false;
    }
  }

  /** Sleeps until the next look is due. */
  #arm(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#closed || this.#listeners.size === 0) return;
    const nowMs = this.#clock.monotonic();
    let dueMs = nowMs + pollMaxMs;
    for (const entry of this.#entries.values()) if (entry.dueMs < dueMs) dueMs = entry.dueMs;
    this.#cancel = this.#clock.after(Math.max(1, dueMs - nowMs), () => this.#poll());
  }

  /** The watch is on a folder, not on its name: one that was deleted and made again is watched anew. */
  #rewatch(): void {
    if (this.#watcher !== undefined && this.#watcher.inode === inodeOf(wakeFolder(this.#path))) return;
    this.#unwatch();
    const watch = watchHints(
      this.#path,
      (service) => this.hint(service),
      () => this.#unwatch(),
    );
    if (watch !== undefined) this.#watcher = { watch, inode: inodeOf(wakeFolder(this.#path)) };
  }

  #unwatch(): void {
    this.#watcher?.watch.close();
    this.#watcher = undefined;
  }

  #rest(): void {
    this.#unwatch();
    this.#cancel?.();
    this.#cancel = undefined;
  }
}

function inodeOf(path: string): number | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })?.ino;
  } catch {
    return undefined; // no right to look: watching it will not go either
  }
}
