/**
 * The port between a store and the user's database client. What comes in is whatever the user already has: a root client
 * (a pool, an ORM's instance) to open transactions with, or a transaction that the user opened. What goes out is SQL in
 * that transaction, the same text for every library. Nothing is imported: a library is known by its shape. A crash leaves
 * what the database leaves: nothing of a transaction whose COMMIT had not arrived.
 *
 * **One encoding for all.** Values go in as text, number or null, and are cast in the statement from text:
 * `$1::text::bigint`, `$1::text::jsonb`, `$1::text::text[]`, `decode($1::text, 'base64')`. The inner `::text` matters:
 * without it postgres.js asks the server for the parameter's type and encodes the text a second time. Columns come out as
 * text or null and are cast likewise (`position::text`, `encode(body, 'base64')`), because every library reads types in
 * its own way, and users replace the parsers; `void` and `xid8` Prisma cannot read at all. **Name every column by one lower-case word**
 * (`position`, not `created_at`): some libraries rename columns for their users (`CamelCasePlugin`, `postgres.toPascal`),
 * and one word survives that.
 *
 * What a transaction costs, in round trips besides its statements (a `{ tx }` of the user's own in brackets, per publish):
 *
 * | library | begin and commit | last question | |
 * |---|---|---|---|
 * | pg | 1 (BEGIN travels with the first statement), 0 when rows travel with COMMIT and nothing else is said | 1, or 0 when the id is known or rows travel with COMMIT | (0; 1 with a pg that does not tell its state) pipelines with the Pool's `pipeline`, where BEGIN is waited for |
 * | postgres.js | 2 | 1 | (1) pipelines; one more per new statement where `prepare: false` |
 * | Kysely | 2 | 1 | (1; 0 in a controlled transaction) |
 * | Drizzle on pg, on postgres.js | 2, 3 | 1 | (0, 1) |
 * | Prisma | 3 | 1 | (0) |
 * | TypeORM, Sequelize | 3 | 1 | (0) |
 * | Knex | 2 | 1 | (0) |
 * | MikroORM | 2 | 1 | (0) and the flush of what was persisted |
 */
import { WaybillError } from '../../contract/errors.ts';
import type { Late } from './late.ts';

/** A value on its way in. */
export type SqlValue = string | number | null;

export interface Sql {
  /** Runs one statement with `$1` placeholders and answers its rows. Every column must be text, and named by one word. */
  query<Row extends object = Record<string, string | null>>(text: string, values?: readonly SqlValue[]): Promise<Row[]>;
  /** Runs one statement with `$1` placeholders and answers how many rows it touched. */
  execute(text: string, values?: readonly SqlValue[]): Promise<number>;
}

/** A transaction that is open now, of any supported library. */
export interface OpenTransaction<out Tx = unknown> extends Sql {
  /** The library's name, as it stands in errors. */
  readonly library: string;
  /** The transaction as the user's code sees it. */
  readonly native: Tx;
  /**
   * Whether a statement may be sent before the one before it has answered. Where not, await each: the library would queue
   * it anyway, or warn.
   */
  readonly pipelines: boolean;
  /** Its id (`pg_current_xact_id()::text`), if a statement has told it: on pg saves the question before COMMIT. */
  xid: string | undefined;
  /** Lets a statement travel with COMMIT; undefined where the library commits by itself, and in a user's own transaction. */
  readonly late: Late | undefined;
  /** Of a user's own: calls once, when it is seen to be over, whichever way; undefined where nothing tells (`end.ts`). */
  readonly whenOver: ((over: () => void) => void) | undefined;
  /**
   * Runs `work` in a savepoint, undone when it throws; the error is thrown on. Plain `savepoint` statements will not do
   * for every library: postgres.js gives up the whole transaction once any statement of it has failed outside its own.
   */
  savepoint<R>(work: (part: OpenTransaction<Tx>) => Promise<R>): Promise<R>;
  /** @throws WaybillError `NOT_A_TRANSACTION` when it is known to be over or to have failed */
  assertOpen(): void;
}

/** A root client, with which transactions are opened. */
export interface Client<out Tx = unknown> extends Sql {
  readonly library: string;
  /**
   * One attempt at one READ COMMITTED transaction, opened by the library itself: begin, `work`, commit; rolled back when
   * `work` throws, and then `work`'s own error is thrown on. A failure that `work` caught and kept to itself is found
   * before COMMIT, which PostgreSQL would answer with a rollback and most libraries with success.
   * @throws CommitFailed when it was COMMIT that failed; any other error came before it, and then nothing is committed
   * @throws ConnectionLost when the connection could not be made, or broke before COMMIT
   * @throws WaybillError `NOT_A_TRANSACTION` when a statement had failed although `work` returned
   */
  transaction<R>(work: (open: OpenTransaction<Tx>) => Promise<R>): Promise<R>;
  /** Closes what Waybill opened itself; absent where the client is the user's. */
  readonly close?: () => Promise<void>;
}

/** How one library is recognised. A new library is one more of these. */
export interface Adapter {
  readonly library: string;
  /** How a transaction of it is come by; ends the error of whoever passes a root client. */
  readonly advice: string;
  /**
   * The root client, or undefined when `root` is none of this library.
   * @throws WaybillError `INVALID_OPTION` when it is, but cannot be used
   */
  client(root: object): Client | undefined;
  /**
   * The transaction, or undefined when `native` is none of this library.
   * @throws WaybillError `NOT_A_TRANSACTION` when it can be seen at once that it is over or has failed
   */
  transaction(native: object): OpenTransaction | undefined;
}

/**
 * COMMIT was sent, or may have been, and no success came back. With an SQLSTATE the server has refused it, and nothing
 * is committed. Without one (the connection broke) only the database knows: ask `pg_xact_status(xid)`.
 */
export class CommitFailed extends Error {
  override readonly name: string = 'CommitFailed';
  /** The transaction's id as text; undefined when it had written nothing before COMMIT, or nobody asked. */
  readonly xid: string | undefined;
  /** Of what travelled with COMMIT (`Held.mark`); then the id may be unknown although something was written. */
  readonly mark: string | undefined;

  constructor(library: string, known: { readonly xid: string | undefined; readonly mark: string | undefined }, cause: unknown) {
    super(`${library}: COMMIT failed`, { cause });
    this.xid = known.xid;
    this.mark = known.mark;
  }
}

/**
 * No connection could be had, or it broke before COMMIT was sent: nothing is committed, and running again is safe. What
 * `work` threw is looked at twice: a handler's own `ECONNRESET`, from a web service say, is not this, so the connection is
 * asked whether it still answers.
 */
export class ConnectionLost extends Error {
  override readonly name: string = 'ConnectionLost';
  /** Whether the transaction had begun. */
  readonly begun: boolean;

  constructor(library: string, begun: boolean, cause: unknown) {
    super(`${library}: ${begun ? 'the connection broke before COMMIT' : 'no connection to the database'}`, { cause });
    this.begun = begun;
  }
}

/** Refuses what is no open transaction, by the library's name and with the next step. */
export function notATransaction(library: string, what: string, advice: string, cause?: unknown): WaybillError {
  return new WaybillError('NOT_A_TRANSACTION', `${library}: ${what}; ${advice}`, cause === undefined ? undefined : { cause });
}
