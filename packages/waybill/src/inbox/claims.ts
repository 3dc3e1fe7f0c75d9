import type { Clock } from '../contract/clock.ts';
import type { StoreSession, WaitingRow } from '../contract/store.ts';
import type { Item } from './item.ts';

/**
 * What waited and is being run here: claimed when its run begins, so that no other instance begins it too, and for as
 * long as it lasts. A process that dies or freezes prolongs nothing: then its claims run out, and the next one sees by
 * the starts on record that a run had no end.
 *
 * Cost: one commit per batch of rows that begin, and one per `renewMs` while any runs.
 */
export interface Claims {
  /** Claims what waited, before it runs; answers what may be run here. The others are gone, or somebody else's. */
  begin(items: readonly Item[]): Promise<Item[]>;
  /** Settled, or given up. */
  end(items: readonly Item[]): void;
}

/** Long enough for an event loop that a handler blocks, short enough for those who wait for a dead instance. */
const claimMs = 15_000;
const renewMs = claimMs / 3;

export function createClaims(host: {
  readonly store: StoreSession;
  readonly clock: Clock;
  /** Its name among the instances of the service. */
  readonly owner: string;
  readonly trouble: (error: unknown) => void;
}): Claims {
  const { store, clock, owner } = host;
  const { waiting } = store.ports;
  const running = new Map<number, WaitingRow>();
  let renewing = false;

  const renewLater = (): void => {
    if (renewing || running.size === 0) return;
    renewing = true;
    const cancel = clock.after(renewMs, () => void renew());
    stopRenewing = () => {
      cancel();
      renewing = false;
    };
  };
  let stopRenewing = (): void => {};

  const renew = async (): Promise<void> => {
    try {
      await waiting.start([...running.values()], { owner, claimMs, renew: true });
    } catch (error) {
      host.trouble(error); // if it goes on like this another instance takes over, and this one's settle is refused
    }
    renewing = false;
    renewLater();
  };

  return {
    async begin(items) {
      const begins = items.filter((item) => !item.started && item.row && item.incoming.kind === 'run');
      for (const item of items) item.started = true;
      if (begins.length === 0) return [...items];
      const starts = await waiting.start(begins.map((item) => item.row!), { owner, claimMs }).catch((error: unknown) => {
        for (const item of begins) item.started = false;
        throw error;
      });
      const lost = new Set<Item>();
      begins.forEach((item, i) => {
        const count = starts[i];
        if (count === undefined) return lost.add(item);
        item.row = { ...item.row!, starts: count };
        running.set(item.row.row, item.row);
      });
      renewLater();
      return items.filter((item) => !lost.has(item));
    },
    end(items) {
      for (const { row } of items) if (row) running.delete(row.row);
      if (running.size === 0 && renewing) stopRenewing();
    },
  };
}
