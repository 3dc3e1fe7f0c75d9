/**
 * Virtual time: events in the order they are due, each followed by everything that it sets off, so that production code
 * runs unchanged and the same seed gives the same run.
 */
export interface Scheduler {
  /** Milliseconds of virtual time since the start. */
  readonly nowMs: number;
  /** Events that are waiting. */
  readonly size: number;
  /** Events that have run. */
  readonly steps: number;
  /** So many have run that it is taken to be spinning: nothing runs any more. */
  readonly exhausted: boolean;
  /** Calls `fn` once, later; returns its cancel. Among events due at once the first set is the first to run. */
  after(delayMs: number, fn: () => void): () => void;
  sleep(delayMs: number): Promise<void>;
  /** Runs events until `done`, or until there are none, or `untilMs` has come. @returns whether it is done */
  run(untilMs: number, done: () => boolean): Promise<boolean>;
}

/** Events that one run may have: a program that sets a timer for now, again and again, would never end. */
const stepsMax = 400_000;
/** A turn of the event loop costs as much as what most events set off: it is taken after so many. */
const breathEvery = 500;

interface Event {
  readonly dueMs: number;
  readonly number: number;
  fn: (() => void) | undefined;
}

export function createScheduler(): Scheduler {
  const heap: Event[] = [];
  let nowMs = 0;
  let numbers = 0;
  let steps = 0;
  let waiting = 0;

  const before = (a: Event, b: Event): boolean => a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.number < b.number);

  const push = (event: Event): void => {
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (before(heap[parent]!, event)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  };

  const pop = (): Event | undefined => {
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (before(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  };

  const scheduler: Scheduler = {
    get nowMs() {
      return nowMs;
    },
    get size() {
      return waiting;
    },
    get steps() {
      return steps;
    },
    get exhausted() {
      return steps > stepsMax;
    },
    after(delayMs, fn) {
      const event: Event = { dueMs: nowMs + Math.max(0, delayMs), number: numbers++, fn };
      waiting++;
      push(event);
      return () => {
        if (event.fn) waiting--;
        event.fn = undefined;
      };
    },
    sleep: (delayMs) => new Promise((resolve) => void scheduler.after(delayMs, resolve)),
    async run(untilMs, done) {
      await settled();
      while (!done()) {
        const event = pop();
        if (event === undefined) return false;
        if (event.dueMs > untilMs) {
          push(event);
          nowMs = untilMs;
          return false;
        }
        if (event.fn === undefined) continue;
        if (++steps > stepsMax) return false;
        nowMs = event.dueMs;
        const { fn } = event;
        event.fn = undefined;
        waiting--;
        fn();
        await (steps % breathEvery === 0 ? turned() : settled());
      }
      return true;
    },
  };
  return scheduler;
}

/** Everything that is ready has run: a tick comes once no promise reaction is left, also of those that others made. */
function settled(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}

/** The same, by way of the event loop, where others are heard: the progress bar, a signal, a test's deadline. */
function turned(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
