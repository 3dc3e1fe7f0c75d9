/**
 * The rows of one source between what is settled and what is read, in their order.
 *
 *     ready ──take──► given ──settle──► settled
 *       ▲               │
 *       └────release────┘
 *
 * What is settled without a gap moves the position; what is settled beyond one is read again after a crash.
 */
import type { MessageKind } from '../../contract/message.ts';
import type { Delivery } from '../../contract/transport.ts';
import { headersOf } from './headers.ts';
import type { LedgerRow, Place } from './ledger.ts';

/** Settled rows at the front are let go of in pieces. */
const pieceRows = 500;

/** Whether a row may have been seen before, or was in flight when a process died. */
export interface Doubt {
  readonly redelivered: boolean;
  readonly suspect: boolean;
}

/** A delivery that knows where it stands. */
export class Row implements Delivery {
  /** After a rewind, or when more is declared, rows are read anew, among others. */
  readonly among: OpenRows;
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
  state: 'ready' | 'given' | 'settled' = 'ready';
  /** The transaction that settles it, if it commits. */
  settling: object | undefined;

  constructor(among: OpenRows, row: LedgerRow, { redelivered, suspect }: Doubt) {
    this.among = among;
    this.position = row.position;
    this.id = row.id;
    this.kind = row.kind as MessageKind;
    this.type = row.type;
    this.appended = row.appended;
    this.publishedMs = Math.min(row.time, row.appended);
    this.headers = headersOf(row);
    this.body = row.body ?? empty;
    this.redelivered = redelivered;
    this.suspect = suspect;
  }
}

const empty = new Uint8Array();

export class OpenRows {
  /** The source whose they are: as far as a delivery tells. */
  readonly source: string;
  #rows: Row[] = [];
  /** The oldest that is not settled. */
  #first = 0;
  /** Before it none is ready. */
  #next = 0;
  #ready = 0;
  /** Everything up to here is settled; undefined while none is open. */
  #settled: Place | undefined;
  #settledMs = 0;

  constructor(source: string) {
    this.source = source;
  }

  /** Read and not settled. */
  get size(): number {
    return this.#rows.length - this.#first;
  }

  /** Not given out. */
  get ready(): number {
    return this.#ready;
  }

  /** When the last one was published that is settled without a gap. */
  get settledMs(): number {
    return this.#settledMs;
  }

  /** @param before the place that was read up to before this row, or before some that are not wanted */
  add(row: LedgerRow, doubt: Doubt, before: Place): void {
    if (this.size === 0) this.#settled = before;
    this.#rows.push(new Row(this, row, doubt));
    this.#ready++;
  }

  /** The next ones that are ready: from now on they are given. */
  take(max: number): Row[] {
    const taken: Row[] = [];
    for (; this.#next < this.#rows.length && taken.length < max; this.#next++) {
      const row = this.#rows[this.#next]!;
      if (row.state !== 'ready') continue;
      row.state = 'given';
      this.#ready--;
      taken.push(row);
    }
    return taken;
  }

  settle(row: Row): void {
    if (row.state === 'settled') return;
    if (row.state === 'ready') this.#ready--;
    row.state = 'settled';
    for (; this.size > 0 && this.#rows[this.#first]!.state === 'settled'; this.#first++) {
      const { position, id, publishedMs } = this.#rows[this.#first]!;
      this.#settled = { position, anchor: id };
      this.#settledMs = publishedMs;
    }
    if (this.size === 0) this.#letGo(this.#first);
    else if (this.#first >= pieceRows) this.#letGo(this.#first);
  }

  #letGo(count: number): void {
    this.#rows.splice(0, count);
    this.#first -= count;
    this.#next = Math.max(0, this.#next - count);
    if (this.size === 0) this.#settled = undefined;
  }

  release(row: Row): void {
    if (row.state !== 'given') return;
    row.state = 'ready';
    row.redelivered = true;
    row.settling = undefined;
    this.#ready++;
    this.#next = Math.min(this.#next, this.#rows.indexOf(row, this.#first));
  }

  /** All that were given out and are not settled. */
  releaseAll(): void {
    for (const row of this) this.release(row);
  }

  /**
   * The place up to which all is settled once those of the transaction `settling` are, too: `end` when that is
   * everything that was read.
   */
  placeAfter(settling: object | undefined): Place | 'end' {
    let place: Place | 'end' = this.#settled ?? 'end';
    for (let at = this.#first; at < this.#rows.length; at++) {
      const row = this.#rows[at]!;
      if (row.state !== 'settled' && (settling === undefined || row.settling !== settling)) return place;
      place = { position: row.position, anchor: row.id };
    }
    return 'end';
  }

  /** From the oldest that is not settled. */
  [Symbol.iterator](): Iterator<Row> {
    return this.#rows.slice(this.#first)[Symbol.iterator]();
  }
}
