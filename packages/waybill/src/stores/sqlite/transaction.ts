/**
 * One transaction: BEGIN IMMEDIATE … COMMIT on the writing connection, and the handles through which it is written.
 *
 *     waiting ──first statement──► beginning ──BEGIN, onBegin──► open ──commit──► over
 *        │                             │                          │
 *        └── nothing was written ──────┴── failed: rolled back ◄──┴──► over
 *
 * In goes a writer that is free or not, and the work; out comes a durable commit or nothing. A handle (`Scope`) is the
 * whole transaction or one savepoint's part of it, and is dead once that is over: a handler that was timed out cannot
 * write into its neighbour's part. When SQLite has ended the transaction by itself (disk full, `or rollback`), no later
 * statement gets through, because it would commit by itself, and `commit` throws. A crash leaves nothing at any step
 * before COMMIT returned.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { TransactionOptions } from '../../contract/store.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import type { RowWriter, SqliteDatabase, Statements } from './port.ts';
import { Scope } from './scope.ts';

/** What a database lends to its transactions. */
export interface Writer {
  readonly database: SqliteDatabase;
  readonly statements: Statements;
  /** Whether SQLite has a transaction open: it may have ended ours by itself. */
  readonly inTransaction: boolean;
  /** The queue of this process, the door, and BEGIN IMMEDIATE; undefined when that went at once. */
  begin(): Promise<void> | undefined;
  /** COMMIT or ROLLBACK has happened: the next one may begin. */
  ended(committed: boolean): void;
  /** What user code gets to see of a scope; remembered for `join`. */
  native(scope: Scope): SqlTransaction;
  /** Something failed that changes nothing any more: an `afterCommit` function, a rollback. */
  trouble(where: string, error: unknown): void;
}

type State = 'waiting' | 'beginning' | 'open' | 'over';

export class Unit {
  readonly writer: Writer;
  readonly root: Scope;
  readonly #onBegin: TransactionOptions['onBegin'];
  readonly #onWait: TransactionOptions['onWait'];
  #state: State = 'waiting';
  #begun: Promise<void> | undefined;
  /** Whether the writing connection is ours now. */
  #holds = false;
  /** Why it cannot commit any more. */
  #failure: { readonly error: unknown } | undefined;
  /** Open savepoints, outermost first. */
  readonly #savepoints: Scope[] = [];
  #afterCommit: (() => void)[] = [];
  /** Rows that are still to be written, by whom. */
  readonly #held: { readonly writer: RowWriter<any>; rows: unknown[] }[] = [];

  constructor(writer: Writer, { onBegin, onWait }: TransactionOptions = {}) {
    this.writer = writer;
    this.#onBegin = onBegin;
    this.#onWait = onWait;
    this.root = new Scope(this, undefined);
  }

  /** Undefined when it has begun: then statements run at once. */
  begin(scope: Scope = this.root): Promise<void> | undefined {
    if (this.#state === 'open' || scope.early) return undefined;
    if (this.#begun !== undefined) return this.#begun;
    try {
      const wait = this.writer.begin();
      if (wait === undefined && this.#onBegin === undefined) {
        this.#taken();
        this.#opened();
        return undefined;
      }
      this.#state = 'beginning';
      return (this.#begun = this.#beginSlowly(wait));
    } catch (error) {
      this.#fail(error);
    }
  }

  async #beginSlowly(wait: Promise<void> | undefined): Promise<void> {
    try {
      if (wait !== undefined) {
        this.#onWait?.();
        await wait;
      }
      this.#taken();
      if (this.#onBegin !== undefined) await this.#runOnBegin(this.#onBegin);
      this.#opened();
    } catch (error) {
      this.#fail(error);
    }
  }

  async #runOnBegin(onBegin: NonNullable<TransactionOptions['onBegin']>): Promise<void> {
    const early = new Scope(this, undefined, true);
    try {
      await onBegin(early);
    } finally {
      early.over = true;
    }
  }

  #taken(): void {
    this.#holds = true;
    if (this.#failure !== undefined) throw this.#failure.error; // given up while it waited
  }

  #opened(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#state = 'open';
    this.writeHeld(); // of onBegin: it stands before all savepoints
    for (const at of this.#savepoints.keys()) this.writer.statements.run(`savepoint waybill_${at}`);
  }

  #fail(error: unknown): never {
    this.#failure ??= { error };
    this.#rollback();
    throw this.#failure.error;
  }

  /** @throws WaybillError `NOT_A_TRANSACTION` when `scope` or its transaction is over; or why the transaction was lost */
  assertUsable(scope: Scope): void {
    if (this.#failure !== undefined) throw this.#failure.error;
    for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
      if (at.over) throw over(at.parent === undefined ? 'transaction' : 'part of the transaction');
    }
  }

  get hasBegun(): boolean {
    return this.#state === 'open';
  }

  /** To be called when a statement of a user has run, or one of ours has failed. */
  notice(error?: unknown): void {
    if (!this.#holds || this.writer.inTransaction) return;
    this.#failure ??= {
      error: WaybillError.is(error)
        ? error
        : new WaybillError(
            'NOT_A_TRANSACTION',
            'A statement ended the whole transaction (`or rollback`, or an error of the database); nothing of it is committed.',
            { cause: error },
          ),
    };
  }

  hold<Row>(row: Row, writer: RowWriter<Row>): void {
    let held = this.#held.find((one) => one.writer === writer);
    if (held === undefined) this.#held.push((held = { writer, rows: [] }));
    if (held.rows.push(row) >= writer.rowsMax) this.#write(held);
  }

  /** Where it fails, nothing of the transaction is committed: whoever gave the rows has gone on. */
  writeHeld(): void {
    for (const held of this.#held) if (held.rows.length > 0) this.#write(held);
  }

  #write(held: { readonly writer: RowWriter<any>; rows: unknown[] }): void {
    const { rows } = held;
    held.rows = [];
    try {
      held.writer.write(this.writer.statements, rows);
    } catch (error) {
      this.#failure ??= { error };
      throw error;
    }
  }

  #dropHeld(): void {
    this.#held.length = 0;
  }

