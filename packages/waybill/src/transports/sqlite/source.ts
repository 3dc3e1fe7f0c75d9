/**
 * One ledger as one subscription reads it: an anchored cursor, and the rows between what is settled and what is read.
 *
 *     locating ──first row found, or the end──► reading ──end reached──► at rest
 *        ▲                                        │ ▲                       │
 *        │                                        │ └────── it moved ───────┘
 *        └── rewound, or another incarnation ─────┘
 *
 * The anchored cursor: a read starts *at* the last row that was read and compares its id, so that a ledger that was
 * restored, swapped or trimmed is noticed at each read and nothing is stepped over. The position that is stored follows
 * the rows that are settled without a gap; what is settled beyond one is read again after a crash, and the inbox drops
 * it. Where all is settled the position follows the cursor, which runs over rows of other types.
 */
import { heartbeatType } from '../../contract/control.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { SourceProgress } from '../../contract/transport.ts';
import type { Leaving } from './lease.ts';
import { windowPositions, windowRows, type Ledger, type LedgerRow, type Place } from './ledger.ts';
import { OpenRows, type Doubt, type Row } from './open-rows.ts';
import type { StoredPlace } from './positions.ts';
import { isWanted, type Wanted } from './wanted.ts';

/** Rows read and not settled: bounds memory, and what is suspect after a crash. */
const openRowsMax = 2_000;
/** Rows of the first read, and bytes that one read should stay under: bodies may have a megabyte. */
const rowsFirst = 16;
const bytesGoal = 4 * 1024 * 1024;
/** Windows that one call looks through for where to begin: a millisecond or so. */
const windowsPerCall = 8;
/** A stored position that lags further behind the cursor, or for longer, is written although nothing was handled. */
const idlePositionsMax = 10_000;
const idleMaxMs = 60_000;
/** Rows ahead are counted up to here. */
const countMax = 10_000;

/** On the way to where the subscription begins: the first row written since. */
interface Search {
  readonly why: 'late' | 'recreated' | 'rewound';
  /** Looked through up to here; undefined before the first look. */
  position: number | undefined;
  trimmedTo: number;
}

/** What was perhaps in flight when the holder before left: rows read first, up to `upTo`, written before `beforeMs`. */
interface Suspects {
  left: number;
  readonly upTo: number;
  readonly beforeMs: number;
  readonly suspect: boolean;
}

export class Source {
  readonly name: string;
  /** Undefined while the file is gone or cannot be read: its place is kept. */
  ledger: Ledger | undefined;
  /** Whether there may be something to read. */
  dirty = true;
  /** Whether the last `take` ended although there was more to look through: time to let others have their turn. */
  unfinished = false;
  #wanted: Wanted;
  readonly #report: (error: WaybillError) => void;
  /** Looks at the ledger's end now, for everybody. */
  readonly #look: (ledger: Ledger) => void;
  #incarnation: string;
  /** Read up to here. */
  #cursor: Place = { position: 0, anchor: null };
  #locating: Search | undefined;
  #open: OpenRows;
  #stored: StoredPlace | undefined;
  #storedMs: number;
  #rowsMax = rowsFirst;
  #suspects: Suspects | undefined;
  /** Up to here rows may have been seen before. */
  #seenUpTo = 0;
  #appliedUntilMs = 0;

  constructor(options: {
    readonly ledger: Ledger;
    readonly wanted: Wanted;
    readonly stored: StoredPlace | undefined;
    readonly predecessor: Leaving;
    readonly grantedMs: number;
    readonly report: (error: WaybillError) => void;
    readonly look: (ledger: Ledger) => void;
    readonly nowMs: number;
  }) {
    const { ledger, stored, predecessor } = options;
    this.name = ledger.service;
    this.#open = new OpenRows(this.name);
    this.ledger = ledger;
    this.#wanted = options.wanted;
    this.#report = options.report;
    this.#look = options.look;
    this.#incarnation = ledger.incarnation;
    this.#stored = stored;
    this.#storedMs = options.nowMs;
    if (predecessor !== 'clean') {
      const suspect = predecessor === 'crashed';
      this.#suspects = { left: openRowsMax, upTo: ledger.head.position, beforeMs: options.grantedMs, suspect };
    }
    if (stored?.incarnation === ledger.incarnation) this.#cursor = stored;
    else this.#locate(ledger, stored === undefined ? 'late' : 'recreated');
  }

