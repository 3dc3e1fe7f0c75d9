/**
 * The store ports: what a database must do for the rooms. A store is opened by `bus.start()` or by the first publish;
 * its session has one transaction and a few small ports, one per noun, all of whose writes go through a transaction.
 *
 * Members that take `tx` write in that transaction and nowhere else. Reads without `tx` see committed rows only. A
 * driver may answer synchronously where its database does (`MaybePromise`); rooms always await.
 */
import type { Clock } from './clock.ts';
import type { Finding } from './doctor.ts';
import type { MessageKind, WireMessage } from './message.ts';
import type { Inspect } from './inspect.ts';
import type { HistoryPage, HistoryQuery } from './history.ts';
import type { Logger, Signals } from './signals.ts';
import type { StreamsPort } from './streams.ts';

export type MaybePromise<T> = T | Promise<T>;

declare const transactionType: unique symbol;

/** A store that has not been opened: what a factory such as `sqlite(file)` returns. */
export interface Store<out Tx = unknown> {
  readonly kind: string;
  /** Made from a client that the user's own code shares: then `requireTransaction` is on by default. */
  readonly fromClient: boolean;
  open(host: Host): Promise<StoreSession<Tx>>;
  readonly [transactionType]?: Tx;
}

/** What a bus lends to its drivers. */
export interface Host {
  readonly service: string;
  readonly clock: Clock;
  readonly signals: Signals;
  readonly logger: Logger;
  /** `check`: verify the tables, create nothing. */
  readonly migrate: 'auto' | 'check';
}

export interface StoreCapabilities {
  /** Whether two transactions can be open at once. SQLite: no, so lanes share one worker. */
  readonly parallelTransactions: boolean;
  /**
   * Whether a savepoint per message is as good as free. Where not, a batch in which a handler throws is undone and redone
   * with that one alone: innocents run again, and it may run once more than it is charged.
   */
  readonly cheapSavepoints: boolean;
  /** Messages to a shared transaction at most, where the subscription does not say. @default 100 */
  readonly batch?: number;
  /** Whether the ledger can be read out of the database's own log (relay mode `log`); a text says why not. @default no */
  readonly log?: true | string;
}

export interface StoreSession<out Tx = unknown> {
  readonly capabilities: StoreCapabilities;
  readonly ports: StorePorts;
  /**
   * One attempt at one transaction: begin, `work`, commit; rolled back when `work` throws. Resolves only after a durable
   * commit. Waits for its turn at most a bounded time, then `STORE_BUSY`.
   */
  transaction<R>(work: (tx: StoreTransaction<Tx>) => MaybePromise<R>, options?: TransactionOptions): Promise<R>;
  /** The open transaction behind what a user passed as `tx`. @throws WaybillError `NOT_A_TRANSACTION` */
  join(native: unknown): StoreTransaction<Tx>;
  /**
   * What an error means: `retry` = the transaction did not happen and may be run again (busy, deadlock, serialization);
   * `down` = the store cannot be used now (unreachable, full, read-only), or nobody can say whether a commit happened: what is
   * in it has to be looked at again; `other` = not the store's doing.
   */
  classify(error: unknown): 'retry' | 'down' | 'other';
  /** What somebody should know of this database before he trusts it; reads only. */
  examine?(): Promise<readonly Finding[]>;
  close(): Promise<void>;
}

export interface TransactionOptions {
  /** Begin at the first statement instead of at once: what is awaited before holds nothing. */
  readonly lazy?: boolean;
  /** With `lazy`: called when it has to wait, for others or for a connection, before it can begin. */
  readonly onWait?: () => void;
  /** With `lazy`: runs right after BEGIN, before the statement that caused it. If it throws, that statement does too. */
  readonly onBegin?: (tx: StoreTransaction) => MaybePromise<void>;
}

