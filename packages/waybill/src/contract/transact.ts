import type { Clock } from './clock.ts';
import { sleep } from './clock.ts';
import { WaybillError } from './errors.ts';
import type { MaybePromise, StoreSession, StoreTransaction } from './store.ts';
import { told } from './told.ts';

/** Runs of a block at most, by default. */
export const attemptsDefault: number = 5;
const pauseFirstMs = 5;
const pauseMaxMs = 500;

/**
 * A transaction that is run again, whole, when the store says that it did not happen (serialization failure, deadlock,
 * busy). Bounded; jittered pauses that double from 5 ms to 500 ms. Whatever else goes wrong is thrown on: a commit whose
 * outcome is unknown above all.
 *
 * @throws WaybillError `INVALID_OPTION` when `attempts` is no whole number from 1 on
 */
export async function transact<Tx, R>(
  store: StoreSession<Tx>,
  clock: Clock,
  work: (tx: StoreTransaction<Tx>) => MaybePromise<R>,
  attempts: number = attemptsDefault,
): Promise<R> {
  if (!Number.isSafeInteger(attempts) || attempts < 1) {
    throw new WaybillError('INVALID_OPTION', `attempts must be a whole number from 1 on, not ${told(attempts)}`);
  }
  let pauseMs = pauseFirstMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return await store.transaction(work);
    } catch (error) {
      if (attempt >= attempts || store.classify(error) !== 'retry') throw error;
      await sleep(clock, pauseMs * (0.5 + clock.random()));
      pauseMs = Math.min(pauseMs * 2, pauseMaxMs);
    }
  }
}
