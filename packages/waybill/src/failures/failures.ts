/**
 * Room 8: what was given up, and what is done about it. (The rows are written where giving up is decided: by the inbox,
 * the outbox and the relay, in their transactions.)
 *
 * In: row numbers of failures. Out: waiting rows (a subscription runs the message again), ledger rows (it is sent again),
 * or nothing (deleted). Guaranteed: a failure moves, it is never copied: one transaction removes it and adds the other
 * row. A crash leaves it here or there.
 */
import type { Clock } from '../contract/clock.ts';
import type { WireMessage } from '../contract/message.ts';
import type { FailedRow, MaybePromise, StoreSession, StoreTransaction } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';

export interface Failures {
  /** How many were there to be retried. */
  retry(rows: readonly number[]): Promise<number>;
  /** Retries one with another body; false when it was gone. */
  edit(row: number, body: Uint8Array): Promise<boolean>;
  delete(rows: readonly number[]): Promise<number>;
}

/** Rows to one transaction. */
const chunk = 100;

export function createFailures(options: {
  store: StoreSession;
  clock: Clock;
  append: (tx: StoreTransaction, messages: readonly WireMessage[]) => MaybePromise<void>;
  attempts: (subscription: string) => number;
  /** Rows were moved: look at what waits. */
  onRetried: () => void;
}): Failures {
  const { store, clock } = options;
  const { failures, waiting } = store.ports;

  const again = async (tx: StoreTransaction, failed: FailedRow): Promise<void> => {
    const { subscription, message } = failed;
    if (subscription === undefined) {
      await options.append(tx, [message]);
      return;
    }
    await waiting.add(tx, [
      {
        subscription,
        message,
        dueMs: 'now',
        attempt: 0,
        attempts: options.attempts(subscription),
        firstFailedMs: failed.firstFailedMs,
        error: failed.error,
        reason: 'asked',
        // Where the key was held it keeps its place; otherwise its successors have passed it already.
        inOrder: failed.holds,
      },
    ]);
  };

  const inChunks = async (rows: readonly number[], work: (tx: StoreTransaction, rows: readonly number[]) => Promise<number>): Promise<number> => {
    let done = 0;
    for (let i = 0; i < rows.length; i += chunk) {
      done += await transact(store, clock, (tx) => work(tx, rows.slice(i, i + chunk)));
    }
    return done;
  };

  return {
    async retry(rows) {
      const done = await inChunks(rows, async (tx, some) => {
        const taken = await failures.take(tx, some);
        for (const failed of taken) await again(tx, failed);
        return taken.length;
      });
      options.onRetried();
      return done;
    },
    async edit(row, body) {
      const done = await transact(store, clock, async (tx) => {
        const [failed] = await failures.take(tx, [row]);
        if (failed) await again(tx, { ...failed, message: { ...failed.message, body } });
        return failed !== undefined;
      });
      options.onRetried();
      return done;
    },
    async delete(rows) {
      const done = await inChunks(rows, async (tx, some) => (await failures.take(tx, some)).length);
      options.onRetried(); // what a held key kept back may run
      return done;
    },
  };
}