export interface StoreTransaction<out Tx = unknown> {
  /** The transaction as the user's code sees it. */
  readonly native: Tx;
  /** Runs `work` so that its writes alone are undone when it throws; the error is thrown on. */
  savepoint<R>(work: (native: Tx) => MaybePromise<R>): Promise<R>;
  /** Runs after a durable commit, never after a rollback. Errors in `fn` are reported and harm nothing. */
  afterCommit(fn: () => void): void;
  /**
   * Only of a transaction whose end is the user's own, where `afterCommit` cannot be kept: `look` runs when it is seen to be
   * over, committed or not, or at once where that cannot be seen. A hint: perhaps too early, perhaps never.
   */
  whenOver?(look: () => void): void;
}

export interface StorePorts {
  readonly outbox: OutboxPort;
  readonly inbox: InboxPort;
  readonly waiting: WaitingPort;
  readonly failures: FailuresPort;
  readonly once: OncePort;
  /** Undefined: this store keeps no sagas, and `run` refuses with `CAPABILITY_MISSING`. */
  readonly sagas?: SagasPort;
  readonly inspect: Inspect;
  /** The event store. A store without it refuses with `CAPABILITY_MISSING`. */
  readonly streams?: StreamsPort;
}

/**
 * The ledger of what this service sent: appended, never updated. Position order is commit order, or (where a database
 * has several writers) the order per key among rows inserted under their key's lock.
 */
export interface OutboxPort {
  /**
   * @param fresh the id of one of `messages` that was made for this call, and is in no other transaction: a store may
   *   then write them as late as with COMMIT, and ask by it whether they were committed
   */
  append(tx: StoreTransaction, messages: readonly WireMessage[], fresh?: string): MaybePromise<void>;
  /** Orders by commit what has a key but no row to lock: holds the key's lock until the transaction ends. */
  lockKey(tx: StoreTransaction, key: string): MaybePromise<void>;
  /** The right to send, for one instance at a time; undefined while another holds it. */
  acquire(owner: string, leaseMs: number, how?: AcquireOptions): Promise<OutboxLease | undefined>;
  /** Removes up to `max` published rows from before `beforeMs` (wall time); returns how many. */
  trim(beforeMs: number, max: number): Promise<number>;
  /**
   * Rows were committed, and whoever holds the lease may be another process: wakes it, if that can be had. In the background
   * and seldom, whatever the number of calls.
   */
  hint?(): void;
  /** A page of what was published and is still there. A store without it cannot bring late subscribers up to date. */
  history?(query: HistoryQuery): Promise<HistoryPage>;
}

export interface AcquireOptions {
  /** Rows come out of the database's log as soon as that can be had; where it cannot, out of the ledger. */
  readonly log?: boolean;
  /** Called while the lease is held, when there may be something to read. */
  readonly wake?: () => void;
}

/** A row of the ledger on its way to a broker. */
export interface OutboxRow extends WireMessage {
  readonly position: number;
}

/** One `read` of the ledger, or of events, ends with the row that reaches this: five hundred of a megabyte would fill the memory. */
export const readBytesMax: number = 4 * 1024 * 1024;

/**
 * The relay's hold on the ledger. After a crash the next holder reads the same rows again from the last settled one.
 * Every write is fenced: it fails with a rejection once another instance has taken over.
 *
 * **Several windows.** `read` may be called again before what it gave was settled, and while a `settle` is under way:
 * each call goes on where the last one ended. Rows are settled as a prefix, in the order in which they were read; any
 * row of any window may be its end. Within a window positions rise; from one window to the next they need not, where
 * several write at once. How much is read ahead the driver bounds: then `read` gives none until something was settled.
 */
export interface OutboxLease {
  /**
   * The next rows in position order after those already read under this lease, `max` of them or as many as have
   * `readBytesMax` together; empty when there are none for now.
   */
  read(max: number): Promise<readonly OutboxRow[]>;
  /**
   * All rows read up to and including the one at `position` are published, or parked as `parked` says (written in the
   * same commit). Resolves when that is durable; calls that meet may share a commit.
   */
  settle(position: number, parked: readonly FailureRow[]): Promise<void>;
  /** Prolongs the lease; false when it is lost. */
  renew(): Promise<boolean>;
  /** Gives the lease back, so that another takes over at once. */
  release(): Promise<void>;
}

