/**
 * One attempt at one transaction, the same for every library: which error came from where.
 *
 *     begin ─► work ─► flush ─► last question ─► COMMIT
 *       └────────┴───────┴────────┴─ any error: thrown on, nothing committed
 *                                                   └─ CommitFailed: perhaps committed
 */
import { WaybillError } from '../../contract/errors.ts';
import { openOf, own } from './open.ts';
import type { Handle } from './open.ts';
import { CommitFailed, ConnectionLost } from './port.ts';
import type { OpenTransaction } from './port.ts';
import { isConnectionLost, sqlStateOf } from './sql-state.ts';

/** Answers the id, and fails when a statement before it has failed: the server then takes nothing but a rollback. */
const lastQuestion = 'select pg_current_xact_id_if_assigned()::text as xid';

export interface Attempt<Tx, R> {
  readonly library: string;
  /** The library's own transaction: calls `body` once with the transaction, then commits or rolls back. */
  run(body: (handle: Handle<Tx>) => Promise<R>): Promise<R>;
  /** `run` sees by COMMIT's tag that a statement had failed; then a known id, or rows that travel with it, make the last question needless. */
  readonly seesTag?: boolean;
  /** The library hands out the same object for later transactions. */
  readonly reuses?: boolean;
}

export async function attempt<Tx, R>(way: Attempt<Tx, R>, work: (open: OpenTransaction<Tx>) => Promise<R>): Promise<R> {
  let open: OpenTransaction<Tx> | undefined;
  let before: { readonly error: unknown } | undefined;
  let worked = false;
  let mark: string | undefined;
  try {
    return await way.run(async (handle) => {
      const begun = (open = openOf(handle));
      try {
        const result = await own(begun, () => work(begun), way.reuses);
        await handle.flush?.();
        await begun.late?.settled();
        const known = begun.xid !== undefined || begun.late?.held !== undefined || begun.late?.silent === true;
        if (!way.seesTag || !known) await ask(begun);
        mark = begun.late?.held?.mark;
        worked = true;
        return result;
      } catch (error) {
        before = { error: await told(handle, error) };
        throw error;
      }
    });
  } catch (error) {
    if (before !== undefined) throw before.error; // not the library's own about its rollback
    if (worked) throw WaybillError.is(error) ? error : new CommitFailed(way.library, { xid: open?.xid, mark }, error);
    throw isConnectionLost(error) ? new ConnectionLost(way.library, open !== undefined, error) : error;
  }
}

async function ask(open: OpenTransaction): Promise<void> {
  const [row] = await open.query<{ xid: string | null }>(lastQuestion);
  open.xid = row?.xid ?? undefined;
}

/** What `work` threw, or that the connection is gone: whether it is, is asked of the connection itself. */
async function told<Tx>({ library, sql, state, late }: Handle<Tx>, error: unknown): Promise<unknown> {
  if (!isConnectionLost(error)) return error;
  if (late?.silent === true) return error; // none of the server's
  await turn();
  if (state() === 'lost') return new ConnectionLost(library, true, error);
  try {
    await sql.query('select null as alive');
    return error;
  } catch (second) {
    return isConnectionLost(second) || sqlStateOf(second) === undefined ? new ConnectionLost(library, true, error) : error;
  }
}

/** Whoever else was told of the broken connection in this turn has heard it then. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
