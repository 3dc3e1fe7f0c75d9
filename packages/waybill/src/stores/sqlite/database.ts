/**
 * One service's file as the process holds it: one writing connection, behind the process's queue (`Mutex`) and the
 * courtesy to other processes (`Door`), and one reading connection. In go pieces of work; out comes a durable commit or
 * an error. One transaction costs BEGIN (4 µs), the statements of its work, and COMMIT with one fsync of the WAL; every
 * 1,000 pages that commit also checkpoints. A crash at any step before COMMIT returned leaves nothing of it.
 */
import { realpathSync, statSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { WaybillError } from '../../contract/errors.ts';
import type { Host, MaybePromise, TransactionOptions } from '../../contract/store.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import { Door, busy } from './door.ts';
import { Mutex } from './mutex.ts';
import { openFile } from './open.ts';
import type { Opened } from './open.ts';
import type { SqliteDatabase, SqliteTransaction, Statements } from './port.ts';
import type { Scope } from './scope.ts';
import { nativeOf, UserStatements } from './sql-transaction.ts';
import { statementsOf } from './statements.ts';
import { Unit } from './transaction.ts';
import type { Writer } from './transaction.ts';

/** From asking for a transaction to BEGIN. Longer than any sane transaction, shorter than a user's patience. */
const beginWaitMs = 10_000;
/** Past it all other writers of the service have waited for long. */
const slowTransactionMs = 100;
/** Normal is 4 MB; a read that is kept open makes the log grow without bound. */
const walPinnedBytes = 64 * 1024 * 1024;
/** How often the files themselves are looked at (2 µs), at most. */
const lookMs = 1_000;
/** A reader meets a lock only while the file is recovered or closed by the last other connection. */
const readWaitMs = 2_000;

/** Transactions as users hold them, of every database in this process: so that `join` can tell strangers apart. */
const natives = new WeakMap<object, Scope>();

export class Database implements SqliteDatabase, Writer {
  readonly file: string;
  readonly service: string;
  readonly incarnation: string;
  readonly connection: DatabaseSync;
  readonly statements: Statements;
  readonly #reader: DatabaseSync;
  readonly #reading: Statements;
  readonly #user: UserStatements;
  readonly #door: Door;
  readonly #mutex = new Mutex();
  readonly #host: Host;
  /** The file itself, where `file` is a link to it: its log and its door stand beside it. */
  readonly #real: string;
  readonly #inode: number | undefined;
  #closed = false;
  #lost: WaybillError | undefined;
  #begunMs = 0;
  #lookedMs = performance.now();
  #pinned = false;

  private constructor(file: string, host: Host, { writer, reader, incarnation }: Opened) {
    this.file = file;
    this.service = host.service;
    this.incarnation = incarnation;
    this.#host = host;
    this.connection = writer;
    this.#reader = reader;
    this.statements = statementsOf(writer, file);
    this.#reading = reader === writer ? this.statements : statementsOf(reader, file);
    this.#user = new UserStatements(writer, file);
    this.#real = this.#inMemory ? file : realpathSync(file);
    this.#inode = this.#inMemory ? undefined : statSync(this.#real, { throwIfNoEntry: false })?.ino;
    this.#door = new Door(writer, this.#real);
  }

  /** `file`: absolute path, or `:memory:`. @throws WaybillError with one of the `STORE_…` codes */
  static async open(file: string, host: Host): Promise<Database> {
    return new Database(file, host, await openFile({ file, service: host.service, migrate: host.migrate }));
  }

  get database(): this {
    return this;
  }

  get inTransaction(): boolean {
    return this.connection.isOpen && this.connection.isTransaction;
  }

  get #inMemory(): boolean {
    return this.file === ':memory:';
  }

  async write<R>(work: (tx: SqliteTransaction) => MaybePromise<R>, options: TransactionOptions = {}): Promise<R> {
    const unit = new Unit(this, options.lazy === true ? options : {});
    try {
      if (options.lazy !== true) await unit.begin();
      const result = await work(unit.root);
      await unit.commit();
      return result;
    } catch (error) {
      unit.abandon(error);
      throw error;
    }
  }

  async read<R>(work: (statements: Statements) => R): Promise<R> {
    if (this.#inMemory) return this.#readInMemory(work);
    for (const deadlineMs = performance.now() + readWaitMs; ; ) {
      this.#assertOpen();
      try {
        return work(this.#reading);
      } catch (error) {
        if (!WaybillError.is(error, 'STORE_BUSY') || performance.now() > deadlineMs) throw error;
      }
      await sleep(1);
    }
  }

  /** There is one connection: an open transaction's rows must not be seen, so the read waits for its end. */
  async #readInMemory<R>(work: (statements: Statements) => R): Promise<R> {
    if (!this.#mutex.tryTake() && !(await this.#mutex.take(beginWaitMs))) throw busy(this.file, beginWaitMs);
    try {
      this.#assertOpen();
      return work(this.#reading);
    } finally {
      this.#mutex.give();
    }
  }

  /** What `tx` of a user stands for. @throws WaybillError `NOT_A_TRANSACTION` */
  join(native: unknown): SqliteTransaction {
    const scope = typeof native === 'object' && native !== null ? natives.get(native) : undefined;
    if (scope === undefined) throw stranger(native);
    if (scope.database !== this) {
      throw new WaybillError('NOT_A_TRANSACTION', `This transaction is one of ${scope.database.file}, and the bus stores in ${this.file}: pass one of this bus.`);
    }
    scope.unit.assertUsable(scope);
    return scope;
  }

  native(scope: Scope): SqlTransaction {
    const native = nativeOf(scope, this.#user);
    natives.set(native, scope);
    return native;
  }

  begin(): Promise<void> | undefined {
    this.#assertOpen();
    if (!this.#mutex.tryTake()) return this.#beginInTurn();
    try {
      if (!this.#door.tryBegin()) return this.#beginThroughDoor(beginWaitMs);
    } catch (error) {
      this.#mutex.give();
      throw error;
    }
    this.#begunMs = performance.now();
    return undefined;
  }

  async #beginInTurn(): Promise<void> {
    const askedMs = performance.now();
    if (!(await this.#mutex.take(beginWaitMs))) throw busy(this.file, beginWaitMs);
    await this.#beginThroughDoor(beginWaitMs - (performance.now() - askedMs));
  }

  async #beginThroughDoor(waitMs: number): Promise<void> {
    try {
      this.#assertOpen();
      await this.#door.begin(waitMs);
      this.#begunMs = performance.now();
    } catch (error) {
      this.#mutex.give();
      throw error;
    }
  }

  ended(committed: boolean): void {
    const nowMs = performance.now();
    const heldMs = nowMs - this.#begunMs;
    this.#door.left(heldMs);
    this.#mutex.give();
    if (heldMs > slowTransactionMs) this.#host.signals.emit('slow-transaction', { heldMs });
    if (committed && nowMs - this.#lookedMs > lookMs) this.#look(nowMs);
  }

  trouble(where: string, error: unknown): void {
    this.#host.signals.emit('trouble', { where, error });
  }

  /** Looks at the files now and then: at the log's size, and whether the file is still the one that was opened. */
  #look(nowMs: number): void {
    this.#lookedMs = nowMs;
    if (this.#inMemory) return;
    try {
      this.#lookAtFiles();
    } catch (error) {
      this.trouble(`looking at ${this.file}`, error); // the transaction is committed all the same
    }
  }

  #lookAtFiles(): void {
    const bytes = statSync(`${this.#real}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    if (bytes > walPinnedBytes && !this.#pinned) this.#host.signals.emit('wal-pinned', { bytes });
    this.#pinned = bytes > walPinnedBytes;
    if (statSync(this.#real, { throwIfNoEntry: false })?.ino === this.#inode) return;
    this.#lost = new WaybillError(
      'STORE_UNREACHABLE',
      `${this.file} was deleted or replaced while it was open, so what is written goes nowhere: restart the service.`,
    );
  }

  #assertOpen(): void {
    if (this.#closed) throw new WaybillError('STOPPED', `${this.file} has been closed: the bus was stopped.`);
    if (this.#lost !== undefined) throw this.#lost;
  }

  /** Closes once the transaction that is open now has ended, or after 10 s without it: then nothing of it is committed. */
  async closeInTurn(): Promise<void> {
    if (this.#closed) return;
    const inTurn = await this.#mutex.take(beginWaitMs);
    this.close();
    if (inTurn) this.#mutex.give(); // those behind learn that it is closed
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#door.close();
    if (this.#reader !== this.connection) this.#reader.close();
    this.connection.close();
  }
}

function stranger(native: unknown): WaybillError {
  const what = describe(native);
  return new WaybillError(
    'NOT_A_TRANSACTION',
    `\`tx\` is ${what}, and not a transaction of this bus: pass the \`tx\` of \`bus.transaction\` or of a handler (\`ctx.tx\`).`,
  );
}

/** By shape first: the names of classes are often shortened by bundlers. */
function describe(native: unknown): string {
  if (native === null || native === undefined) return String(native);
  if (typeof native !== 'object' && typeof native !== 'function') return `a ${typeof native}`;
  const has = (name: string): boolean => name in native;
  if (has('$connect')) return 'a PrismaClient';
  if (has('totalCount') && has('connect')) return 'a pool';
  if (has('prepare') && has('exec')) return 'a database connection (DatabaseSync)';
  if (has('publish') && has('subscribe')) return 'the bus itself';
  const name = native.constructor?.name;
  return name === undefined || name === '' || name === 'Object' ? `an ${typeof native}` : `a ${name}`;
}
