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
import { WaybillError } from '../../contract/errors.ts';
import type { MessageKind } from '../../contract/message.ts';
import type { Delivery, SourceProgress } from '../../contract/transport.ts';
import { headersOf } from './headers.ts';
import type { Leaving } from './lease.ts';
import { windowPositions, windowRows, type Ledger, type LedgerRow, type Place } from './ledger.ts';
import type { StoredPlace } from './positions.ts';
import { droppedGraceMs, type DeclaredType } from './subscriptions.ts';

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

/** What a subscription takes, prepared for reading. */
export interface Wanted {
  readonly subscription: string;
  readonly recipient: string;
  readonly names: readonly string[];
  readonly types: ReadonlyMap<string, DeclaredType>;
  /** When the subscription began: a ledger that appears later is read from then on. 0: from its beginning. */
  readonly begunMs: number;
  /** Wall time at which a dropped type is not taken any more, so that this is out of date. */
  readonly untilMs: number;
}

export function wantedOf(subscription: string, recipient: string, declared: readonly DeclaredType[], nowMs: number): Wanted {
  const taken = declared.filter(({ dropped }) => dropped === null || dropped > nowMs - droppedGraceMs);
  return {
    subscription,
    recipient,
    names: taken.map(({ type }) => type),
    types: new Map(taken.map((row) => [row.type, row])),
    begunMs: Math.min(...declared.map(({ started }) => started)),
    untilMs: Math.min(...taken.map(({ dropped }) => (dropped === null ? Infinity : dropped + droppedGraceMs))),
  };
}

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

type RowState = 'ready' | 'given' | 'settled';

/** A delivery that knows where it stands. */
export class Row implements Delivery {
  readonly source: Source;
  /** Of the source's reading: after a rewind the same position is another row's. */
  readonly reading: number;
  readonly position: number;
  readonly id: string;
  readonly kind: MessageKind;
  readonly type: string;
  /** When its publisher wrote it. */
  readonly appended: number;
  /** When it was published; a delayed one is written later. */
  readonly publishedMs: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  redelivered: boolean;
  readonly suspect: boolean;
  state: RowState = 'ready';
  /** The transaction that settles it, if it commits. */
  settling: object | undefined;

  constructor(source: Source, reading: number, row: LedgerRow, doubt: { readonly redelivered: boolean; readonly suspect: boolean }) {
    this.source = source;
    this.reading = reading;
    this.position = row.position;
    this.id = row.id;
    this.kind = row.kind as MessageKind;
    this.type = row.type;
    this.appended = row.appended;
    this.publishedMs = Math.min(row.time, row.appended);
    this.headers = headersOf(row.headers);
    this.body = row.body ?? empty;
    this.redelivered = doubt.redelivered;
    this.suspect = doubt.suspect;
  }
}

