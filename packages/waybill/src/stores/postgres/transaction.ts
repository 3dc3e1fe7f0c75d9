/**
 * One transaction: BEGIN … COMMIT on a connection of the client's, and the handles through which it is written.
 *
 *     waiting ──first statement──► beginning ──BEGIN, onBegin──► open ──commit──► over
 *        │                             │                          │
 *        └── nothing was written ──────┴── failed: rolled back ◄──┴──► over
 *
 * In goes the work; out comes a durable commit or nothing. A handle (`Scope`) is the whole transaction or one savepoint's
 * part of it, and is dead once that is over. An error of any statement poisons the part in which it happened: the server
 * takes no more statements there, and an error that user code swallowed shows at the end of the part. A crash leaves
 * nothing at any step before COMMIT; a connection lost during COMMIT is asked about (`outcome.ts`), never run again.
 *
 * Costs two round trips, and two more per savepoint. Where the client lets them, BEGIN travels with the first statement and
 * ledger rows with COMMIT (`late`).
 */
import type { Late } from '../../clients/client/late.ts';
import { CommitFailed } from '../../clients/client/port.ts';
import { isConnectionLost, sqlStateOf } from '../../clients/client/sql-state.ts';
import { WaybillError } from '../../contract/errors.ts';
import { runSavepoint } from '../../contract/savepoint.ts';
import type { MaybePromise, TransactionOptions } from '../../contract/store.ts';
import { asStatementError } from './errors.ts';
import { textValues } from './port.ts';
import type { Client, OpenTransaction, PostgresTransaction, SqlValue } from './port.ts';

/** What a session lends to its transactions. */
export interface Transactions<Tx> {
  readonly store: object;
  readonly client: Client;
  /** What user code gets to see of a scope; remembered for `join`. */
  native(scope: Scope<Tx>): Tx;
  /** User code holds this scope's handle from now on, or no longer. */
  entered(scope: Scope<Tx>, open: OpenTransaction): void;
  left(scope: Scope<Tx>, open: OpenTransaction): void;
  monotonic(): number;
  /** Whether a transaction committed, by its id or by a row of the ledger that is its own; undefined when that cannot be told. */
  didCommit(known: Known, beganMs: number): Promise<boolean | undefined>;
  trouble(where: string, error: unknown): void;
}

/** What a transaction is known by. */
export type Known = { readonly xid: string } | { readonly message: string };

type State = 'waiting' | 'beginning' | 'open' | 'over';

export class Unit<Tx> {
  readonly host: Transactions<Tx>;
  readonly root: Scope<Tx>;
  readonly #onBegin: TransactionOptions['onBegin'];
  readonly #onWait: TransactionOptions['onWait'];
  #state: State = 'waiting';
  #begun: Promise<OpenTransaction> | undefined;
  #open: OpenTransaction | undefined;
  #beganMs = 0;
  /** Ends the client's own transaction: COMMIT when it resolves, ROLLBACK when it rejects. */
  readonly #end = Promise.withResolvers<void>();
  #ended: Promise<void> | undefined;
  /** Why it cannot commit any more. */
  #failure: { readonly error: unknown } | undefined;
  /** Open savepoints, outermost first. */
  readonly #savepoints: Scope<Tx>[] = [];
  #afterCommit: (() => void)[] = [];

  constructor(host: Transactions<Tx>, { onBegin, onWait }: TransactionOptions = {}) {
    this.host = host;
    this.#onBegin = onBegin;
    this.#onWait = onWait;
    this.root = new Scope(this, undefined);
    this.#end.promise.catch(() => {});
  }

  begin(): Promise<OpenTransaction> {
    return (this.#begun ??= this.#begin());
  }

  async #begin(): Promise<OpenTransaction> {
    try {
      this.#assertGoing();
      this.#state = 'beginning';
      this.#beganMs = this.host.monotonic();
      this.#onWait?.(); // for a connection
      this.#open = await this.#opened();
      this.#assertGoing(); // it may have been given up while it waited
      this.host.entered(this.root, this.#open);
      if (this.#onBegin !== undefined) await this.#runOnBegin(this.#onBegin);
      this.#assertGoing();
      this.#state = 'open';
      for (const scope of this.#savepoints) await this.#openPart(scope);
      return this.#open;
    } catch (error) {
      this.#failure ??= { error };
      this.#end.reject(this.#failure.error);
      throw this.#failure.error;
    }
  }

  /** The client's transaction stays open until `#end` is settled. */
  #opened(): Promise<OpenTransaction> {
    return new Promise((resolve, reject) => {
      this.#ended = this.host.client.transaction(async (open) => {
        resolve(open);
        await this.#end.promise;
      });
      this.#ended.catch(reject);
    });
  }