export interface InboxKey {
  readonly source: string;
  readonly id: string;
}

/** What each subscription has taken on. The row and the effect commit together. */
export interface InboxPort {
  /** Inserts each (subscription, source, id); true where it was new. Blocks while another transaction inserts the same. */
  insert(tx: StoreTransaction, subscription: string, keys: readonly InboxKey[]): MaybePromise<readonly boolean[]>;
  /** Committed rows, as of now. */
  has(subscription: string, key: InboxKey): Promise<boolean>;
  /** From whom the subscription has taken something on, as far as its rows tell; up to `max`. */
  sources(subscription: string, max: number): Promise<readonly string[]>;
  /**
   * The watermark of `order: 'latest'`: raises it to `sequence` and answers true, or answers false when it was not below.
   */
  advance(tx: StoreTransaction, mark: Watermark): MaybePromise<boolean>;
  /** Carries rows and watermarks of a renamed subscription to its new name, what waits or has failed in it, and its sagas. */
  rename(tx: StoreTransaction, from: string, to: string): MaybePromise<void>;
  /** Removes up to `max` rows taken on before `beforeMs` that no waiting or failed message still needs. */
  trim(beforeMs: number, max: number): Promise<number>;
}

export interface Watermark {
  readonly subscription: string;
  readonly source: string;
  /** The contract's name, without version. */
  readonly event: string;
  readonly key: string;
  readonly sequence: bigint;
}

/** Wall time by the store's clock, in milliseconds; `'now'`: what that clock says when the statement runs. */
export type Due = number | 'now';

/** A message that waits: to be sent (`subscription` undefined) or to be run again by a subscription. */
export interface WaitingEntry {
  readonly subscription: string | undefined;
  readonly message: WireMessage;
  readonly dueMs: Due;
  /** Runs so far that ended with a verdict. */
  readonly attempt: number;
  /** At most this many runs. */
  readonly attempts: number;
  /** When it failed first; undefined if it has not run. */
  readonly firstFailedMs: number | undefined;
  readonly error: StoredError | undefined;
  /** Why it waits. */
  readonly reason: WaitingReason;
  /** Keeps the order of its key: later messages of the key line up behind it, and it behind older ones. */
  readonly inOrder: boolean;
}

export type WaitingReason =
  | 'delayed' // at the sender, until due
  | 'retry' // a run failed
  | 'behind' // an older message of its key waits or has failed and holds
  | 'suspect' // was in flight when a process died: runs alone
  | 'no-handler' // a rolling deployment: this instance has no handler
  | 'replayed' // somebody asked for what was published before
  | 'replay' // a replay that goes on, or is over: where it is
  | 'asked' // somebody retried a failure
  | 'timeout' // a saga's own: a timeout, or the next step that it undoes
  | 'schedule'; // at the sender, each time it is due: one row per id, adding a second is no error and changes nothing

export interface WaitingRow extends WaitingEntry {
  readonly row: number;
  readonly dueMs: number;
  /** Runs that began; above `attempt` after a crash in the middle of one. */
  readonly starts: number;
  readonly createdMs: number;
  /** Set by whoever has claimed it, or may, for its `settle`; rows are read without. */
  readonly owner?: string;
}

/** Who runs a row, and for how long nobody else may. */
export interface Claim {
  /** Instances that share a name take each other's rows over at once; others once the claim has run out. */
  readonly owner: string;
  /** From now, by the store's clock: whoever froze meanwhile finds its claim gone. */
  readonly claimMs: number;
  /** The run has begun already: its claim is prolonged, nothing is counted. */
  readonly renew?: boolean;
}

export interface DueRows {
  readonly rows: readonly WaitingRow[];
  /** The moment for which it was asked, by the store's clock. */
  readonly nowMs: number;
  readonly nextDueMs: number | undefined;
}

