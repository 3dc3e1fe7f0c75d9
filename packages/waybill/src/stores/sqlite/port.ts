/** What the SQLite store shares with the SQLite transport, which is made of the store's own files. */
import { WaybillError } from '../../contract/errors.ts';
import type { MaybePromise, StoreSession, StoreTransaction, TransactionOptions } from '../../contract/store.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';

export type SqlValue = null | number | bigint | string | Uint8Array;
export type SqlRow = Record<string, SqlValue>;

/** Statements on one connection; prepared once per text and kept. Synchronous: SQLite is. */
export interface Statements {
  run(sql: string, ...values: readonly SqlValue[]): { changes: number; lastInsertRowid: number };
  get<Row = SqlRow>(sql: string, ...values: readonly SqlValue[]): Row | undefined;
  all<Row = SqlRow>(sql: string, ...values: readonly SqlValue[]): Row[];
  /** `all` with each row as an array, at two thirds of its price: for what reads thousands. */
  tuples<Row = SqlValue[]>(sql: string, ...values: readonly SqlValue[]): Row[];
}

/** An open write transaction: statements on the only writing connection, between BEGIN IMMEDIATE and COMMIT. */
export interface SqliteTransaction extends StoreTransaction<SqlTransaction> {
  /** The database it writes to: a port takes no transaction of another file. */
  readonly database: SqliteDatabase;
  /** @throws WaybillError `NOT_A_TRANSACTION` once it is over, and in a lazy one that has not begun: see `writing` */
  readonly statements: Statements;
  /** Runs `work` in the transaction; a lazy one begins first. Answers at once when it has begun. */
  writing<R>(work: (statements: Statements) => R): MaybePromise<R>;
  /**
   * Rows that are written together: before COMMIT at the latest, and before a savepoint begins or ends, so that they are
   * on the side of it where they were given. What is undone before is never written.
   */
  hold<Row>(row: Row, writer: RowWriter<Row>): MaybePromise<void>;
  /** Writes what is held: whoever asks their table has to see them. */
  writeHeld(): void;
}

/** Writes rows of one kind with as few statements as it can. One object per kind: rows are told apart by it. */
export interface RowWriter<Row> {
  /** So many are written although more may come. */
  readonly rowsMax: number;
  write(statements: Statements, rows: readonly Row[]): void;
}

/** One service's file: the writing connection behind its mutex and door, and a reading one. */
export interface SqliteDatabase {
  /** Absolute path, or `:memory:`. */
  readonly file: string;
  readonly service: string;
  /** Made once with the file: a file that was deleted and made again has another. */
  readonly incarnation: string;
  write<R>(work: (tx: SqliteTransaction) => MaybePromise<R>, options?: TransactionOptions): Promise<R>;
  /** A short read of committed rows; never holds a transaction open. Asynchronous only for a database in memory. */
  read<R>(work: (statements: Statements) => R): Promise<R>;
  close(): void;
}

/** The session of a SQLite store: the transport recognises it by its `database`. */
export interface SqliteStoreSession extends StoreSession<SqlTransaction> {
  readonly database: SqliteDatabase;
}

export function isSqliteSession(session: StoreSession): session is SqliteStoreSession {
  return typeof (session as Partial<SqliteStoreSession>).database?.incarnation === 'string';
}

/**
 * The SQLite side of a transaction that a room handed on.
 * @throws WaybillError `NOT_A_TRANSACTION` when it was not opened by a session of this `database`
 */
export function sqliteTransaction(tx: StoreTransaction, database: SqliteDatabase): SqliteTransaction {
  if ((tx as Partial<SqliteTransaction>).database === database) return tx as SqliteTransaction;
  throw new WaybillError('NOT_A_TRANSACTION', `This transaction was not opened on ${database.file}: pass one of this bus.`);
}
