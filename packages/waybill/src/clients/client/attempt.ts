/**
 * One attempt at one transaction, the same for every library: which error came from where.
 *
 *     begin ─► work ─► last question ─► COMMIT
 *       └────────┴──────────┴─ any error: thrown on, nothing committed
 *                                          └─ CommitFailed: perhaps committed
 */
import { WaybillError } from '../../contract/errors.ts';
import { CommitFailed, ConnectionLost, notATransaction } from './port.ts';
import type { OpenTransaction } from './port.ts';
import { isConnectionLost, sqlStateOf } from './sql-state.ts';

/** Answers the id, and fails when a statement before it has failed: the server then takes nothing but a rollback. */
const lastQuestion = 'select pg_current_xact_id_if_assigned()::text as xid';

/** in_failed_sql_transaction */
const failedBefore = '25P02';

export interface Attempt<Tx, R> {
  readonly library: string;
  /** The library's own transaction: calls `body` once with the transaction, then commits or rolls back. */
  run(body: (open: OpenTransaction<Tx>) => Promise<R>): Promise<R>;
  /** What the library would write by itself before COMMIT: an identity map's changes. */
  flush?(native: Tx): Promise<unknown>;
  /** `run` sees by COMMIT's tag that a statement had failed; then a known id makes the last question needless. */
  readonly seesTag?: boolean;
}

export async function attempt<Tx, R>(way: Attempt<Tx, R>, work: (open: OpenTransaction<Tx>) => Promise<R>): Promise<R> {
  let open: OpenTransaction<Tx> | undefined;
  let before: { readonly error: unknown } | undefined;
  let worked = false;
  try {
    return await way.run(async (begun) => {
      open = begun;
      try {
        const result = await work(begun);
        await way.flush?.(begun.native);
        if (!way.seesTag || begun.xid === undefined) await ask(begun);
        worked = true;
        return result;
      } catch (error) {
        before = { error: await told(begun, error) };
        throw error;
      }
    });
  } catch (error) {
    if (before !== undefined) throw before.error; // not the library's own about its rollback
    if (worked) throw WaybillError.is(error) ? error : new CommitFailed(way.library, open?.xid, error);
    throw isConnectionLost(error) ? new ConnectionLost(way.library, open !== undefined, error) : error;
  }
}

async function ask(open: OpenTransaction): Promise<void> {
  try {
    const [row] = await open.query<{ xid: string | null }>(lastQuestion);
    open.xid = row?.xid ?? undefined;
  } catch (error) {
    throw sqlStateOf(error) === failedBefore ? failed(open.library, error) : error;
  }
}

/** What `work` threw, or that the connection is gone. */
async function told(open: OpenTransaction, error: unknown): Promise<unknown> {
  if (!isConnectionLost(error)) return error;
  try {
    await open.query('select null as alive');
    return error;
  } catch (second) {
    return sqlStateOf(second) === failedBefore ? error : new ConnectionLost(open.library, true, error);
  }
}

/** A statement had failed; whoever ran it kept that to himself. */
export function failed(library: string, cause?: unknown): Error {
  return notATransaction(library, 'a statement of this transaction has failed, so nothing of it can be committed', 'let the error end the transaction, or wrap that statement in a savepoint', cause);
}