/**
 * What happens later. Rows are taken when they are due; those of an ordered key in the order they were added.
 *
 * Where several instances work on a subscription each of them sees what is due, and one at a time owns a row: from its
 * `start` until its `settle`, or until its claim has run out because it died or froze. What was read may be stale by
 * then; a row is only started or settled by somebody who knows it as it is (`attempt`, and for a start `starts` too).
 */
export interface WaitingPort {
  /**
   * The store's clock, by which everything is due: the database server's, so that a process whose own clock is hours off
   * runs nothing early or late. A database without one (a file, memory) has this machine's. With fractions.
   */
  nowMs(tx: StoreTransaction): MaybePromise<number>;
  /** @param taken what `take` answered in this transaction: only with this do their lines go on */
  add(tx: StoreTransaction, entries: readonly WaitingEntry[], taken?: readonly WaitingRow[]): MaybePromise<void>;
  /**
   * Up to `max` rows that are due, by due time, and when the next one will be. Of a key with `inOrder` rows only the
   * oldest counts (a failure that held the key and is retried before all), and none while a failure holds the key. What
   * another than `owner` has claimed counts for neither, until that claim has run out.
   */
  due(
    subscription: string | undefined,
    at: Due,
    max: number,
    owner?: string,
  ): Promise<DueRows>;
  /**
   * In how many milliseconds the first row that counts will be due, of every subscription in which any waits: below zero
   * where it is overdue. Whoever has claimed it; what is to be sent is left out. One read however many subscriptions.
   */
  nextDue(): Promise<ReadonlyMap<string, number>>;
  /**
   * Claims rows and records, in a commit of its own, that their runs begin; answers each one's starts so far. Undefined,
   * and nothing done to it, when a row is gone, has changed since it was read, or is claimed by another. With `renew`:
   * undefined when it is not (or not any more) the owner's, or while an open transaction has it in hand.
   */
  start(rows: readonly WaitingRow[], claim: Claim): Promise<readonly (number | undefined)[]>;
  /**
   * Removes the row, or sets it to what `next` says (then `starts` = its `attempt`); either way the claim is over. False,
   * and nothing done, when it is gone, was settled with another `attempt` since it was read, or is claimed by another
   * than `row.owner`. Without `owner`: when it is claimed at all. A claim that has run out binds nobody: who was late may
   * settle as long as nobody else has taken it on.
   */
  settle(tx: StoreTransaction, row: WaitingRow, next?: Partial<WaitingEntry>): MaybePromise<boolean>;
  /**
   * Where a statement is a round trip, for `take`: what stands behind these heads in their lines, each line in its order, up
   * to `max` in all or as many as have `readBytesMax` together. As far as the first that is not due by now, or of which a
   * run has begun.
   */
  behind?(heads: readonly WaitingRow[], max: number): Promise<readonly WaitingRow[]>;
  /**
   * Removes those of these rows whose runs may follow in this transaction: they are as they were read, `owner` has claimed
   * them, nothing stands before them in their lines but others of them, and no failure holds their key. Answers them as they
   * were, each line in its order; the others stay, as if their runs had not begun. `add` has to be told before the
   * transaction ends.
   */
  take?(tx: StoreTransaction, rows: readonly WaitingRow[]): MaybePromise<readonly WaitingRow[]>;
  /** Which of these keys have an `inOrder` row waiting, or a failure that holds them. Without a transaction: as of now, committed. */
  blocked(tx: StoreTransaction | undefined, subscription: string, keys: readonly string[]): MaybePromise<ReadonlySet<string>>;
  /**
   * Takes back a delayed message that has not left, or, with `subscription`, what waits there under this id for whatever
   * reason; false when there is none.
   */
  cancel(tx: StoreTransaction, id: string, subscription?: string): MaybePromise<boolean>;
}

export interface StoredError {
  readonly code: string;
  readonly message: string;
  readonly stack: string | undefined;
}

