/**
 * A client's side of one transaction: its statements, one after another as on a connection, each a call to the outside
 * that faults may meet; and what user code holds of it. The first trouble poisons it, whatever is awaited of it.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { MaybePromise, StoreTransaction, TransactionOptions } from '../../contract/store.ts';
import { type Database, type Effect, Failure, type Order, Transaction } from './database.ts';
import type { CallName } from './faults.ts';
import type { Process } from './process.ts';

/** What user code holds of a transaction here. */
export interface SimulatedTransaction {
  query(): Promise<never>;
  /** The row's lock, and its version then. */
  lock(key: string): Promise<number>;
  put(key: string, version: number): Promise<void>;
  /** The row's version as it is committed, without its lock. */
  look(key: string): Promise<number>;
  effect(effect: Effect): Promise<void>;
  order(order: Order): Promise<void>;
}

/** The database cannot be reached for so long after a fault of that kind. */
const downMs = 4_000;
/** The server notices a client that died this soon. */
const noticeMs = 20;

export class Unit {
  readonly database: Database;
  readonly process: Process;
  readonly root: Scope;
  hooks: (() => void)[] = [];
  transaction: Transaction | undefined;
  isOver = false;
  /** Nothing more is done, and it is not committed. */
  poison: Error | undefined;
  /** Whom to tell of a wait, and of its beginning. */
  readonly #told: TransactionOptions;
  #begun: Promise<void> | undefined;
  /** The statement under way, also one that nobody waits for: an abandoned handler's. */
  #line: Promise<void> | undefined;
  #atBegin: (() => void) | undefined;

  constructor(database: Database, process: Process, told: TransactionOptions) {
    this.database = database;
    this.process = process;
    this.#told = told;
    this.root = new Scope(this, undefined, false);
  }

  begin(): Promise<void> {
    this.#begun ??= this.#begin();
    return this.#begun;
  }

  async #begin(): Promise<void> {
    const { database, process } = this;
    this.#told.onWait?.();
    await this.call('begin', async () => {
      database.assertReachable();
      const transaction = new Transaction(database, process);
      this.transaction = transaction;
      if (this.isOver) return transaction.end('rollback'); // given up while BEGIN was on its way
      if (!database.options.parallel) await database.locks.take(transaction, 'the file');
    });
    if (this.#told.onBegin) {
      const early = new Scope(this, this.root, true);
      await this.#told.onBegin(early);
      early.over = true;
    }
    this.#atBegin = this.transaction!.mark();
  }

  /** A statement: waits for its rows' locks, then sees what is committed by then. */
  async write<R>(scope: Scope, name: CallName, locks: readonly string[], work: (tx: Transaction) => R): Promise<R> {
    scope.assertUsable();
    if (!scope.early) await this.begin();
    scope.assertUsable();
    return this.call(name, (): R | Promise<R> => {
      const transaction = this.transaction!;
      const run = (): R => {
        if (transaction.isOver) throw new Failure('retry', 'the connection was lost');
        return work(transaction);
      };
      if (locks.length === 0 || !this.database.options.parallel) return run();
      return this.#lock(transaction, locks).then(run);
    });
  }

  async #lock(transaction: Transaction, locks: readonly string[]): Promise<void> {
    for (const lock of locks) if (!transaction.isOver) await this.database.locks.take(transaction, lock);
  }

  async savepoint<R>(scope: Scope, work: (native: SimulatedTransaction) => MaybePromise<R>): Promise<R> {
    const inner = new Scope(this, scope, scope.early);
    if (this.transaction) await this.call('savepoint', () => {});
    const rewind = this.transaction?.mark();
    const hooks = [...this.hooks];
    try {
      return await work(inner.native);
    } catch (error) {
      await this.#line; // what is under way comes before it on the connection, and is undone too
      if (!this.poison) (rewind ?? this.#atBegin)?.();
      this.hooks = hooks;
      throw error;
    } finally {
      inner.over = true;
    }
  }

  async commit(): Promise<void> {
    await this.#begun;
    if (this.poison) throw this.poison;
    const { transaction } = this;
    if (!transaction) return;
    await this.call('commit', () => {
      if (transaction.isOver) throw new Failure('retry', 'the connection was lost before COMMIT');
      transaction.end('commit');
    });
  }

  rollback(): void {
    this.isOver = true;
    this.transaction?.end('rollback');
  }

  /** Its process died: the server rolls back, as soon as it notices. */
  abandon(): void {
    this.database.options.scheduler.after(noticeMs, () => this.transaction?.end('rollback'));
  }

  call<R>(name: CallName, effect: () => R | Promise<R>): Promise<R> {
    const result = this.#line ? this.#line.then(() => this.#statement(name, effect)) : this.#statement(name, effect);
    const over = (): void => {
      if (this.#line === line) this.#line = undefined;
    };
    const line = result.then(over, over);
    this.#line = line;
    return result;
  }

  async #statement<R>(name: CallName, effect: () => R | Promise<R>): Promise<R> {
    if (this.poison) throw this.poison;
    try {
      return await this.process.call(name, effect, (kind, point) => this.#trouble(name, kind, point));
    } catch (error) {
      this.poison ??= error as Error;
      this.transaction?.end('rollback');
      throw error;
    }
  }

  #trouble(name: CallName, kind: string, point: 'before' | 'after'): Error | undefined {
    switch (kind) {
      case 'down':
        this.database.downUntilMs = this.database.options.scheduler.nowMs + downMs;
        return new Failure('down', 'the database cannot be reached');
      case 'serialization':
        return new Failure('retry', 'could not serialize access (40001)');
      case 'deadlock':
        return new Failure('retry', 'deadlock detected (40P01)');
      case 'unknown':
        return new WaybillError('COMMIT_UNKNOWN', 'the connection was lost during COMMIT, and the database cannot be asked');
      case 'lost':
        // After a COMMIT the database is asked, and says that it committed.
        return name === 'commit' && point === 'after' ? undefined : new Failure('retry', 'the connection was lost');
      default:
        return undefined;
    }
  }
}

