/**
 * Keyed lanes: work of one lane is done one after another, lanes side by side. A key always takes the same lane, so that
 * its order holds; what has no key takes the shortest.
 */
export interface Lanes<T> {
  push(item: T, key: string | undefined): void;
  /** Puts items back to the front of their lane: they were taken and not done. */
  unshift(items: readonly T[], lane: number): void;
  /** Taken and queued. */
  readonly size: number;
  /** Resolves when something was finished. */
  finished(): Promise<void>;
  /** Removes and returns what is queued and not yet taken. */
  clear(): T[];
  /** Resolves when nothing runs. */
  idle(): Promise<void>;
}

export function createLanes<T>(options: {
  count: number;
  /** How many of the queued items to take at once, given those at the front. */
  take: (queued: readonly T[]) => number;
  work: (items: T[], lane: number) => Promise<void>;
}): Lanes<T> {
  const lanes = Array.from({ length: options.count }, () => ({ queue: [] as T[], busy: 0 }));
  let size = 0;
  let waiters: (() => void)[] = [];
  const running = new Set<Promise<void>>();

  const finish = (count: number): void => {
    size -= count;
    const woken = waiters;
    waiters = [];
    for (const wake of woken) wake();
  };

  const pump = async (index: number): Promise<void> => {
    const lane = lanes[index]!;
    while (lane.queue.length > 0) {
      const items = lane.queue.splice(0, Math.max(1, options.take(lane.queue)));
      lane.busy = items.length;
      try {
        await options.work(items, index);
      } finally {
        lane.busy = 0;
        finish(items.length);
      }
    }
  };

  const ensure = (index: number): void => {
    const lane = lanes[index]! as (typeof lanes)[number] & { pumping?: boolean };
    if (lane.pumping) return;
    lane.pumping = true;
    // After this step: what is pushed in it is taken together.
    const run = Promise.resolve().then(() => pump(index)).finally(() => {
      lane.pumping = false;
      running.delete(run);
      if (lane.queue.length > 0) ensure(index);
    });
    running.add(run);
  };

  const shortest = (): number => {
    let best = 0;
    let least = Infinity;
    for (let i = 0; i < lanes.length; i++) {
      const load = lanes[i]!.queue.length + lanes[i]!.busy;
      if (load < least) {
        best = i;
        least = load;
      }
    }
    return best;
  };

  return {
    push(item, key) {
      const index = key === undefined ? shortest() : hash(key) % lanes.length;
      lanes[index]!.queue.push(item);
      size++;
      ensure(index);
    },
    unshift(items, index) {
      lanes[index]!.queue.unshift(...items);
      size += items.length;
      ensure(index);
    },
    get size() {
      return size;
    },
    finished: () => new Promise((resolve) => waiters.push(resolve)),
    clear() {
      const dropped = lanes.flatMap((lane) => lane.queue.splice(0));
      finish(dropped.length);
      return dropped;
    },
    async idle() {
      while (running.size > 0) await Promise.allSettled([...running]);
    },
  };
}

/** FNV-1a, 32 bits: spreads keys evenly, and the same everywhere. */
function hash(key: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) {
    h ^= key.charCodeAt(i);
    h = Math.imul(h, 0x01000193);
  }
  return h >>> 0;
}