/** A message that was given up: with its original bytes. */
export interface FailureRow {
  /** Undefined: it could not be sent. */
  readonly subscription: string | undefined;
  readonly message: WireMessage;
  readonly error: StoredError;
  readonly attempts: number;
  readonly firstFailedMs: number;
  readonly lastFailedMs: number;
  /** Later messages of its key wait until it is retried or deleted. */
  readonly holds: boolean;
}

export interface FailedRow extends FailureRow {
  readonly row: number;
}

export interface FailuresPort {
  add(tx: StoreTransaction, rows: readonly FailureRow[]): MaybePromise<void>;
  /** Removes these rows and returns them, to be retried or to be gone: a failure moves, it is never copied. */
  take(tx: StoreTransaction, rows: readonly number[]): MaybePromise<readonly FailedRow[]>;
}

/** First results, kept for duplicates. */
export interface OncePort {
  /** The stored result, or undefined. Until this transaction ends no other gets past `find` for the same key. */
  find(
    tx: StoreTransaction,
    scope: string,
    key: string,
  ): MaybePromise<{ readonly result: string; readonly fingerprint: string | undefined } | undefined>;
  save(
    tx: StoreTransaction,
    entry: {
      readonly scope: string;
      readonly key: string;
      readonly result: string;
      readonly fingerprint: string | undefined;
      /** From now, by the store's clock; left out: for ever. */
      readonly retainMs?: number;
    },
  ): MaybePromise<void>;
  /** Removes up to `max` that are over at `nowMs` by this process's clock; told by the store's as far as that differs. */
  trim(nowMs: number, max: number): Promise<number>;
}

/**
 * An instance of a saga:
 *
 *     (none) ─► running ──► completed
 *                 │  └────► undoing ──► compensated
 *                 ▼            ▼
 *               parked (one of its messages is in failures; it goes on from where it stood)
 *
 * Completed and compensated rows stay as tombstones, so that nothing starts again what has ended.
 */
export type SagaStatus = 'running' | 'undoing' | 'parked' | 'completed' | 'compensated';

export interface SagaRow {
  /** The saga's full name, `ordering.order-process`: also its subscription's. */
  readonly saga: string;
  readonly key: string;
  /** Of the definition that the state was written by. */
  readonly version: number;
  /** Rises by one with each write, from 1. */
  readonly revision: number;
  readonly status: SagaStatus;
  /** JSON. */
  readonly state: string;
  /** JSON: steps done and undone, timeouts that run, replies that are expected, what parked it. */
  readonly ledger: string;
  readonly startedMs: number;
  readonly changedMs: number;
}

export interface ListedSaga extends SagaRow {
  readonly row: number;
}

/** Long conversations: one row for each instance, by (saga, key). */
export interface SagasPort {
  /** As this transaction sees it. Where transactions run side by side it is locked, if it is there. */
  load(tx: StoreTransaction, saga: string, key: string): MaybePromise<SagaRow | undefined>;
  /** Writes revision n over revision n - 1, or revision 1 where there is none; false when another was faster. */
  save(tx: StoreTransaction, row: SagaRow): MaybePromise<boolean>;
  /** An instance has begun: what waits for its key because there was none (`SAGA_NOT_FOUND`) is due then, if not before. */
  awaken(tx: StoreTransaction, saga: string, key: string, due: Due): MaybePromise<void>;
  /** Committed rows by row number, page by page. */
  list(filter: {
    readonly saga?: string;
    readonly key?: string;
    readonly status?: SagaStatus;
    readonly after?: number;
    readonly limit?: number;
  }): Promise<readonly ListedSaga[]>;
  /** How many there are, by saga, version and status. */
  counts(): Promise<readonly { readonly saga: string; readonly version: number; readonly status: SagaStatus; readonly count: number }[]>;
  /** Removes up to `max` ended ones that last changed before `beforeMs` and whose key neither waits nor is held. */
  trim(beforeMs: number, max: number): Promise<number>;
}

export type { MessageKind };