const empty = new Uint8Array();

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
  #reading = 1;
  /** In order: from the oldest that is not settled to the newest that was read. */
  #rows: Row[] = [];
  #first = 0;
  #next = 0;
  #ready = 0;
  /** Settled up to here, while rows are open. */
  #settled: Place | undefined;
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

  /** Less is taken from now on: what was read and not given out is looked at again. */
  narrow(wanted: Wanted): void {
    this.#wanted = wanted;
    for (const row of this.#rows.slice(this.#first)) if (row.state === 'ready' && !this.#isWanted(row)) this.settle(row);
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
    const taken: Row[] = [];
    this.#collect(taken, max);
    this.unfinished = false;
    for (let windows = 0; taken.length === 0 && this.dirty; windows++) {
      this.unfinished = windows === windowsPerCall;
      if (this.unfinished || !this.#read()) break;
      this.#collect(taken, max);
    }
    return taken;
  }

  #collect(taken: Row[], max: number): void {
    for (; this.#next < this.#rows.length && taken.length < max; this.#next++) {
      const row = this.#rows[this.#next]!;
      if (row.state !== 'ready') continue;
      row.state = 'given';
      this.#ready--;
      taken.push(row);
    }
  }

  /** One window on; false when nothing more can be read now. */
  #read(): boolean {
    const { ledger } = this;
    if (ledger === undefined) return false;
    if (this.#locating !== undefined) return this.#search(ledger, this.#locating);
    const rowsMax = Math.min(this.#rowsMax, openRowsMax - (this.#rows.length - this.#first));
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
    const last = rows.at(-1);
    if (this.#settled === undefined && this.#first === this.#rows.length) this.#settled = this.#cursor;
    if (window.isFull && last !== undefined) this.#cursor = { position: last.position, anchor: last.id };
    else if (last?.position === window.end) this.#cursor = { position: last.position, anchor: last.id };
    else this.#cursor = window.isHead ? ledger.head : ledger.placeAt(window.end);
    let bytes = 0;
    for (const row of rows) {
      bytes += row.body?.length ?? 0;
      if (!this.#isWanted(row)) continue;
      this.#rows.push(new Row(this, this.#reading, row, this.#doubt(row)));
      this.#ready++;
    }
    if (bytes > bytesGoal) this.#rowsMax = Math.max(1, Math.floor((rows.length * bytesGoal) / bytes));
    else if (window.isFull && bytes * 2 <= bytesGoal) this.#rowsMax = Math.min(windowRows, this.#rowsMax * 2);
    if (this.#first === this.#rows.length) this.#settled = undefined;
  }

  #isWanted(row: { readonly type: string; readonly kind: string; readonly appended: number }): boolean {
    const declared = this.#wanted.types.get(row.type);
    if (declared === undefined || declared.kind !== row.kind) return false;
    // A type of the first declaration begins at a position, one that was added later at its time.
    if (declared.started > this.#wanted.begunMs && row.appended < declared.started) return false;
    return declared.stopped === null || row.appended <= declared.stopped;
  }

  #doubt({ position, appended }: LedgerRow): { readonly redelivered: boolean; readonly suspect: boolean } {
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

  #forget(): void {
    this.#reading++;
    this.#rows = [];
    this.#first = 0;
    this.#next = 0;
    this.#ready = 0;
    this.#settled = undefined;
  }

  /** The place to store once these rows are settled beside those that are; undefined when it is stored already. */
  placeAfter(settling?: object): StoredPlace | undefined {
    if (this.#locating !== undefined) return undefined;
    let place = this.#first === this.#rows.length ? this.#cursor : this.#settled;
    for (let at = this.#first; at < this.#rows.length; at++) {
      const row = this.#rows[at]!;
      if (row.state !== 'settled' && (settling === undefined || row.settling !== settling)) break;
      place = at === this.#rows.length - 1 ? this.#cursor : { position: row.position, anchor: row.id };
    }
    if (place === undefined) return undefined;
    const stored = this.#stored;
    const same = stored?.position === place.position && stored.incarnation === this.#incarnation && stored.anchor === place.anchor;
    return same ? undefined : { source: this.name, incarnation: this.#incarnation, ...place };
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

  settle(row: Row): void {
    if (!this.knows(row) || row.state === 'settled') return;
    if (row.state === 'ready') this.#ready--;
    row.state = 'settled';
    const before = this.#first;
    for (; this.#first < this.#rows.length && this.#rows[this.#first]!.state === 'settled'; this.#first++) {
      const { position, id, publishedMs } = this.#rows[this.#first]!;
      this.#settled = { position, anchor: id };
      this.#applied(publishedMs - 1);
    }
    if (this.#first === before) return;
    if (this.#first === this.#rows.length) {
      this.#rows = [];
      this.#first = 0;
      this.#next = 0;
      this.#settled = undefined;
    } else if (this.#first >= windowRows) {
      this.#rows.splice(0, this.#first);
      this.#next = Math.max(0, this.#next - this.#first);
      this.#first = 0;
    }
  }

  release(row: Row): void {
    if (!this.knows(row) || row.state !== 'given') return;
    row.state = 'ready';
    this.#ready++;
    row.redelivered = true;
    row.settling = undefined;
    const at = this.#rows.indexOf(row, this.#first);
    this.#next = Math.min(this.#next, at);
  }

  /** Everything that was given out and is not settled comes again. */
  releaseAll(): void {
    for (const row of this.#rows.slice(this.#first)) this.release(row);
  }

  /** Whether `take` may find something. */
  get isPromising(): boolean {
    return this.#ready > 0 || (this.dirty && this.ledger !== undefined && this.open < openRowsMax);
  }

  /** Whether a row is of this reading: not of before a rewind, a reset, or in another source's place. */
  knows(row: Row): boolean {
    return row.source === this && row.reading === this.#reading;
  }

  /** Rows read and not settled. */
  get open(): number {
    return this.#rows.length - this.#first;
  }

  /** What a successor must know: whether it may meet rows that were given out before, or that are suspect still. */
  get leaving(): Leaving {
    const open = this.#rows.slice(this.#first);
    const unread = this.#suspects !== undefined && this.#suspects.left > 0 && this.#cursor.position < this.#suspects.upTo;
    if ((unread && this.#suspects?.suspect === true) || open.some((row) => row.suspect && row.state !== 'settled')) return 'crashed';
    return unread || open.some((row) => row.state !== 'ready' || row.redelivered) ? 'beyond' : 'clean';
  }

  /** Nothing is left of what the ledger had at `end`. */
  hasPassed(end: number): boolean {
    return this.#locating === undefined && this.open === 0 && this.#cursor.position >= end;
  }

  progress(): SourceProgress {
    const { ledger } = this;
    const isAtEnd = ledger !== undefined && this.#locating === undefined && ledger.head.position === this.#cursor.position;
    let untilMs = isAtEnd ? ledger.lookedMs : 0;
    for (let at = this.#first; at < this.#rows.length; at++) {
      const row = this.#rows[at]!;
      if (row.state !== 'settled') untilMs = Math.min(untilMs, row.publishedMs - 1);
    }
    this.#applied(untilMs);
    return { source: this.name, appliedUntilMs: this.#appliedUntilMs, waiting: this.#ahead(ledger) };
  }

  #applied(untilMs: number): void {
    this.#appliedUntilMs = Math.max(this.#appliedUntilMs, untilMs);
  }

  #ahead(ledger: Ledger | undefined): number | undefined {
    if (ledger === undefined || this.#locating !== undefined) return undefined;
    const distance = ledger.head.position - this.#cursor.position;
    if (distance <= 0) return this.open;
    if (distance > countMax) return undefined;
    const { recipient, names } = this.#wanted;
    try {
      return Math.min(countMax, this.open + ledger.count(this.#cursor.position, recipient, names, countMax));
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
