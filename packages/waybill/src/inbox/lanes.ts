import type { Clock } from '../contract/clock.ts';

/**
 * Keyed lanes: what has one key is done in its order, one work at a time; what has none is a lane by itself. A work takes
 * the oldest lanes that are idle, up to its room, so that few works, each of them full, do what many small ones would:
 *
 *     (none) ──push──► ready ──gathered into a work──► busy ──work done──► ready, if something is queued; else gone
 */
export interface Lanes<T> {
  push(item: T, key: string | undefined): void;
  /** Taken and queued. */
  readonly size: number;
  /** Of these. */
  readonly weight: number;
  /** Resolves when something was finished. */
  finished(): Promise<void>;
  /** Removes and returns what is queued and not yet taken. */
  clear(): T[];
  /** Resolves when nothing runs. */
  idle(): Promise<void>;
}

export interface LanesOptions<T> {
  /** How many items one work takes at most. */
  readonly room: () => number;
  /** Works at once, whatever they are. */
  readonly most: number;
  /** Another one waits while so many were begun within so long; `full`: it fills its room. */
  readonly beside: (full: boolean) => { readonly atOnce: number; readonly withinMs: number };
  readonly clock: Clock;
  /** @default 0 */
  readonly weigh?: (item: T) => number;
  /** At most this many share a work with the item, itself included. */
  readonly together?: (item: T) => number;
  /** `putBack`: items that were taken and not done go back to the front of their lanes. */
  readonly work: (items: T[], putBack: (items: readonly T[]) => void) => Promise<void>;
}

interface Lane<T> {
  readonly key: string | undefined;
  readonly queue: Place<T>[];
  busy: boolean;
}

interface Place<T> {
  readonly item: T;
  readonly lane: Lane<T>;
  /** When it came, in the order of all. */
  readonly turn: number;
}

interface Share<T> {
  readonly lane: Lane<T>;
  readonly count: number;
}

export function createLanes<T>(options: LanesOptions<T>): Lanes<T> {
  const { clock, together = () => Infinity, weigh = () => 0 } = options;
  const keyed = new Map<string, Lane<T>>();
  /** Lanes with something queued and nothing under way, by what they begin with: the oldest first. */
  let ready: Lane<T>[] = [];
  const running = new Set<Promise<void>>();
  /** When each work that is under way was begun, the oldest first. */
  const begun: { readonly atMs: number }[] = [];
  let cancelTimer: (() => void) | undefined;
  let turns = 0;
  let size = 0;
  let weight = 0;
  let waiters: (() => void)[] = [];
  let beginning = false;

  const laneOf = (key: string | undefined): Lane<T> => {
    const found = key === undefined ? undefined : keyed.get(key);
    if (found) return found;
    const lane: Lane<T> = { key, queue: [], busy: false };
    if (key !== undefined) keyed.set(key, lane);
    return lane;
  };

  const finish = (places: readonly Place<T>[]): void => {
    size -= places.length;
    for (const { item } of places) weight -= weigh(item);
    const woken = waiters;
    waiters = [];
    for (const wake of woken) wake();
  };

  /** What the next work takes, whether that is all it has room for, and the lanes that stay. */
  const gather = (): { shares: Share<T>[]; full: boolean; rest: Lane<T>[] } => {
    const shares: Share<T>[] = [];
    const passed: Lane<T>[] = [];
    let room = options.room();
    let taken = 0;
    let at = 0;
    for (; at < ready.length && taken < room; at++) {
      const lane = ready[at]!;
      let count = 0;
      for (const { item } of lane.queue) {
        const most = Math.min(room, together(item));
        if (taken + count >= most && taken + count > 0) break;
        room = most;
        count++;
      }
      if (count > 0) shares.push({ lane, count });
      else passed.push(lane);
      taken += count;
    }
    return { shares, full: taken >= room, rest: passed.concat(ready.slice(at)) };
  };

  /** How long the next work has to wait for those under way; Infinity: until one of them ends. */
  const waitMs = (full: boolean): number => {
    if (begun.length >= options.most) return Infinity;
    const { atOnce, withinMs } = options.beside(full);
    const last = begun[begun.length - atOnce];
    return last === undefined ? 0 : last.atMs + withinMs - clock.monotonic();
  };

  const beginAll = (): void => {
    while (ready.length > 0) {
      if (waitMs(true) > 0) return beginLater(waitMs(true));
      const { shares, full, rest } = gather();
      if (!full && waitMs(false) > 0) return beginLater(waitMs(false)); // or with what comes meanwhile
      ready = rest;
      const run = work(shares).finally(() => running.delete(run));
      running.add(run);
    }
    cancelTimer?.();
    cancelTimer = undefined;
  };

  const beginLater = (ms: number): void => {
    cancelTimer?.();
    cancelTimer = ms === Infinity ? undefined : clock.after(ms, beginAll);
  };

  const work = async (shares: readonly Share<T>[]): Promise<void> => {
    const mine = { atMs: clock.monotonic() };
    begun.push(mine);
    const places: Place<T>[] = [];
    for (const { lane, count } of shares) {
      lane.busy = true;
      places.push(...lane.queue.splice(0, count));
    }
    if (shares.length > 1) places.sort((a, b) => a.turn - b.turn);
    try {
      await options.work(
        places.map(({ item }) => item),
        (some) => putBack(places, new Set(some)),
      );
    } finally {
      begun.splice(begun.indexOf(mine), 1);
      for (const { lane } of shares) end(lane);
      finish(places);
      beginAll();
    }
  };

  const putBack = (places: readonly Place<T>[], some: ReadonlySet<T>): void => {
    const back = places.filter(({ item }) => some.has(item));
    for (const place of back.toReversed()) place.lane.queue.unshift(place);
    size += back.length;
    for (const { item } of back) weight += weigh(item);
  };

  /** Ready again, at the place that its oldest item has among the others; or gone. */
  const end = (lane: Lane<T>): void => {
    lane.busy = false;
    const [first] = lane.queue;
    if (first === undefined) {
      if (lane.key !== undefined) keyed.delete(lane.key);
      return;
    }
    ready.splice(placeOf(first.turn), 0, lane);
  };

  /** Of the first lane that begins with something younger; by halves, for there may be thousands. */
  const placeOf = (turn: number): number => {
    let [low, high] = [0, ready.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ready[middle]!.queue[0]!.turn > turn) high = middle;
      else low = middle + 1;
    }
    return low;
  };

  /** After this step: what is pushed in it is taken together. */
  const beginSoon = (): void => {
    if (beginning) return;
    beginning = true;
    const soon = Promise.resolve().then(() => {
      beginning = false;
      running.delete(soon);
      beginAll();
    });
    running.add(soon);
  };

  return {
    push(item, key) {
      const lane = laneOf(key);
      size++;
      weight += weigh(item);
      if (lane.queue.push({ item, lane, turn: turns++ }) === 1 && !lane.busy) ready.push(lane);
      beginSoon();
    },
    get size() {
      return size;
    },
    get weight() {
      return weight;
    },
    finished: () => new Promise((resolve) => waiters.push(resolve)),
    clear() {
      const queued = new Set([...ready, ...keyed.values()]);
      const dropped = [...queued].flatMap(({ queue }) => queue.splice(0)).sort((a, b) => a.turn - b.turn);
      ready = [];
      cancelTimer?.();
      cancelTimer = undefined;
      for (const [key, { busy }] of keyed) if (!busy) keyed.delete(key);
      finish(dropped);
      return dropped.map(({ item }) => item);
    },
    async idle() {
      while (running.size > 0) await Promise.allSettled([...running]);
    },
  };
}