  enter(scope: Scope): void {
    this.writeHeld();
    this.#savepoints.push(scope);
    if (this.#state === 'open') this.#command(`savepoint waybill_${this.#savepoints.length - 1}`);
  }

  /** Ends a savepoint. Throws when the whole transaction cannot commit any more. */
  async leave(scope: Scope, outcome: 'keep' | 'undo'): Promise<void> {
    scope.over = true;
    if (this.#state === 'beginning') await this.#begun?.catch(() => undefined);
    const at = this.#savepoints.length - 1;
    if (this.#savepoints[at] !== scope && this.#state !== 'over') {
      this.#failure ??= { error: new WaybillError('NESTED_TRANSACTION', 'Two savepoints of one transaction overlap: await one before the next.') };
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#state === 'over') throw over('transaction');
    this.#savepoints.pop();
    if (outcome === 'undo') {
      this.#afterCommit.length = scope.callbacksBefore;
      this.#dropHeld(); // of this part: what was there before it was written when it began
    }
    if (this.#state !== 'open') return; // nothing was written in it
    this.writeHeld();
    if (outcome === 'undo') this.#command(`rollback to waybill_${at}`);
    this.#command(`release waybill_${at}`);
  }

  #command(sql: string): void {
    try {
      this.writer.statements.run(sql);
    } catch (error) {
      this.#failure ??= { error };
      throw error;
    }
  }

  get callbacks(): number {
    return this.#afterCommit.length;
  }

  afterCommit(fn: () => void): void {
    this.#afterCommit.push(fn);
  }

  async commit(): Promise<void> {
    if (this.#state === 'beginning') await this.#begun;
    this.root.over = true;
    if (this.#savepoints.length > 0) {
      this.#failure ??= { error: new WaybillError('NESTED_TRANSACTION', 'A savepoint is still open: await it before the transaction ends.') };
    }
    this.notice();
    if (this.#failure !== undefined) return this.#fail(this.#failure.error);
    if (this.#holds) {
      try {
        this.writeHeld();
        this.writer.statements.run('commit');
      } catch (error) {
        this.#fail(error); // a full disk has rolled back already; a deferred constraint has not
      }
      this.#end(true);
    }
    this.#state = 'over';
    const committed = this.#afterCommit;
    this.#afterCommit = []; // user code may keep its handle for long, and the functions hold the messages
    for (const fn of committed) {
      try {
        fn();
      } catch (error) {
        this.writer.trouble('afterCommit', error);
      }
    }
  }

  /** Gives it up, now: what still waits to begin will not. */
  abandon(error: unknown): void {
    this.#failure ??= { error: over('transaction', error) };
    this.root.over = true;
    this.#begun?.catch(() => undefined);
    if (this.#state !== 'beginning' || this.#holds) this.#rollback();
  }

  #rollback(): void {
    this.#state = 'over';
    this.root.over = true;
    this.#dropHeld();
    if (!this.#holds) return;
    try {
      if (this.writer.inTransaction) this.writer.statements.run('rollback');
    } catch (error) {
      this.writer.trouble('rollback', error);
    } finally {
      this.#end(false);
    }
  }

  #end(committed: boolean): void {
    this.#holds = false;
    this.writer.ended(committed);
  }
}

function over(what: string, cause?: unknown): WaybillError {
  return new WaybillError(
    'NOT_A_TRANSACTION',
    `This ${what} is over (committed, rolled back, or timed out): await every statement inside it.`,
    cause === undefined ? undefined : { cause },
  );
}
