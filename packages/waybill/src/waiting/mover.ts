/**
 * Room 7, the sender's half: delayed messages → the ledger, when they are due. (What waits at a receiver, retries above
 * all, is taken by the inbox, which holds the subscription.)
 *
 * In: waiting rows without subscription. Out: ledger rows, in the transaction that removes the waiting ones. Guaranteed:
 * never before they are due by the store's clock, once, whoever moves them: the removal decides between two movers. A
 * crash before the commit leaves them waiting.
 *
 * Cost: one commit for up to 100 messages that are due; idle one read per second, or none until the next is due.
 */
import type { Clock } from '../contract/clock.ts';
import { type Loop, createLoop } from '../contract/loop.ts';
import type { WireMessage } from '../contract/message.ts';
import type { MaybePromise, StoreSession, StoreTransaction } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';

const rowsMax = 100;
/** What other processes of the service delayed is noticed this soon. */
const pollMs = 1_000;

export function createMover(options: {
  store: StoreSession;
  clock: Clock;
  append: (tx: StoreTransaction, messages: readonly WireMessage[]) => MaybePromise<void>;
  trouble: (where: string, error: unknown) => void;
}): Loop {
  const { store, clock } = options;
  const { waiting } = store.ports;
  return createLoop({
    clock,
    onError: (error) => options.trouble('moving delayed messages', error),
    async turn() {
      const { rows, nowMs, nextDueMs } = await waiting.due(undefined, 'now', rowsMax);
      if (rows.length === 0) {
        return nextDueMs === undefined ? pollMs : Math.max(1, Math.min(pollMs, nextDueMs - nowMs));
      }
      await transact(store, clock, async (tx) => {
        for (const row of rows) if (await waiting.settle(tx, row)) await options.append(tx, [row.message]);
      });
      return 0;
    },
  });
}