/** A handle on a transaction, or on a savepoint's part of it. */
export class Scope implements StoreTransaction<SimulatedTransaction> {
  readonly unit: Unit;
  readonly parent: Scope | undefined;
  /** For what runs right after BEGIN, and must not wait for itself. */
  readonly early: boolean;
  readonly native: SimulatedTransaction;
  over = false;

  constructor(unit: Unit, parent: Scope | undefined, early: boolean) {
    this.unit = unit;
    this.parent = parent;
    this.early = early;
    this.native = new Native(this);
  }

  assertUsable(): void {
    if (this.unit.isOver || this.over) throw new WaybillError('NOT_A_TRANSACTION', 'this transaction is over');
    this.parent?.assertUsable();
  }

  savepoint<R>(work: (native: SimulatedTransaction) => MaybePromise<R>): Promise<R> {
    this.assertUsable();
    return this.unit.savepoint(this, work);
  }

  afterCommit(fn: () => void): void {
    this.assertUsable();
    this.unit.hooks.push(fn);
  }
}

class Native implements SimulatedTransaction {
  readonly scope: Scope;

  constructor(scope: Scope) {
    this.scope = scope;
  }

  query(): Promise<never> {
    return Promise.reject(new WaybillError('NO_SQL', 'the simulated database has no SQL'));
  }

  lock(key: string): Promise<number> {
    return this.#write(`row/${key}`, (tx) => tx.business.get(key) ?? 0);
  }

  put(key: string, version: number): Promise<void> {
    return this.#write(`row/${key}`, (tx) => tx.business.set(key, version));
  }

  look(key: string): Promise<number> {
    return this.#write(undefined, (tx) => tx.business.get(key) ?? 0);
  }

  effect(effect: Effect): Promise<void> {
    return this.#write(`effects/${effect.id}`, (tx) => tx.effects.set(tx.disk.number(), effect));
  }

  order(order: Order): Promise<void> {
    return this.#write(`order/${order.operation}`, (tx) => tx.orders.set(`${order.operation}/${tx.disk.number()}`, order));
  }

  #write<R>(lock: string | undefined, work: (tx: Transaction) => R): Promise<R> {
    return this.scope.unit.write(this.scope, 'business', lock === undefined ? [] : [lock], work);
  }
}

/** The scope behind what user code was given. */
export function scopeOf(native: unknown): Scope | undefined {
  return native instanceof Native ? native.scope : undefined;
}
