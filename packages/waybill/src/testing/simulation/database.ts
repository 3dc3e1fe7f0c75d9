/**
 * A database server of the simulated machines: rows and indexes of the memory driver under transactions of its own. It
 * outlives the processes that use it; how one of them reaches it stands in `session.ts`.
 *
 * Business tables, for what handlers do: a row per key with a version, and effects. Numbers of ledger rows and effects
 * are given at commit, so their order is commit order.
 */
import { Disk } from '../../stores/memory/disk.ts';
import { Table } from '../../stores/memory/table.ts';
import { Locks } from './locks.ts';
import type { Process } from './process.ts';
import type { Scheduler } from './scheduler.ts';

/** What a handler did. */
export interface Effect {
  readonly subscription: string;
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly key: string;
  readonly n: number;
  /** What the handler published with it; the ledger has it exactly if the effect is there. */
  readonly caused: string | undefined;
}

/** What a client asked for, with the messages that belong to it. */
export interface Order {
  readonly operation: string;
  readonly ids: readonly string[];
}

export interface DatabaseOptions {
  readonly name: string;
  readonly scheduler: Scheduler;
  /** Transactions side by side, READ COMMITTED, row locks, deadlocks, as PostgreSQL has them; else one at a time, as SQLite. */
  readonly parallel: boolean;
  readonly cheapSavepoints: boolean;
}

/** Longest wait for a lock: the transaction is run again after that. */
const lockWaitMs = 5_000;

/** What a server answers with in place of a result, or what stands for its silence. */
export class Failure extends Error {
  readonly kind: 'retry' | 'down';
  constructor(kind: 'retry' | 'down', message: string) {
    super(message);
    this.kind = kind;
  }
}

export class Database {
  readonly options: DatabaseOptions;
  readonly disk: Disk = new Disk();
  readonly business: Table<string, number> = new Table();
  readonly effects: Table<number, Effect> = new Table();
  readonly orders: Table<string, Order> = new Table();
  readonly locks: Locks<Transaction>;
  readonly open: Set<Transaction> = new Set();
  downUntilMs = 0;
  /** Called before a relay's position moves: (from, to] is published by its word. */
  onSettled: (from: number, to: number, parked: readonly string[]) => void = () => {};
  /** Called at each commit, with the numbers given. */
  onCommit: (transaction: Transaction) => void = () => {};

  constructor(options: DatabaseOptions) {
    this.options = options;
    this.locks = new Locks(options.scheduler, lockWaitMs);
  }

  get reachable(): boolean {
    return this.downUntilMs <= this.options.scheduler.nowMs;
  }

  /** @throws Failure */
  assertReachable(): void {
    if (!this.reachable) throw new Failure('down', 'the database cannot be reached');
  }
}

/** A transaction at the server: what it changed, beside what is committed. */
export class Transaction {
  readonly database: Database;
  readonly disk: Disk;
  readonly business: Table<string, number>;
  readonly effects: Table<number, Effect>;
  readonly orders: Table<string, Order>;
  readonly process: Process;
  #isOver = false;

  constructor(database: Database, process: Process) {
    this.database = database;
    this.process = process;
    this.disk = new Disk(database.disk);
    this.business = new Table(database.business);
    this.effects = new Table(database.effects);
    this.orders = new Table(database.orders);
    database.open.add(this);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  mark(): () => void {
    const rewinds = [this.disk.mark(), this.business.mark(), this.effects.mark(), this.orders.mark()];
    return () => {
      for (const rewind of rewinds) rewind();
    };
  }

  end(outcome: 'commit' | 'rollback'): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (outcome === 'commit') {
      this.#number();
      this.database.onCommit(this);
    }
    for (const table of [this.business, this.effects, this.orders]) table[outcome]();
    this.disk.end(outcome);
    this.database.open.delete(this);
    this.database.locks.release(this);
  }

  /** Numbers follow the order of commits: what becomes visible late comes late. */
  #number(): void {
    for (const table of [this.disk.outbox, this.effects] as unknown as Table<number, { position?: number }>[]) {
      for (const [number, row] of table.changes()) {
        if (row === undefined || table.committed.has(number)) continue;
        table.delete(number);
        const position = this.database.disk.number();
        table.set(position, 'position' in row ? { ...row, position } : row);
      }
    }
  }
}
