/** The port of the event store: streams of events, the log across them, and how far each projection has come in it. */
import type { MaybePromise, StoreTransaction } from './store.ts';

/** An event on its way into a stream. */
export interface NewEvent {
  readonly id: string;
  /** `${name}.v${version}` of its contract. */
  readonly type: string;
  /** Wall time in milliseconds. */
  readonly timeMs: number;
  readonly correlationId: string;
  readonly causationId: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON text. */
  readonly body: string;
}

/** An event that is there for good: never changed, never removed. */
export interface StoredEvent extends NewEvent {
  readonly stream: string;
  /** Its number in its stream, from 1, without gaps. */
  readonly version: number;
  /** Its number in the log across streams. Rises within a stream; a place to read on from is a `cursor`, never this. */
  readonly position: number;
}

/** Some events of the log, and where to read on. */
export interface LogPage {
  readonly events: readonly StoredEvent[];
  /** After these events; the cursor itself when there was nothing new. A driver's own text: only that driver reads it. */
  readonly next: string | undefined;
  /** There is more than this page has. */
  readonly more: boolean;
}

/** What keeps a projection from going on. */
export interface ProjectionFailure {
  readonly code: string;
  readonly message: string;
  /** The event that it cannot take. */
  readonly stream: string;
  readonly version: number;
  /** Runs so far. */
  readonly attempts: number;
}

export interface ProjectionState {
  readonly name: string;
  /** Where it stands; undefined: at the beginning. */
  readonly cursor: string | undefined;
  /** Events of the log that lie before it, whatever their type; 10,001 stands for more than 10,000. */
  readonly behind: number;
  /** When it last moved; undefined if it never has. */
  readonly movedMs: number | undefined;
  readonly failure: ProjectionFailure | undefined;
}

/**
 * The event store of a database. Guarantees: a stream's versions have no gaps and no doubles, whoever appends at the same
 * time; a log read from a cursor to its end, page by page, gives each committed event once, those of one stream in order,
 * and none is stepped over because it committed late.
 */
export interface StreamsPort {
  /**
   * Adds events at the end of a stream whose version is `expected` (undefined: whatever it is). Answers the stream's
   * version: after appending, or as it is where nothing was appended because another was expected.
   */
  append(
    tx: StoreTransaction,
    stream: string,
    expected: number | undefined,
    events: readonly NewEvent[],
  ): MaybePromise<{ readonly appended: boolean; readonly version: number; readonly stored: readonly StoredEvent[] }>;
  /**
   * The events of a stream after `version`, `max` of them or as many as have `readBytesMax` together: committed ones, or
   * with `tx` those that the transaction sees.
   */
  read(stream: string, version: number, max: number, tx?: StoreTransaction): MaybePromise<readonly StoredEvent[]>;
  /** Committed events of the log after `cursor`, as many as `read` gives; undefined: from the beginning. */
  scan(cursor: string | undefined, max: number): Promise<LogPage>;
  /** The right to move a projection, for one instance at a time; undefined while another holds it. */
  acquire(projection: string, owner: string, leaseMs: number): Promise<ProjectionLease | undefined>;
  /** Back to the beginning, in the transaction that empties its table; whoever holds its lease loses it. */
  reset(tx: StoreTransaction, projection: string): MaybePromise<void>;
  /** The end of the log, and the projections of this store, each with what lies between it and `upTo` (default: the end). */
  progress(upTo?: string): Promise<{ readonly end: string; readonly projections: readonly ProjectionState[] }>;
}

/** One instance's hold on a projection. After a crash the next one goes on from the last cursor that was committed. */
export interface ProjectionLease {
  /** Where it stood when the lease was taken. */
  readonly cursor: string | undefined;
  readonly failure: ProjectionFailure | undefined;
  /** In the transaction of the projection's writes: moves it to `cursor`; without one, the fence alone. @throws `LEASE_LOST` */
  settleIn(tx: StoreTransaction, cursor?: string): MaybePromise<void>;
  /** Prolongs the lease, and writes what keeps the projection (undefined: nothing does); false when the lease is lost. */
  renew(failure: ProjectionFailure | undefined): Promise<boolean>;
  /** Gives the lease back, so that another takes over at once. */
  release(): Promise<void>;
}
