/**
 * Open transactions, Waybill's own and those of users.
 *
 * Its own are remembered by what their work gets as `native`, so that a handle used after the end is refused by name. Of
 * a user's transaction the library is asked whether it is still open; where it does not tell, the server is, before the
 * first statement: SAVEPOINT is refused outside of a transaction, where an INSERT would commit by itself.
 */
import type { WaybillError } from '../../contract/errors.ts';
import { ConnectionLost, notATransaction } from './port.ts';
import type { Late } from './late.ts';
import type { OpenTransaction, Sql } from './port.ts';
import { sqlStateOf } from './sql-state.ts';

/** What a library has to say about one of its transactions. */
export interface Handle<Tx> {
  readonly library: string;
  readonly advice: string;
  readonly native: Tx;
  readonly sql: Sql;
  readonly pipelines?: boolean;
  /** Of a transaction that Waybill commits. */
  readonly late?: Late | undefined;
  /** Of a user's own: see `OpenTransaction.whenOver`. */
  readonly whenOver?: ((over: () => void) => void) | undefined;
  /** What the library can tell; `unknown` where it cannot, and the server has to be asked. */
  state(): 'open' | 'over' | 'failed' | 'lost' | 'unknown';
  /** Whether this is the library's error for a statement after the end. */
  isOver?(error: unknown): boolean;
  /** The library's own savepoint, where plain SQL will not do. */
  savepoint?<R>(work: (part: Handle<Tx>) => Promise<R>): Promise<R>;
  /** Writes what the library would write by itself at the end (an identity map's changes); before each of our statements. */
  flush?(): Promise<unknown>;
  /** Drops what the library would still write of a savepoint that was undone. */
  forget?(): void;
}

/** no_active_sql_transaction, in_failed_sql_transaction */
const noTransaction = '25P01';
export const failedBefore = '25P02';

const probe = 'savepoint waybill_open; release savepoint waybill_open';

/** A user's own transaction. @throws WaybillError `NOT_A_TRANSACTION` when it can be seen at once that it is not open */
export function joined<Tx>(handle: Handle<Tx>): OpenTransaction<Tx> {
  const open = openOf(handle, true);
  open.assertOpen();
  return open;
}

/** @param foreign a user's: whether it is open has to be asked; of its own Waybill knows, also after a failed statement */
export function openOf<Tx>(handle: Handle<Tx>, foreign = false): OpenTransaction<Tx> {
  const { library, native, sql } = handle;
  const ask = foreign && handle.state() === 'unknown';
  let asked: Promise<unknown> | undefined;

  const assertOpen = (): void => {
    const state = handle.state();
    if (state === 'over') throw over(handle);
    if (state === 'failed' && foreign) throw failed(library);
    if (state === 'lost') throw new ConnectionLost(library, true, undefined);
  };
  const guarded = async <R>(statement: () => Promise<R>): Promise<R> => {
    assertOpen();
    try {
      if (ask) await (asked ??= sql.execute(probe));
      return await statement();
    } catch (error) {
      const state = sqlStateOf(error);
      if (state === noTransaction || handle.isOver?.(error) === true) throw over(handle, error);
      throw state === failedBefore ? failed(library, error) : error;
    }
  };

  return {
    library,
    native,
    pipelines: handle.pipelines ?? false,
    xid: undefined,
    late: handle.late,
    whenOver: handle.whenOver,
    assertOpen,
    query: (text, values) => guarded(async () => {
      await handle.flush?.();
      return sql.query(text, values);
    }),
    execute: (text, values) => guarded(async () => {
      await handle.flush?.();
      return sql.execute(text, values);
    }),
    savepoint: (work) => guarded(() => part(handle, work)),
  };
}

/** Savepoints of one transaction stand in each other; a number keeps their names apart. */
let parts = 0;

async function part<Tx, R>(handle: Handle<Tx>, work: (part: OpenTransaction<Tx>) => Promise<R>): Promise<R> {
  if (handle.savepoint !== undefined) {
    return handle.savepoint((inner) => {
      const open = openOf(inner);
      return own(open, () => work(open));
    });
  }
  const name = `waybill_${(parts = (parts + 1) % 1_000_000)}`;
  await handle.flush?.();
  await handle.sql.execute(`savepoint ${name}`);
  try {
    const result = await work(openOf(handle));
    await handle.flush?.();
    await handle.sql.execute(`release savepoint ${name}`); // fails when a statement failed and its error was caught
    return result;
  } catch (error) {
    if (handle.state() === 'lost') throw new ConnectionLost(handle.library, true, error);
    await handle.sql.execute(`rollback to savepoint ${name}`);
    await handle.sql.execute(`release savepoint ${name}`);
    handle.forget?.();
    throw error;
  }
}

/** Waybill's own transactions, by what their work got as `native`, and whether they have ended. */
const owned = new WeakMap<object, { readonly open: OpenTransaction; ended: boolean }>();

/**
 * Runs `work` with `open` known as Waybill's own.
 * @param again the library hands out the same object for later transactions (a pooled connection)
 */
export async function own<R>(open: OpenTransaction, work: () => Promise<R>, again = false): Promise<R> {
  const native = open.native as object;
  const entry = { open, ended: false };
  owned.set(native, entry);
  try {
    return await work();
  } finally {
    entry.ended = true;
    if (again) owned.delete(native);
  }
}

/** Waybill's own open transaction behind `native`, if it is one. @throws WaybillError `NOT_A_TRANSACTION` when it is over */
export function ownOf(native: object): OpenTransaction | undefined {
  const entry = owned.get(native);
  if (entry?.ended !== true) return entry?.open;
  throw notATransaction(entry.open.library, 'this transaction is over (committed, rolled back, or timed out)', 'await every statement inside it');
}

export function over(handle: { readonly library: string; readonly advice: string }, cause?: unknown): WaybillError {
  return notATransaction(handle.library, 'this is not in a transaction: it has not begun, or is over', handle.advice, cause);
}

/** A statement had failed; whoever ran it kept that to himself. */
export function failed(library: string, cause?: unknown): WaybillError {
  const what = 'a statement of this transaction has failed, so nothing of it can be committed';
  return notATransaction(library, what, 'let the error end the transaction, or wrap that statement in a savepoint', cause);
}
