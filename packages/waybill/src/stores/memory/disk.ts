import type { WireMessage } from '../../contract/message.ts';
import type { FailedRow, ListedSaga, OutboxRow, WaitingRow, Watermark } from '../../contract/store.ts';
import type { ProjectionFailure, StoredEvent } from '../../contract/streams.ts';
import { Table } from './table.ts';

/** What outlives the sessions of one `memory()` value, as a file would: its tables, and the right to write to them. */
export class Disk {
  /** The service that opened it first, and owns it from then on. */
  service: string | undefined;
  readonly outbox: Table<number, OutboxRow & { readonly storedMs: number }>;
  readonly relay: Table<'relay', Relay>;
  readonly inbox: Table<string, Taken>;
  readonly watermarks: Table<string, Watermark>;
  readonly waiting: Table<number, Waiting>;
  readonly failures: Table<number, FailedRow>;
  readonly once: Table<string, Result>;
  readonly sagas: Table<string, ListedSaga>;
  /** The log by position; positions by (stream, version); versions by stream. */
  readonly events: Table<number, StoredEvent>;
  readonly places: Table<string, number>;
  readonly heads: Table<string, number>;
  readonly projections: Table<string, Projected>;
  readonly #tables: readonly Pick<Table<never, unknown>, 'commit' | 'rollback' | 'mark'>[];
  readonly #beneath: Disk | undefined;
  #number = 0;
  #writing = false;
  readonly #queue = new Set<() => void>();

  /** @param beneath a disk of which this one is another transaction's view, for a store that has several at once */
  constructor(beneath?: Disk) {
    this.#beneath = beneath;
    this.outbox = new Table(beneath?.outbox);
    this.relay = new Table(beneath?.relay);
    this.inbox = new Table(beneath?.inbox);
    this.watermarks = new Table(beneath?.watermarks);
    this.waiting = new Table(beneath?.waiting);
    this.failures = new Table(beneath?.failures);
    this.once = new Table(beneath?.once);
    this.sagas = new Table(beneath?.sagas);
    this.events = new Table(beneath?.events);
    this.places = new Table(beneath?.places);
    this.heads = new Table(beneath?.heads);
    this.projections = new Table(beneath?.projections);
    this.#tables = [
      this.outbox, this.relay, this.inbox, this.watermarks, this.waiting, this.failures, this.once, this.sagas,
      this.events, this.places, this.heads, this.projections,
    ]; // prettier-ignore
  }

  /** Rows of all tables are numbered in one sequence; a number is never used twice. */
  number(): number {
    return this.#beneath?.number() ?? ++this.#number;
  }

  get lastNumber(): number {
    return this.#beneath?.lastNumber ?? this.#number;
  }

  /** Whether the right to write was free; if not, `granted` is called later unless the returned function is called. */
  lock(granted: () => void): 'locked' | (() => void) {
    if (!this.#writing) {
      this.#writing = true;
      return 'locked';
    }
    this.#queue.add(granted);
    return () => void this.#queue.delete(granted);
  }

  /** Makes the changes of the transaction durable, or forgets them, and lets the next one in. */
  end(outcome: 'commit' | 'rollback'): void {
    for (const table of this.#tables) table[outcome]();
    const [next] = this.#queue;
    if (next === undefined) {
      this.#writing = false;
      return;
    }
    this.#queue.delete(next);
    next();
  }

  /** Remembers the changes made so far; the returned function goes back to them. */
  mark(): () => void {
    const rewinds = this.#tables.map((table) => table.mark());
    return () => {
      for (const rewind of rewinds) rewind();
    };
  }
}

/** The relay's position, and who may move it. */
export interface Relay {
  readonly owner: string | undefined;
  readonly epoch: number;
  readonly expiresMs: number;
  readonly position: number;
  /** Rows have been removed. */
  readonly trimmed?: boolean;
}

/** An inbox row. */
export interface Taken {
  readonly subscription: string;
  readonly source: string;
  readonly id: string;
  readonly atMs: number;
}

/** A row of what waits; `front`: it held its key as a failure, and goes before whatever lined up behind it. */
export interface Waiting extends WaitingRow {
  readonly front: boolean;
  readonly claim: { readonly owner: string; readonly untilMs: number } | undefined;
}

/** A result of `once`. */
export interface Result {
  readonly result: string;
  readonly fingerprint: string | undefined;
  readonly expiresMs: number;
}

/** How far a projection has come, and who may move it. */
export interface Projected {
  readonly name: string;
  readonly owner: string | undefined;
  readonly epoch: number;
  readonly expiresMs: number;
  readonly position: number;
  readonly movedMs: number | undefined;
  readonly failure: ProjectionFailure | undefined;
}

/** Parts joined so that no two lists give one key. */
export function keyOf(...parts: readonly string[]): string {
  return JSON.stringify(parts);
}

/** Bytes on a disk are nobody's to change: copied on the way in and on the way out. */
export function copyOf<Row extends { readonly message: WireMessage }>(row: Row): Row {
  return { ...row, message: copyOfMessage(row.message) };
}

export function copyOfMessage<M extends WireMessage>(message: M): M {
  return { ...message, headers: { ...message.headers }, body: message.body.slice() };
}
