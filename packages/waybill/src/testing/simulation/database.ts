/**
 * A database server of the simulated machines, as the store port sees one: rows and indexes of the memory driver under
 * transactions of its own. `parallel`: transactions side by side, READ COMMITTED, row locks, deadlocks, as PostgreSQL has
 * them; otherwise one at a time, as SQLite. It outlives the processes that use it.
 *
 * Business tables, for what handlers do: a row per key with a version, and effects. Numbers of ledger rows and effects
 * are given at commit, so their order is commit order.
 */
import { WaybillError } from '../../contract/errors.ts';
import type {
  Host,
  MaybePromise,
  Store,
  StorePorts,
  StoreSession,
  StoreTransaction,
  TransactionOptions,
  WaitingRow,
} from '../../contract/store.ts';
import { Disk, keyOf } from '../../stores/memory/disk.ts';
import { portsOver } from '../../stores/memory/index.ts';
import { Table } from '../../stores/memory/table.ts';
import type { CallName } from './faults.ts';
import { Locks } from './locks.ts';
import { type Process, startMs } from './process.ts';
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

export interface DatabaseOptions {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly parallel: boolean;
  readonly cheapSavepoints: boolean;
}

/** Longest wait for a lock: the transaction is run again after that. */
const lockWaitMs = 5_000;
/** The server notices a client that died this soon. */
const noticeMs = 20;

class Failure extends Error {
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

  /** The store driver of one process. */
  store(process: Process): Store<SimulatedTransaction> {
    return {
      kind: 'simulated',
      fromClient: false,
      open: async (host) => {
        this.disk.service ??= host.service;
        if (this.disk.service === host.service) return new Session(this, process, host).session;
        throw new WaybillError('STORE_FOREIGN', `this database belongs to ${this.disk.service}`);
      },
    };
  }
}

/** A transaction at the server. */
export class Transaction {
  readonly database: Database;
  readonly disk: Disk;
  readonly business: Table<string, number>;
  readonly effects: Table<number, Effect>;
  readonly orders: Table<string, Order>;
  readonly process: Process;
  state: 'open' | 'over' = 'open';

  constructor(database: Database, process: Process) {
    this.database = database;
    this.process = process;
    this.disk = new Disk(database.disk);
    this.business = new Table(database.business);
    this.effects = new Table(database.effects);
    this.orders = new Table(database.orders);
    database.open.add(this);
  }

  mark(): () => void {
    const rewinds = [this.disk.mark(), this.business.mark(), this.effects.mark(), this.orders.mark()];
    return () => {
      for (const rewind of rewinds) rewind();
    };
  }

  end(outcome: 'commit' | 'rollback'): void {
    if (this.state === 'over') return;
    this.state = 'over';
    if (outcome === 'commit') {
      // Numbers follow the order of commits: what becomes visible late comes late.
      for (const table of [this.disk.outbox, this.effects] as unknown as Table<number, { position?: number }>[]) {
        const added = table.changes().filter(([number, row]) => row !== undefined && table.committed.get(number) === undefined);
        for (const [number, row] of added) {
          table.delete(number);
          const position = this.database.disk.number();
          table.set(position, 'position' in row! ? { ...row, position } : row!);
        }
      }
      this.database.onCommit(this);
    }
    for (const table of [this.business, this.effects, this.orders]) table[outcome]();
    this.disk.end(outcome);
    this.database.open.delete(this);
    this.database.locks.release(this);
  }
}

/** A handle on a transaction, or on a savepoint's part of it. */
class Scope implements StoreTransaction<SimulatedTransaction> {
  readonly unit: Unit;
  readonly parent: Scope | undefined;
  readonly early: boolean;
  readonly native: SimulatedTransaction;
  over = false;