  async #runOnBegin(onBegin: NonNullable<TransactionOptions['onBegin']>): Promise<void> {
    const early = new Scope(this, undefined, true);
    try {
      await onBegin(early);
    } finally {
      early.over = true;
    }
  }

  #assertGoing(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#state === 'over') throw over('transaction');
  }

  /** The connection to run a statement of `scope` on. */
  async using(scope: Scope<Tx>): Promise<OpenTransaction> {
    this.assertUsable(scope);
    if (scope.early) return this.#open!;
    await this.begin();
    this.assertUsable(scope);
    return this.#openOf(scope);
  }

  /** The connection as the client's library wants it used in this part: some have a handle of its own for a savepoint. */
  #openOf(scope: Scope<Tx>): OpenTransaction {
    return scope.part?.open ?? this.#open!;
  }

  /** @throws WaybillError `NOT_A_TRANSACTION` when `scope` or its transaction is over; or why it was lost */
  assertUsable(scope: Scope<Tx>): void {
    this.#assertGoing();
    for (let at: Scope<Tx> | undefined = scope; at !== undefined; at = at.parent) {
      if (at.over) throw over(at.parent === undefined ? 'transaction' : 'part of the transaction');
    }
  }

  /** A statement failed: its part of the transaction is lost, all of it when it stood in none. */
  poison(error: unknown): void {
    const part = this.#savepoints.at(-1);
    if (part === undefined || this.#state !== 'open') this.#failure ??= { error };
    else part.poisoned ??= { error };
  }

  async enter(scope: Scope<Tx>): Promise<void> {
    this.#savepoints.push(scope);
    if (this.#state === 'open') await this.#openPart(scope);
    if (this.#open !== undefined) this.host.entered(scope, this.#openOf(scope));
  }

  /** The savepoint of the client's library stays open until `part.end` is settled. */
  async #openPart(scope: Scope<Tx>): Promise<void> {
    const end = Promise.withResolvers<void>();
    end.promise.catch(() => {});
    try {
      await new Promise<void>((resolve, reject) => {
        const ended = this.#openOf(scope.parent!).savepoint(async (open) => {
          scope.part = { open, end, ended: () => ended };
          resolve();
          await end.promise;
        });
        ended.catch(reject);
      });
    } catch (thrown) {
      throw this.#lost(thrown);
    }
  }

  /** Ends a savepoint. Throws when the whole transaction cannot commit any more, or its part was lost unnoticed. */
  async leave(scope: Scope<Tx>, outcome: 'keep' | 'undo'): Promise<void> {
    scope.over = true;
    if (this.#state === 'beginning') await this.#begun?.catch(() => {});
    if (this.#savepoints.at(-1) !== scope && this.#state !== 'over') {
      this.#failure ??= { error: new WaybillError('NESTED_TRANSACTION', 'Two savepoints of one transaction overlap: await one before the next.') };
    }
    this.#assertGoing();
    this.#savepoints.pop();
    if (this.#open !== undefined) this.host.entered(scope.parent!, this.#openOf(scope.parent!));
    const undo = outcome === 'undo' || scope.poisoned !== undefined;
    if (undo) this.#afterCommit.length = scope.callbacksBefore;
    if (scope.part !== undefined) await this.#endPart(scope, scope.part, undo);
    if (outcome === 'keep' && scope.poisoned !== undefined) throw scope.poisoned.error;
  }

  /** A failed statement that user code kept to itself shows here, and is undone with its part. */
  async #endPart(scope: Scope<Tx>, { end, ended }: Part, undo: boolean): Promise<void> {
    if (undo) end.reject(undone);
    else end.resolve();
    try {
      await ended();
    } catch (error) {
      if (error === undone) return;
      if (isConnectionLost(error) || sqlStateOf(error) === undefined) throw this.#lost(error);
      this.#afterCommit.length = scope.callbacksBefore;
      scope.poisoned ??= { error: spoilt(error) };
    }
  }

  #lost(thrown: unknown): unknown {
    const error = asStatementError(thrown);
    this.#failure ??= { error };
    return error;
  }

  told(xid: string): void {
    if (this.#open !== undefined) this.#open.xid ??= xid;
  }

  async late(scope: Scope<Tx>): Promise<Late | undefined> {
    return (await this.using(scope)).late;
  }

  /** The transaction, or the savepoint, as the client's library has it. */
  foreign(scope: Scope<Tx>): unknown {
    if (this.#open === undefined) throw over('transaction');
    return this.#openOf(scope).native;
  }

  get callbacks(): number {
    return this.#afterCommit.length;
  }

  afterCommit(fn: () => void): void {
    this.#afterCommit.push(fn);
  }

  async commit(): Promise<void> {
    if (this.#begun !== undefined) await this.#begun;
    this.root.over = true;
    if (this.#savepoints.length > 0) {
      this.#failure ??= { error: new WaybillError('NESTED_TRANSACTION', 'A savepoint is still open: await it before the transaction ends.') };
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#state = 'over';
    if (this.#open !== undefined) {
      this.host.left(this.root, this.#open);
      this.#end.resolve();
      await this.#committed();
    }
    const committed = this.#afterCommit;
    this.#afterCommit = []; // user code may keep its handle for long, and the functions hold the messages
    for (const fn of committed) {
      try {
        fn();
      } catch (error) {
        this.host.trouble('afterCommit', error);
      }
    }
  }

  /** Resolves once the commit is known to have happened. */
  async #committed(): Promise<void> {
    try {
      await this.#ended;
    } catch (error) {
      if (!(error instanceof CommitFailed)) throw error;
      if (sqlStateOf(error) !== undefined && !isConnectionLost(error)) throw error.cause; // the server refused: a deferred constraint
      const known = error.xid !== undefined ? { xid: error.xid } : error.mark !== undefined && { message: error.mark };
      if (!known) return; // it had written nothing
      const committed = await this.host.didCommit(known, this.#beganMs);
      if (committed === true) return;
      if (committed === false) {
        throw new WaybillError('STORE_BUSY', 'The connection was lost during COMMIT, and the transaction did not commit; it may be run again.', { cause: error });
      }
      throw new WaybillError(
        'COMMIT_UNKNOWN',
        'The connection was lost during COMMIT, and the database could not tell whether it committed: look for its effect before you run it again.',
        { cause: error },
      );
    }
  }

  /** Gives it up; resolves when it is rolled back. */
  async abandon(error: unknown): Promise<void> {
    this.#failure ??= { error: over('transaction', error) };
    this.#state = 'over';
    this.root.over = true;
    if (this.#open !== undefined) this.host.left(this.root, this.#open);
    this.#end.reject(error);
    await this.#ended?.catch(() => {});
  }
}

/** A handle on a transaction: on the whole of it, on a savepoint's part, or (`early`) for what runs right after BEGIN. */
export class Scope<Tx> implements PostgresTransaction<Tx> {
  readonly unit: Unit<Tx>;
  readonly parent: Scope<Tx> | undefined;
  readonly early: boolean;
  readonly callbacksBefore: number;
  over = false;
  poisoned: { readonly error: unknown } | undefined;
  /** Of a savepoint that was set. */
  part: Part | undefined;
  #native: Tx | undefined;

  constructor(unit: Unit<Tx>, parent: Scope<Tx> | undefined, early = false) {
    this.unit = unit;
    this.parent = parent;
    this.early = early;
    this.callbacksBefore = parent === undefined ? 0 : unit.callbacks;
  }

  get store(): object {
    return this.unit.host.store;
  }

  get native(): Tx {
    return (this.#native ??= this.unit.host.native(this));
  }

  query<Row extends object>(text: string, values?: readonly SqlValue[]): Promise<readonly Row[]> {
    return this.running((open) => open.query<Row>(text, textValues(values)));
  }

  readonly ours = true;

  told(xid: string): void {
    this.unit.told(xid);
  }

  late(): Promise<Late | undefined> {
    return this.unit.late(this);
  }

  say(late: Late): Promise<void> {
    return this.running(() => late.say());
  }

  /** Runs a statement in this part of the transaction; a lazy one begins first. */
  async running<R>(run: (open: OpenTransaction) => Promise<R>): Promise<R> {
    const open = await this.unit.using(this);
    try {
      return await run(open);
    } catch (thrown) {
      const error = asStatementError(thrown);
      this.unit.poison(error);
      throw error;
    }
  }

  savepoint<R>(work: (native: Tx) => MaybePromise<R>): Promise<R> {
    return runSavepoint(this.unit, { outer: this, begin: () => new Scope(this.unit, this) }, work);
  }

  afterCommit(fn: () => void): void {
    this.unit.assertUsable(this);
    this.unit.afterCommit(fn);
  }
}

/** A savepoint of the client's library. */
interface Part {
  readonly open: OpenTransaction;
  /** Releases it when it resolves, rolls back to it when it rejects. */
  readonly end: PromiseWithResolvers<void>;
  readonly ended: () => Promise<void>;
}

/** What a savepoint is rejected with so that it is undone. */
const undone: Error = new Error('undone');

function spoilt(cause: unknown): WaybillError {
  return new WaybillError('NOT_A_TRANSACTION', 'A statement in this savepoint failed, so nothing of it can be kept: let its error through.', { cause });
}

function over(what: string, cause?: unknown): WaybillError {
  return new WaybillError(
    'NOT_A_TRANSACTION',
    `This ${what} is over (committed, rolled back, or timed out): await every statement inside it.`,
    cause === undefined ? undefined : { cause },
  );
}

