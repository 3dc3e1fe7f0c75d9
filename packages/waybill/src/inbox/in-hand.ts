/**
 * What a worker has taken and how it gets rid of it: settled because it is done, or let go of in one of three ways. Each
 * ends its claim and its hold on a waiting row, so that it can be taken again, here or elsewhere. A crash here leaves
 * deliveries that come again, and what was committed is a duplicate then.
 */
import type { Plan } from '../contract/handling.ts';
import type { StoreSession } from '../contract/store.ts';
import type { Consumer } from '../contract/transport.ts';
import type { Claims } from './claims.ts';
import { type Item, type Outcome, deliveriesOf } from './item.ts';

export interface InHand {
  /** Waiting rows in hand. */
  readonly held: Set<number>;
  /** Committed: the deliveries are settled, and it is told what became of them. */
  done(items: readonly Item[], outcomes: readonly Outcome[]): Promise<void>;
  /** Not run: gone, changed, or another instance's. What it is now is seen when it is read again. */
  letGo(items: readonly Item[]): void;
  /** This instance may not commit it: what the consumer still counts as ours comes again, the rest goes to whoever works now. */
  forget(items: readonly Item[]): Promise<void>;
  /** It was not begun, or was given up and undone. */
  giveBack(items: readonly Item[]): Promise<void>;
}

export function createInHand(host: {
  readonly plan: Plan;
  readonly store: StoreSession;
  readonly consumer: Consumer;
  readonly claims: Claims;
  /** Whose claims these are: this instance's; the subscription's where one instance at a time works on it. */
  readonly owner: string;
  readonly report: (item: Item, outcome: Outcome) => void;
  readonly trouble: (where: string, error: unknown) => void;
  /** Something may be due sooner than was known; `grows`: a delivery was put behind what waits for its key. */
  readonly wake: (grows?: boolean) => void;
}): InHand {
  const { plan, store, consumer, claims, wake } = host;
  const held = new Set<number>();

  const end = (items: readonly Item[]): void => {
    claims.end(items);
    for (const { row, line } of items) {
      if (row) held.delete(row.row);
      if (line) line.left--;
    }
  };

  /** Where that fails they come again all the same: when this consumer is closed, or dies. */
  const release = async (items: readonly Item[]): Promise<void> => {
    const deliveries = deliveriesOf(items);
    if (deliveries.length === 0) return;
    try {
      await consumer.release(deliveries);
    } catch (error) {
      host.trouble(`${plan.name}: giving back what was not handled`, error);
    }
  };

  /** A start without verdict would look like a crash. All of them at once: where the store is away that is one wait, not a hundred. */
  const takeStartsBack = async (items: readonly Item[]): Promise<void> => {
    const begun = items.flatMap(({ row, started, incoming }) => (row && started && incoming.kind === 'run' ? [row] : []));
    if (begun.length === 0) return;
    begun.sort((one, other) => one.row - other.row); // as whoever else locks several
    await store
      .transaction(async (tx) => {
        for (const row of begun) await store.ports.waiting.settle(tx, row, {});
      })
      .catch(() => {});
  };

  return {
    held,
    async done(items, outcomes) {
      const deliveries = deliveriesOf(items);
      if (deliveries.length > 0) await consumer.settle(deliveries);
      end(items);
      let [again, grows] = [false, false];
      items.forEach((item, i) => {
        const outcome = outcomes[i]!;
        grows ||= outcome.kind === 'moved' && item.delivery?.suspect === false;
        again ||= outcome.kind === 'moved' || outcome.kind === 'retrying' || (item.row !== undefined && !(item.line!.left > 0));
        host.report(item, outcome);
      });
      if (again) wake(grows);
    },
    letGo(items) {
      end(items);
      wake();
    },
    async forget(items) {
      end(items);
      await release(items);
      // Where all instances claim in one name the one that works now may have begun it, and that is not to be taken back.
      if (host.owner !== plan.name) await takeStartsBack(items);
    },
    async giveBack(items) {
      await release(items);
      end(items);
      await takeStartsBack(items);
    },
  };
}
