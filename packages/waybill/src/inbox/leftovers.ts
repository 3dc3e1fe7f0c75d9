import { type Clock, sleep } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { StoreSession } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import type { Consumer } from '../contract/transport.ts';

/** How long an `unsubscribe` waits for what waits for its next run; then it says so, and the runs go on. */
const leftoversWaitMs = 30_000;
const lookMs = 50;
const rowsMax = 500;

/** The consumer of a subscription whose queue is gone: nothing comes, and what waits in the store may run. */
export function consumerOfNothing(clock: Clock): Consumer {
  return {
    active: true,
    async receive(_max, { waitMs, signal }) {
      await sleep(clock, waitMs, signal);
      return [];
    },
    settleIn() {},
    settle() {},
    release() {},
    progress: () => [],
    close: async () => {},
  };
}

export async function anyWaits(store: StoreSession, subscription: string): Promise<boolean> {
  return (await store.ports.inspect.waiting({ subscription, limit: 1 })).length > 0;
}

/** Drops what waits, but for what another instance runs just now: that ends by itself. */
export async function dropWaiting(store: StoreSession, clock: Clock, subscription: string): Promise<void> {
  for (let after = 0; ; ) {
    const rows = await store.ports.inspect.waiting({ subscription, after, limit: rowsMax });
    await transact(store, clock, async (tx) => {
      for (const row of rows) await store.ports.waiting.settle(tx, row);
    });
    if (rows.length < rowsMax) return;
    after = rows.at(-1)!.row;
  }
}

/** @throws WaybillError `STORE_BUSY` when something still waits after 30 s */
export async function noneWaits(store: StoreSession, clock: Clock, subscription: string): Promise<void> {
  const untilMs = clock.monotonic() + leftoversWaitMs;
  while (await anyWaits(store, subscription)) {
    if (clock.monotonic() > untilMs) {
      throw new WaybillError(
        'STORE_BUSY',
        `'${subscription}' takes nothing new, but after ${leftoversWaitMs / 1_000} s messages still wait for their next run; this instance goes on with them. Wait on by calling it again, or drop them`,
      );
    }
    await sleep(clock, lookMs);
  }
}
