/**
 * What the files of this store share. Statements go through whatever client the user has (`clients/client/port.ts`): values
 * in as text, cast in the statement (`$1::text::bigint`), columns out as text, each named by one lower-case word.
 */
import type { Late } from '../../clients/client/late.ts';
import type { Client, OpenTransaction } from '../../clients/client/port.ts';
import type { Clock } from '../../contract/clock.ts';
import type { Signals } from '../../contract/signals.ts';
import type { Direct } from './direct.ts';
import type { MaybePromise, StoreTransaction } from '../../contract/store.ts';

export type { Client, OpenTransaction };

export type SqlValue = string | number | null;
export type SqlRow = Record<string, string | null>;

export interface Statements {
  /** One statement. Every column is text or null. */
  query<Row extends object = SqlRow>(text: string, values?: readonly SqlValue[]): Promise<readonly Row[]>;
}

/** An open transaction of this store, as its ports write through it. */
export interface PostgresTransaction<out Tx = unknown> extends StoreTransaction<Tx>, Statements {
  readonly store: object;
  /** A statement has told the transaction's id: nobody has to ask for it before COMMIT. */
  told(xid: string): void;
  /** Whether Waybill opened it: then it is one on this store's own database. */
  readonly ours: boolean;
  /** Where a statement may travel with COMMIT; undefined where it has to be run. */
  late(): Promise<Late | undefined>;
  /** Says what is held, now. */
  say(late: Late): Promise<void>;
}

/** What the ports share. */
export interface Access {
  /** The schema, quoted. */
  readonly schema: string;
  readonly service: string;
  readonly clock: Clock;
  readonly signals: Signals;
  /** Connections besides the client's; undefined where nobody told how to connect. */
  readonly direct: Direct | undefined;
  readonly database: string;
  /** The schema as it is called. */
  readonly schemaName: string;
  /** Run when the session closes. */
  readonly closers: Set<() => void>;
  /** Committed rows; each statement commits by itself. */
  readonly sql: Statements;
  /** The statements of a transaction that a room handed on. @throws WaybillError `NOT_A_TRANSACTION` */
  in(tx: StoreTransaction): PostgresTransaction;
  transaction<R>(work: (sql: Statements) => MaybePromise<R>): Promise<R>;
}

/** Numbers as text. */
export function textValues(values: readonly SqlValue[] = []): (string | null)[] {
  return values.map((value) => (typeof value === 'number' ? String(value) : value));
}