  constructor(unit: Unit, parent: Scope | undefined, early: boolean) {
    this.unit = unit;
    this.parent = parent;
    this.early = early;
    const write = <R>(key: string | undefined, work: (tx: Transaction) => R): Promise<R> => unit.write(this, 'business', key === undefined ? [] : [key], work);
    this.native = {
      query: () => Promise.reject(new WaybillError('NO_SQL', 'the simulated database has no SQL')),
      lock: (key) => write(`row/${key}`, (tx) => tx.business.get(key) ?? 0),
      put: (key, version) => write(`row/${key}`, (tx) => tx.business.set(key, version)),
      look: (key) => write(undefined, (tx) => tx.business.get(key) ?? 0),
      effect: (effect) => write(`effects/${effect.id}`, (tx) => tx.effects.set(tx.disk.number(), effect)),
      order: (order) => write(`order/${order.operation}`, (tx) => tx.orders.set(`${order.operation}/${tx.disk.number()}`, order)),
    };
    scopes.set(this.native, this);
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

const scopes = new WeakMap<object, Scope>();

function isOver(transaction: Transaction): boolean {
  return transaction.state === 'over';
}

/** A client's side of one transaction. */
class Unit {
  readonly session: Session;
  readonly root: Scope;
  /** Whom to tell of a wait, and of its beginning. */
  readonly told: TransactionOptions;
  hooks: (() => void)[] = [];
  transaction: Transaction | undefined;
  isOver = false;
  /** The first trouble poisons it: nothing more is done, and it is not committed. */
  poison: Error | undefined;
  #begun: Promise<void> | undefined;
  #line: Promise<void> = Promise.resolve();
  #atBegin: (() => void) | undefined;

  constructor(session: Session, told: TransactionOptions) {
    this.session = session;
    this.told = told;
    this.root = new Scope(this, undefined, false);
  }

  begin(): Promise<void> {
    this.#begun ??= this.#begin();
    return this.#begun;
  }

  async #begin(): Promise<void> {
    const { database } = this.session;
    this.told.onWait?.();
    await this.call('begin', async () => {
      if (!database.reachable) throw new Failure('down', 'the database cannot be reached');
      const transaction = new Transaction(database, this.session.process);
      this.transaction = transaction;
      if (!database.options.parallel) await database.locks.take(transaction, 'the file');
    });
    if (this.told.onBegin) {
      const early = new Scope(this, this.root, true);
      await this.told.onBegin(early);
      early.over = true;
    }
    this.#atBegin = this.transaction!.mark();
  }

  /** A statement: waits for its rows' locks, then sees what is committed by then. */
  async write<R>(scope: Scope, name: CallName, locks: readonly string[], work: (tx: Transaction) => R): Promise<R> {
    scope.assertUsable();
    if (!scope.early) await this.begin();
    scope.assertUsable();
    return this.call(name, async () => {
      const transaction = this.transaction!;
      for (const lock of this.session.database.options.parallel ? locks : []) {
        if (isOver(transaction)) break;
        await this.session.database.locks.take(transaction, lock);
      }
      if (isOver(transaction)) throw new Failure('retry', 'the connection was lost');
      return work(transaction);
    });
  }

  async savepoint<R>(scope: Scope, work: (native: SimulatedTransaction) => MaybePromise<R>): Promise<R> {
    const inner = new Scope(this, scope, scope.early);
    if (this.transaction) await this.call('savepoint', () => {});
    const rewind = this.transaction?.mark();
    const hooks = [...this.hooks];
    try {
      return await work(inner.native);
    } catch (error) {
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
    if (!this.transaction) return;
    await this.call('commit', () => {
      if (this.transaction!.state === 'over') throw new Failure('retry', 'the connection was lost before COMMIT');
      this.transaction!.end('commit');
    });
  }

  rollback(): void {
    this.isOver = true;
    this.transaction?.end('rollback');
  }

  /** One statement after another, as on a connection: also behind what an abandoned handler left under way. */
  async call<R>(name: CallName, effect: () => R | Promise<R>): Promise<R> {
    const before = this.#line;
    let over = (): void => {};
    this.#line = new Promise((resolve) => (over = resolve));
    await before;
    try {
      return await this.#statement(name, effect);
    } finally {
      over();
    }
  }

  async #statement<R>(name: CallName, effect: () => R | Promise<R>): Promise<R> {
    if (this.poison) throw this.poison;
    try {
      return await this.session.process.call(name, effect, (kind, point) => this.#trouble(name, kind, point));
    } catch (error) {
      this.poison ??= error as Error;
      this.transaction?.end('rollback');
      throw error;
    }
  }

  #trouble(name: CallName, kind: string, point: 'before' | 'after'): Error | undefined {
    switch (kind) {
      case 'down':
        this.session.database.downUntilMs = this.session.database.options.scheduler.nowMs + 4_000;
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

class Session {
  readonly database: Database;
  readonly process: Process;
  readonly host: Host;
  readonly session: StoreSession<SimulatedTransaction>;
  readonly #units = new Set<Unit>();
  #closed = false;

  constructor(database: Database, process: Process, host: Host) {
    this.database = database;
    this.process = process;
    // Leases and ages are told by the server's clock.
    this.host = { ...host, clock: { ...host.clock, now: () => startMs + database.options.scheduler.nowMs } };
    const { parallel, cheapSavepoints, scheduler } = database.options;
    // The server rolls back what a dead client had open, as soon as it notices.
    process.onDeath(() => {
      for (const unit of this.#units) scheduler.after(noticeMs, () => unit.transaction?.end('rollback'));
    });
    this.session = {
      capabilities: { parallelTransactions: parallel, cheapSavepoints },
      ports: this.#ports(),
      transaction: (work, options) => this.#transaction(work, options),
      join: (native) => {
        const scope = typeof native === 'object' && native !== null ? scopes.get(native) : undefined;
        if (!scope || scope.unit.session !== this) throw new WaybillError('NOT_A_TRANSACTION', 'no transaction of this database');
        scope.assertUsable();
        return scope;
      },
      classify,
      close: async () => {
        this.#closed = true;
        for (const unit of this.#units) unit.rollback();
      },
    };
  }

  async #transaction<R>(
    work: (tx: StoreTransaction<SimulatedTransaction>) => MaybePromise<R>,
    options: TransactionOptions = {},
  ): Promise<R> {
    if (this.process.dead) return new Promise(() => {});
    if (this.#closed) throw new WaybillError('STOPPED', 'this session of the database was closed');
    const unit = new Unit(this, options.lazy === true ? options : {});
    this.#units.add(unit);
    try {
      if (options.lazy !== true) await unit.begin();
      const result = await work(unit.root);
      await unit.commit();
      unit.isOver = true;
      for (const fn of unit.hooks) this.#hook(fn);
      return result;
    } catch (error) {
      unit.rollback();
      throw error;
    } finally {
      this.#units.delete(unit);
    }
  }

  #hook(fn: () => void): void {
    try {
      fn();
    } catch (error) {
      this.host.signals.emit('trouble', { where: 'afterCommit', error });
    }
  }

  /** The memory driver's statements, each behind the locks of its rows. */
  #ports(): StorePorts {
    const { database, process } = this;
    const { disk } = database;
    /** Name and locks of the statement that the memory driver is about to run. */
    let next: { name: CallName; locks: readonly string[] } = { name: 'business', locks: [] };
    const writing = <R>(tx: StoreTransaction, work: (disk: Disk) => R): Promise<R> => {
      const { name, locks } = next;
      if (!(tx instanceof Scope) || tx.unit.session !== this) {
        return Promise.reject(new WaybillError('NOT_A_TRANSACTION', 'this is no open transaction of this database'));
      }
      return tx.unit.write(tx, name, locks, (transaction) => work(transaction.disk));
    };
    const write = <R>(work: (disk: Disk) => R): Promise<R> => {
      const own = next;
      return this.#transaction((tx) => {
        next = own;
        return writing(tx, work);
      });
    };
    const real = portsOver({ disk, host: this.host, writing, write });
    const at = <R>(name: CallName, locks: readonly string[], run: () => R): R => {
      next = { name, locks };
      return run();
    };
    const read = <R>(name: CallName, run: () => Promise<R>): Promise<R> =>
      process.call(name, () => {
        if (!database.reachable) throw new Failure('down', 'the database cannot be reached');
        return run();
      }, (kind) => (kind === 'lost' ? new Failure('down', 'the connection was lost') : undefined)); // prettier-ignore
    const waitingLock = ({ row }: Pick<WaitingRow, 'row'>): string => `waiting/${row}`;

    const { outbox, inbox, waiting, failures, once, sagas, streams, inspect } = real;
    return {
      ...real,
      outbox: {
        append: (tx, messages) => at('outbox.append', [], () => outbox.append(tx, messages)),
        lockKey: (tx, key) => at('business', [`key/${key}`], () => outbox.lockKey(tx, key)),
        trim: (beforeMs, max) => at('outbox.release', ['relay'], () => outbox.trim(beforeMs, max)),
        history: (query) => read('outbox.read', () => outbox.history!(query)),
        acquire: async (owner, leaseMs) => {
          const lease = await at('outbox.acquire', ['relay'], () => outbox.acquire(owner, leaseMs));
          return (
            lease && {
              read: (max) => read('outbox.read', () => lease.read(max)),
              settle: async (position, parked) => {
                const from = disk.relay.committed.get('relay')?.position ?? 0;
                database.onSettled(from, position, parked.map((row) => row.message.id));
                await at('outbox.settle', ['relay'], () => lease.settle(position, parked));
              },
              renew: () => at('outbox.renew', ['relay'], () => lease.renew()),
              release: () => at('outbox.release', ['relay'], () => lease.release()),
            }
          );
        },
      },
      inbox: {
        insert: (tx, subscription, keys) =>
          at('inbox.insert', keys.map(({ source, id }) => `inbox/${keyOf(subscription, source, id)}`), () => inbox.insert(tx, subscription, keys)),
        has: (subscription, key) => read('inbox.has', () => inbox.has(subscription, key)),
        sources: (subscription, max) => read('inbox.has', () => inbox.sources(subscription, max)),
        advance: (tx, mark) => at('inbox.advance', [`mark/${keyOf(mark.subscription, mark.source, mark.event, mark.key)}`], () => inbox.advance(tx, mark)),
        rename: (tx, from, to) => at('inbox.rename', ['rename'], () => inbox.rename(tx, from, to)),
        trim: (beforeMs, max) => at('inbox.insert', [], () => inbox.trim(beforeMs, max)),
      },
      waiting: {
        add: (tx, entries) => at('waiting.add', [], () => waiting.add(tx, entries)),
        nowMs: (tx) => waiting.nowMs(tx),
        due: (subscription, when, max, owner) => read('waiting.due', () => waiting.due(subscription, when, max, owner)),
        nextDue: () => read('waiting.due', () => waiting.nextDue()),
        start: (rows, claim) => at('waiting.start', rows.map(waitingLock), () => waiting.start(rows, claim)),
        settle: (tx, row, change) => at('waiting.settle', [waitingLock(row)], () => waiting.settle(tx, row, change)),
        blocked: (tx, subscription, keys) => at('waiting.blocked', [], () => waiting.blocked(tx, subscription, keys)),
        cancel: (tx, id, subscription) => {
          const row = [...disk.waiting.committed.values()].find(({ message }) => message.id === id);
          return at('waiting.cancel', row ? [waitingLock(row)] : [], () => waiting.cancel(tx, id, subscription));
        },
      },
      failures: {
        add: (tx, rows) => at('failures.add', [], () => failures.add(tx, rows)),
        take: (tx, rows) => at('failures.add', rows.map((row) => `failure/${row}`), () => failures.take(tx, rows)),
      },
      once: {
        find: (tx, scope, key) => at('once.find', [`once/${keyOf(scope, key)}`], () => once.find(tx, scope, key)),
        save: (tx, entry) => at('once.save', [`once/${keyOf(entry.scope, entry.key)}`], () => once.save(tx, entry)),
        trim: (nowMs, max) => at('once.save', [], () => once.trim(nowMs, max)),
      },
      ...(sagas && { sagas: {
        ...sagas,
        load: (tx, saga, key) => at('saga.load', disk.sagas.committed.has(keyOf(saga, key)) ? [`saga/${keyOf(saga, key)}`] : [], () => sagas.load(tx, saga, key)),
        save: (tx, row) => at('saga.save', [`saga/${keyOf(row.saga, row.key)}`], () => sagas.save(tx, row)),
        awaken: (tx, saga, key, due) => at('saga.awaken', [], () => sagas.awaken(tx, saga, key, due)),
        trim: (beforeMs, max) => at('outbox.release', [], () => sagas.trim(beforeMs, max)),
      } }),
      // Appends come one at a time, each until its transaction ends: so positions are commit order.
      ...(streams && { streams: {
        ...streams,
        append: (tx, ...given) => at('stream.append', ['streams'], () => streams.append(tx, ...given)),
        read: (stream, version, max, tx) =>
          tx ? at('stream.read', [], () => streams.read(stream, version, max, tx)) : read('stream.read', async () => streams.read(stream, version, max)),
        scan: (cursor, max) => read('stream.scan', () => streams.scan(cursor, max)),
        reset: (tx, projection) => at('projection.settle', [`projection/${projection}`], () => streams.reset(tx, projection)),
        acquire: async (projection, ...given) => {
          const row = [`projection/${projection}`];
          const lease = await at('projection.acquire', row, () => streams.acquire(projection, ...given));
          return lease && {
            ...lease,
            settleIn: (tx, cursor) => at('projection.settle', row, () => lease.settleIn(tx, cursor)),
            renew: (failure) => at('projection.renew', row, () => lease.renew(failure)),
            release: () => at('projection.release', row, () => lease.release()),
          };
        },
      } }),
      inspect,
    };
  }
}

/** Looks through what user code wrapped around the database's error, this deep at most. */
const causesMax = 8;
const down: ReadonlySet<string> = new Set(['STORE_UNREACHABLE', 'STORE_FULL', 'STORE_READONLY', 'STORE_CORRUPT', 'COMMIT_UNKNOWN']);

function classify(error: unknown): 'retry' | 'down' | 'other' {
  for (let depth = 0, at = error; depth < causesMax && at != null; depth++, at = (at as { cause?: unknown }).cause) {
    if (at instanceof Failure) return at.kind;
    if (WaybillError.is(at, 'STORE_BUSY')) return 'retry';
    if (WaybillError.is(at) && down.has(at.code)) return 'down';
  }
  return 'other';
}
