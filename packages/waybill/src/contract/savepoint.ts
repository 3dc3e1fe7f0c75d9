import { WaybillError } from './errors.ts';
import { isLater } from './maybe.ts';
import type { MaybePromise } from './store.ts';

/** A handle on a transaction, or on one savepoint's part of it, as the stores of SQL databases have it. */
interface Part<Native> {
  readonly native: Native;
  /** For what runs right after BEGIN. */
  readonly early: boolean;
}

interface Savepoints<P> {
  /** @throws WaybillError when the part or its transaction is over */
  assertUsable(part: P): void;
  enter(part: P): MaybePromise<void>;
  /** Throws when the whole transaction cannot commit any more. */
  leave(part: P, outcome: 'keep' | 'undo'): Promise<void>;
}

/** Runs `work` in a savepoint within `outer`; what it throws undoes the savepoint, and is thrown on. */
export async function runSavepoint<Native, P extends Part<Native>, R>(
  savepoints: Savepoints<P>,
  { outer, begin }: { readonly outer: P; readonly begin: () => P },
  work: (native: Native) => MaybePromise<R>,
): Promise<R> {
  savepoints.assertUsable(outer);
  if (outer.early) throw new WaybillError('NESTED_TRANSACTION', 'There is no savepoint in onBegin: it stands before all of them.');
  const part = begin();
  const entering = savepoints.enter(part);
  if (isLater(entering)) await entering;
  let result: R;
  try {
    result = await work(part.native);
  } catch (error) {
    await savepoints.leave(part, 'undo');
    throw error;
  }
  await savepoints.leave(part, 'keep');
  return result;
}
