import { WaybillError } from '../../contract/errors.ts';
import type { Clock } from '../../contract/clock.ts';
import type { MaybePromise, StoreTransaction, TransactionOptions } from '../../contract/store.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import type { Disk } from './disk.ts';

/** Longest wait for the transactions before; the bus runs the whole function again after that. */
const busyMs = 5_000;

/**
 * One transaction: `waiting` until it may write, `open`, then `over`. The changes stand in the disk's tables beside
 * what is committed; a crash at any step before `commit` leaves nothing of them.
 */
export class Unit {
  readonly disk: Disk;
  readonly root: Scope;
  readonly #clock: Clock;
  readonly #onBegin: TransactionOptions['onBegin'];
  readonly #onWait: TransactionOptions['onWait'];
  #state: 'waiting' | 'open' | 'over' = 'waiting';
  #begun: Promise<void> | undefined;
  /** Goes back to where the work's own writes begin: what `onBegin` wrote stays. */
  #atBegin: () => void = () => {};
  #hooks: (() => void)[] = [];

  constructor(disk: Disk, clock: Clock, { onBegin, onWait }: TransactionOptions = {}) {
    this.disk = disk;
    this.#clock = clock;
    this.#onBegin = onBegin;
    this.#onWait = onWait;
    this.root = new Scope(this, undefined, false);
  }

  get isOver(): boolean {
    return this.#state === 'over';
  }

  /** Whoever writes first begins it; a beginning that failed fails every write, and the commit. */
  begin(): Promise<void> {
    this.#begun ??= this.#begin();
    return this.#begun;
  }

  async #begin(): Promise<void> {
    await this.#lock();
    if (this.isOver) {
      this.disk.end('rollback'); // given up while it waited
      throw over();
    }
    this.#state = 'open';
    if (this.#onBegin) {
      const early = new Scope(this, this.root, true);
      await this.#onBegin(early);
      early.over = true;
    }
    this.#atBegin = this.disk.mark();
  }

  #lock(): Promise<void> {
    return new Promise((resolve, reject) => {
      const granted = (): void => {
        cancel();
        resolve();
      };
      const leave = this.disk.lock(granted);
      if (leave === 'locked') return resolve();
      this.#onWait?.();
      const cancel = this.#clock.after(busyMs, () => {
        leave();
        reject(new WaybillError('STORE_BUSY', `the store was busy for ${busyMs} ms; run the transaction again`));
      });
    });
  }

  async savepoint<R>(work: (native: SqlTransaction) => MaybePromise<R>, parent: Scope): Promise<R> {
    const scope = new Scope(this, parent, parent.early);
    const rewind = this.#state === 'open' ? this.disk.mark() : () => this.#atBegin();
    const hooks = [...this.#hooks];
    try {
      return await work(scope.native);
    } catch (error) {
      if (this.#state === 'open') rewind();
      this.#hooks = hooks;
      throw error;
    } finally {
      scope.over = true;
    }
  }

  afterCommit(fn: () => void): void {
    this.#hooks.push(fn);
  }

  /** @returns what is to run after the commit */
  async commit(): Promise<readonly (() => void)[]> {
    await this.#begun;
    if (this.isOver) throw over();
    this.#end('commit');
    return this.#hooks;
  }

  rollback(): void {
    this.#end('rollback');
  }

  #end(outcome: 'commit' | 'rollback'): void {
    const wrote = this.#state === 'open';
    this.#state = 'over';
    if (wrote) this.disk.end(outcome);
  }
}

/** A handle on a transaction or on a savepoint's part of it; dead once that is over. */
export class Scope implements StoreTransaction<SqlTransaction> {
  readonly unit: Unit;
  readonly parent: Scope | undefined;
  /** For what runs right after BEGIN, and must not wait for itself. */
  readonly early: boolean;
  readonly native: SqlTransaction = { query: () => this.#noSql() };
  over: boolean = false;

  constructor(unit: Unit, parent: Scope | undefined, early: boolean) {
    this.unit = unit;
    this.parent = parent;
    this.early = early;
    scopes.set(this.native, this);
  }

  async writing<R>(work: (disk: Disk) => R): Promise<R> {
    this.assertUsable();
    if (!this.early) await this.unit.begin();
    this.assertUsable();
    return work(this.unit.disk);
  }

  async savepoint<R>(work: (native: SqlTransaction) => MaybePromise<R>): Promise<R> {
    this.assertUsable();
    return this.unit.savepoint(work, this);
  }

  afterCommit(fn: () => void): void {
    this.assertUsable();
    this.unit.afterCommit(fn);
  }

  /** @throws WaybillError `NOT_A_TRANSACTION` */
  assertUsable(): void {
    if (this.unit.isOver || this.over) throw over();
    this.parent?.assertUsable();
  }

  #noSql(): Promise<never> {
    try {
      this.assertUsable();
    } catch (error) {
      return Promise.reject(error as Error);
    }
    return Promise.reject(new WaybillError('NO_SQL', "the memory store keeps no tables of yours: use 'sqlite::memory:'"));
  }
}

const scopes = new WeakMap<object, Scope>();

/** The scope behind what user code was given. */
export function scopeOf(native: unknown): Scope | undefined {
  return typeof native === 'object' && native !== null ? scopes.get(native) : undefined;
}

export function over(): WaybillError {
  return new WaybillError('NOT_A_TRANSACTION', 'this transaction is over: await every statement inside it');
}