  /** The ledger again, after it was gone, unreadable or replaced. */
  attach(ledger: Ledger): void {
    this.ledger = ledger;
    this.dirty = true;
    if (ledger.incarnation === this.#incarnation) return; // the anchor tells whether it was restored
    this.#incarnation = ledger.incarnation;
    this.#locate(ledger, 'recreated');
  }

  /** Its end moved: true when nothing of what is new is wanted, and there is nothing to do. */
  skips(): boolean {
    if (this.dirty || this.#locating !== undefined || this.ledger === undefined) return false;
    const end = this.ledger.past(this.#cursor, this.#wanted.names);
    if (end === undefined) return false;
    this.#cursor = end;
    return true;
  }

  /** Less is taken from now on: what was read and not given out is looked at again. */
  narrow(wanted: Wanted): void {
    this.#wanted = wanted;
    for (const row of this.#open) if (row.state === 'ready' && !isWanted(wanted, row)) this.#open.settle(row);
  }

  /** More is taken from now on: goes back to what is stored, because the cursor ran over rows that are now wanted. */
  reset(wanted: Wanted, stored: StoredPlace | undefined): void {
    this.#wanted = wanted;
    this.#stored = stored;
    this.dirty = true;
    if (this.#locating !== undefined) return;
    this.#forget();
    this.#seenUpTo = Math.max(this.#seenUpTo, this.#cursor.position);
    if (this.#suspects !== undefined) this.#suspects = { ...this.#suspects, left: openRowsMax };
    if (stored?.incarnation === this.#incarnation) this.#cursor = stored;
    else if (this.ledger !== undefined) this.#locate(this.ledger, 'late');
  }

  /** Up to `max` rows, in order; reads on where none are at hand. Throws what reading throws. */
  take(max: number): Row[] {
    let taken = this.#open.take(max);
    this.unfinished = false;
    for (let windows = 0; taken.length === 0 && this.dirty; windows++) {
      this.unfinished = windows === windowsPerCall;
      if (this.unfinished || !this.#read()) break;
      taken = this.#open.take(max);
    }
    return taken;
  }

  /** One window on; false when nothing more can be read now. */
  #read(): boolean {
    const { ledger } = this;
    if (ledger === undefined) return false;
    if (this.#locating !== undefined) return this.#search(ledger, this.#locating);
    const rowsMax = Math.min(this.#rowsMax, openRowsMax - this.#open.size);
    if (rowsMax <= 0) return false; // dirty still: goes on when some are settled
    const { position, anchor } = this.#cursor;
    const { head } = ledger;
    if (head.position === position && head.anchor === anchor) {
      this.dirty = false;
      return false;
    }
    const end = Math.min(position + windowPositions, Math.max(head.position, position));
    const { names, recipient } = this.#wanted;
    const rows = ledger.window(position, end, recipient, names, anchor === null ? rowsMax : rowsMax + 1);
    if (!this.#isAnchored(ledger, rows[0])) return true;
    if (rows[0]?.position === position) rows.shift();
    this.#advance(ledger, rows, { end, isFull: rows.length >= rowsMax, isHead: end === head.position });
    return true;
  }

  /** Compares the row at the cursor; if it is another one, or none, finds out why and where to go on. */
  #isAnchored(ledger: Ledger, first: LedgerRow | undefined): boolean {
    const { position, anchor } = this.#cursor;
    const there = first?.position === position ? first.id : null;
    if (anchor !== null && there === anchor) return true;
    const trimmedTo = ledger.trimmedTo();
    if (position < trimmedTo) {
      this.#report(trimmed(this.#wanted.subscription, ledger, `rows ${position + 1} to ${trimmedTo}`));
      this.#cursor = { position: trimmedTo, anchor: null };
      return false;
    }
    const mayBeBare = anchor === null || position === trimmedTo; // before the first row, or that one was trimmed
    if (mayBeBare && there === null && position <= ledger.head.position) {
      this.#cursor = { position, anchor: null };
      return true;
    }
    this.#report(rewound(this.#wanted.subscription, ledger, position));
    this.#look(ledger);
    this.#locate(ledger, 'rewound');
    return false;
  }

  #advance(ledger: Ledger, rows: readonly LedgerRow[], window: { readonly end: number; readonly isFull: boolean; readonly isHead: boolean }): void {
    const before = this.#cursor;
    const last = rows.at(-1);
    const endsAtRow = last !== undefined && (window.isFull || last.position === window.end);
    if (endsAtRow) this.#cursor = { position: last.position, anchor: last.id };
    else this.#cursor = window.isHead ? ledger.head : ledger.placeAt(window.end);
    let bytes = 0;
    for (const row of rows) {
      bytes += row.body?.length ?? 0;
      if (isWanted(this.#wanted, row)) this.#open.add(row, this.#doubt(row), before);
    }
    if (bytes > bytesGoal) this.#rowsMax = Math.max(1, Math.floor((rows.length * bytesGoal) / bytes));
    else if (window.isFull && bytes * 2 <= bytesGoal) this.#rowsMax = Math.min(windowRows, this.#rowsMax * 2);
  }

  #doubt({ position, appended }: LedgerRow): Doubt {
    const suspects = this.#suspects;
    if (suspects !== undefined && suspects.left > 0 && position <= suspects.upTo && appended <= suspects.beforeMs) {
      suspects.left--;
      return { redelivered: true, suspect: suspects.suspect };
    }
    return { redelivered: position <= this.#seenUpTo, suspect: false };
  }

  /** Begins anew in this ledger: at the first row written since the subscription began. */
  #locate(ledger: Ledger, why: Search['why']): void {
    this.#forget();
    const end = ledger.head.position;
    if (why !== 'late') this.#seenUpTo = Math.max(this.#cursor.position, end);
    if (this.#suspects !== undefined) this.#suspects = { ...this.#suspects, left: openRowsMax, upTo: end };
    this.#locating = { why, position: undefined, trimmedTo: 0 };
    this.dirty = true;
  }

  #search(ledger: Ledger, search: Search): boolean {
    if (search.position === undefined) search.position = search.trimmedTo = ledger.trimmedTo();
    const { begunMs } = this.#wanted;
    if (begunMs <= 0) {
      this.#begin({ position: search.trimmedTo, anchor: null });
      return true;
    }
    const { head } = ledger;
    const end = Math.min(search.position + windowPositions, head.position);
    const found = end > search.position ? ledger.firstSince(search.position, end, begunMs) : undefined;
    if (found !== undefined) this.#begin(ledger.placeAt(found - 1));
    else if (end >= head.position) this.#begin(head);
    else search.position = end;
    if (search.why !== 'rewound' && search.trimmedTo > 0 && found === search.trimmedTo + 1) {
      const rows = `rows up to ${search.trimmedTo}, of which some may be newer than the subscription,`;
      this.#report(trimmed(this.#wanted.subscription, ledger, rows));
    }
    return true;
  }

  #begin(place: Place): void {
    this.#locating = undefined;
    this.#cursor = place;
  }

  /** What is open is void, given out or not. */
  #forget(): void {
    this.#open = new OpenRows(this.name);
  }

  /** The place to store once the rows of a transaction are settled, too; undefined when it is stored already. */
  placeAfter(settling?: object): StoredPlace | undefined {
    if (this.#locating !== undefined) return undefined;
    const settled = this.#open.placeAfter(settling);
    const { position, anchor } = settled === 'end' ? this.#cursor : settled;
    const stored = this.#stored;
    const same = stored?.position === position && stored.incarnation === this.#incarnation && stored.anchor === anchor;
    return same ? undefined : { source: this.name, incarnation: this.#incarnation, position, anchor };
  }

  /** The place, when it has run so far ahead of the stored one that retention might mistake the reader for absent. */
  due(nowMs: number): StoredPlace | undefined {
    const place = this.placeAfter();
    if (place === undefined) return undefined;
    const stored = this.#stored;
    if (stored === undefined || stored.incarnation !== place.incarnation) return place;
    const isFar = Math.abs(place.position - stored.position) > idlePositionsMax;
    return isFar || nowMs - this.#storedMs >= idleMaxMs ? place : undefined;
  }

  stored(place: StoredPlace, nowMs: number): void {
    this.#stored = place;
    this.#storedMs = nowMs;
  }

  /** Everything that was given out and is not settled comes again. */
  releaseAll(): void {
    this.#open.releaseAll();
  }

  /** Whether `take` may find something. */
  get isPromising(): boolean {
    return this.#open.ready > 0 || (this.dirty && this.ledger !== undefined && this.#open.size < openRowsMax);
  }

  /** Whether a row is of this reading: not of before a rewind, or before more was declared, or of an earlier hold. */
  knows(row: Row): boolean {
    return row.among === this.#open;
  }

  /** What a successor must know: whether it may meet rows that were given out before, or that are suspect still. */
  get leaving(): Leaving {
    const suspects = this.#suspects;
    const isUnread = suspects !== undefined && suspects.left > 0 && this.#cursor.position < suspects.upTo;
    const open = [...this.#open];
    if ((isUnread && suspects.suspect) || open.some((row) => row.suspect && row.state !== 'settled')) return 'crashed';
    return isUnread || open.some((row) => row.state !== 'ready' || row.redelivered) ? 'beyond' : 'clean';
  }

  /** Nothing is left of what the ledger had at `end`. */
  hasPassed(end: number): boolean {
    return this.#locating === undefined && this.#open.size === 0 && this.#cursor.position >= end;
  }

  progress(): SourceProgress {
    const { ledger } = this;
    const isAtEnd = ledger !== undefined && this.#locating === undefined && ledger.head.position === this.#cursor.position;
    let untilMs = isAtEnd ? ledger.lookedMs : this.#open.settledMs - 1;
    let open = 0;
    for (const row of this.#open) {
      if (row.state !== 'settled') untilMs = Math.min(untilMs, row.publishedMs - 1);
      if (row.type !== heartbeatType) open++;
    }
    this.#appliedUntilMs = Math.max(this.#appliedUntilMs, untilMs);
    return { source: this.name, appliedUntilMs: this.#appliedUntilMs, waiting: this.#ahead(ledger, open) };
  }

  /** @param open messages that were read and not settled */
  #ahead(ledger: Ledger | undefined, open: number): number | undefined {
    if (ledger === undefined || this.#locating !== undefined) return undefined;
    const distance = ledger.head.position - this.#cursor.position;
    if (distance <= 0) return open;
    if (distance > countMax) return undefined;
    const { recipient, counted } = this.#wanted;
    if (counted.length === 0) return open;
    try {
      return Math.min(countMax, open + ledger.count(this.#cursor.position, recipient, counted, countMax));
    } catch {
      return undefined; // reading it tells
    }
  }
}

function trimmed(subscription: string, ledger: Ledger, rows: string): WaybillError {
  return new WaybillError(
    'LEDGER_TRIMMED',
    `${subscription} was away for longer than '${ledger.service}' keeps its ledger: ${rows} are gone, and it goes on after them. Ask '${ledger.service}' for the state that they told of`,
  );
}

function rewound(subscription: string, ledger: Ledger, position: number): WaybillError {
  return new WaybillError(
    'LEDGER_REWOUND',
    `the ledger of '${ledger.service}' went back in time (restored from a backup?): ${subscription} had read up to row ${position}, which is another one now. It is read again; what was applied is dropped. Compare both sides: effects of messages that the restore lost stand`,
  );
}
