/**
 * Room 5: deliveries → effects, each once.
 *
 * In: deliveries of one subscription, and its messages that waited and are due. Out: one transaction that holds the inbox
 * row, the handler's writes, what it published, and (where the transport keeps it in the same database) the position;
 * then the delivery is settled. Guaranteed: an effect happens once per (subscription, source, id); a message that fails
 * waits or is parked in that same transaction, and its neighbours keep their effects; trouble of the store or the broker
 * is no attempt. A crash before the commit leaves nothing and the delivery comes again; after the commit the inbox row
 * makes the second delivery a duplicate.
 *
 * Cost per message in a shared transaction on SQLite: a 32nd of an insert (inbox), the handler, for a while after a handler threw
 * a savepoint; per batch (up to `batch` messages or 20 ms) the fence, the position and one fsync. On a server: the handler;
 * per batch (up to `batch` messages or 250 ms) three or four statements and one acknowledgement. See `whole.ts`. With a transaction
 * each: four round trips besides the handler's, of a line five (`alone.ts`).
 */
import { sleep } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Decode } from '../contract/handling.ts';
import type { Signals } from '../contract/signals.ts';
import type { Consumer } from '../contract/transport.ts';
import { createAlone } from './alone.ts';
import { type ApplyHost, createApply } from './apply.ts';
import { createClaims } from './claims.ts';
import { createInHand } from './in-hand.ts';
import { type Item, type Line, type Outcome, keyOf } from './item.ts';
import { createLanes } from './lanes.ts';
import { createReport } from './report.ts';
import { type Done, createShared } from './shared.ts';
import { modeByPace } from './slow.ts';
import { createTaking } from './taking.ts';
import { Fit } from './whole.ts';

export interface Worker {
  start(): void;
  /** Looks at once at what waits. */
  wake(): void;
  pause(): Promise<void>;
  resume(): void;
  /** Takes no more, finishes what runs within `drainMs`, gives the rest back. */
  stop(drainMs: number): Promise<void>;
  inFlight(): number;
}

export interface WorkerOptions extends Omit<ApplyHost, 'took' | 'stopping'> {
  readonly consumer: Consumer;
  readonly decode: Decode;
  /** Whether this instance has a handler that can read this type. */
  readonly reads: (type: string) => boolean;
  readonly signals: Signals;
  /** Calls `due` whenever something of the subscription is due that another process may have put there; returns what ends that. */
  readonly watch: (subscription: string, due: () => void) => () => void;
  /** Whose claims on what waits these are: see `Claim.owner`. */
  readonly owner: string;
  readonly gate: {
    pass<R>(work: () => Promise<R>): Promise<R>;
    alone<R>(work: () => Promise<R>): Promise<R>;
  };
}

/** Messages to a shared transaction, where neither subscription nor store says. */
const batchDefault = 100;
/** Where others need not wait for it, a round trip per statement may take longer: locks are held until its end. */
const wholeBatchMs = 250;
/** In hand at most, in batches: with what the next transactions take is decoded while others run. */
const batchesAhead = 12;
/** Of bodies, in bytes, where they are large: decoded, each is there twice, and as text for a moment. */
const aheadBytesMax = 16 * 1024 * 1024;
/** Of rows in line behind others at most so many take no room. */
const behindMax = 1_000;
/** After the drain: for giving back. User code that hears nothing (a schema that hangs) is not waited for. */
const graceMs = 5_000;
const pauseFirstMs = 50;
const pauseMaxMs = 10_000;

/**
 * The life of it, and the way of an item through its parts:
 *
 *     taking ──► lanes ──► claims, gate ──► alone | shared ──► in hand: done, or back into the lanes
 */
export function createWorker(options: WorkerOptions): Worker {
  const { plan, store, clock, signals, gate } = options;
  const stopping = new AbortController();
  /** Aborted at the end of the drain: handlers that are still running shall give up. */
  const givingUp = new AbortController();
  let paused: { promise: Promise<void>; resume: () => void } | undefined;
  let running: Promise<void> | undefined;
  let unwatch: (() => void) | undefined;
  let forgets = 0;
  let forgetting: Promise<void> | undefined;

  const ownTransactions = (): boolean => plan.mode !== 'shared' && !plan.setBased;
  const parallel = store.capabilities.parallelTransactions;
  const count = plan.setBased || (plan.mode === 'shared' && !parallel) ? 1 : plan.concurrency;
  const ahead = parallel ? Math.min(count + 1, batchesAhead) : 1;
  const batch = plan.batch ?? store.capabilities.batch ?? batchDefault;
  const capacity = ownTransactions() ? count * 2 : ahead * batch;
  /** One transaction at a time takes a whole batch: two parts in turn would go on as two, each with its commit. */
  const roomMin = ahead === 1 && !ownTransactions() ? capacity : 1;
  const fit = new Fit(batch, wholeBatchMs, plan.setBased || store.capabilities.cheapSavepoints ? batch : undefined);

  const lanes = createLanes<Item>({
    room: () => (ownTransactions() ? batch : fit.most),
    most: count,
    beside: (full) => (ownTransactions() ? any : fit.beside(full)),
    clock,
    together: (item) => (ownTransactions() && !shared.isUnrun(item) ? 1 : item.together),
    weigh: ({ incoming }) => incoming.wire.body.length,
    work: (items, putBack) => work(items, putBack),
  });
  /** Of which more than one is in hand, perhaps. */
  const lines = new Set<Line>();
  /** Of a line one runs at a time: what stands behind that one keeps no others out. */
  const room = (): number => {
    let behind = 0;
    for (const line of lines) {
      if (line.left > 1) behind += line.left - 1;
      else lines.delete(line);
    }
    return capacity - lanes.size + Math.min(behind, behindMax);
  };
  /** One lane for all where there is but one transaction at a time: its order is that of the deliveries. */
  const laneOf = (item: Item): string | undefined => (count === 1 ? '' : keyOf(item));
  const mayNotRun = (): boolean => stopping.signal.aborted || paused !== undefined;

  const host = { ...options, stopping: givingUp.signal, took: modeByPace({ plan, clock, signals }) };
  const apply = createApply(host);
  const alone = createAlone({ ...host, apply });
  const shared = createShared({ ...host, apply, alone, fit });
  const claims = createClaims({ ...options, trouble: (error) => options.trouble(`${plan.name}: prolonging a claim`, error) });
  const report = createReport({ plan, clock, signals, attempts: options.attempts });
  const inHand = createInHand({ ...options, claims, report, wake: (grows) => taking.wake(grows) });
  const taking = createTaking({
    ...options,
    held: inHand.held,
    room: () => Math.max(1, Math.min(batch, room())),
    mayNotRun,
    forgets: () => forgets,
    stopping: stopping.signal,
    push(items) {
      for (const item of items) {
        lanes.push(item, laneOf(item));
        if (item.line) lines.add(item.line);
      }
    },
  });

  const loop = async (): Promise<void> => {
    let pauseMs = pauseFirstMs;
    while (!stopping.signal.aborted) {
      if (paused) await paused.promise; // resume, or stop
      if (stopping.signal.aborted) return;
      try {
        if (room() < roomMin || lanes.weight >= aheadBytesMax) await lanes.finished(); // also when the lanes are cleared, as by stop
        else {
          await forgetting;
          await taking.take();
        }
        if (pauseMs > pauseFirstMs) signals.emit('resumed', { subscription: plan.name });
        pauseMs = pauseFirstMs;
      } catch (error) {
        if (stopping.signal.aborted) return;
        if (WaybillError.is(error, 'LEASE_LOST')) await forget([]);
        else signals.emit('paused', { subscription: plan.name, reason: reasonOf(error), error });
        await sleep(clock, pauseMs * (0.5 + clock.random() / 2), stopping.signal);
        pauseMs = Math.min(pauseMs * 2, pauseMaxMs);
      }
    }
  };

  /**
   * A suspect has the gate until it has its verdict: while the store is away, or when it threw and that is still to be written,
   * it is on record as begun, and whoever ran beside it then and took the process along would be charged to it.
   */
  const work = (taken: Item[], putBack: PutBack): Promise<void> =>
    taken[0]!.crashes > 0 ? gate.alone(() => insist(taken, undefined, (run) => run())) : insist(taken, putBack, gate.pass);

  /**
   * Until it is done: trouble of store or lease is no attempt, it is waited for.
   * @param putBack takes what is left; undefined: that is done here, too
   */
  const insist = async (taken: Item[], putBack: PutBack | undefined, within: <R>(run: () => Promise<R>) => Promise<R>): Promise<void> => {
    let items = taken;
    let pauseMs = pauseFirstMs;
    for (;;) {
      if (stopping.signal.aborted) return await inHand.giveBack(items);
      try {
        const rest = await within(async (): Promise<readonly Item[]> => {
          // Inside the gate: what only stands in line must not be charged if the process dies (D16).
          items = await begin(items);
          return items.length === 0 ? [] : handle(items);
        });
        if (pauseMs > pauseFirstMs) signals.emit('resumed', { subscription: plan.name });
        pauseMs = pauseFirstMs;
        if (rest.length === 0) return await clock.turn(); // others get their turn between two batches
        if (putBack) return putBack(rest);
        items = [...rest];
      } catch (error) {
        if (givingUp.signal.aborted) continue; // given back above
        if (WaybillError.is(error, 'LEASE_LOST')) return await forget(items);
        if (store.classify(error) !== 'retry') {
          signals.emit('paused', { subscription: plan.name, reason: reasonOf(error), error });
        }
        await sleep(clock, pauseMs * (0.5 + clock.random() / 2), stopping.signal);
        pauseMs = Math.min(pauseMs * 2, pauseMaxMs);
      }
    }
  };

  /** Claims what waited, in a line that is not broken. The others are let go of, with what stands behind them. */
  const begin = async (items: readonly Item[]): Promise<Item[]> => {
    const ours = await claims.begin(items.filter(({ line, started }) => started || !line?.broken));
    if (ours.length === items.length) return ours;
    const others = items.filter((item) => !ours.includes(item));
    others.forEach(breakLine);
    inHand.letGo(others);
    return ours;
  };

  /** Answers what is still to be done. */
  const handle = async (items: readonly Item[]): Promise<readonly Item[]> => {
    const { outcomes, rest } = await transacted(items);
    outcomes.forEach(({ kind }, i) => stays.has(kind) && breakLine(items[i]!));
    if (outcomes.length > 0) await inHand.done(items.slice(0, outcomes.length), outcomes);
    return rest;
  };

  const transacted = async (items: readonly Item[]): Promise<Done> => {
    if (!ownTransactions()) return shared.run(items);
    const sorted = await shared.sort(items);
    if (sorted) return sorted;
    // More than one: taken together when they were thought to wait, or before another lane found that its runs are slow.
    return items.length > 1 ? { outcomes: [], rest: items } : { outcomes: [await alone.run(items[0]!)], rest: [] };
  };

  /**
   * This instance may not commit what it has: it lets go of all of it, also of what has been received and is not in a lane yet.
   * Until all is given back nothing is taken: what came after it must not be done before it.
   */
  const forget = (items: readonly Item[]): Promise<void> => {
    taking.lookAgain();
    forgets++;
    const over = inHand.forget([...items, ...lanes.clear()]);
    forgetting = Promise.allSettled([forgetting, over]).then(() => {}); // without what each ended with: that would hold all before it
    return over;
  };

  return {
    start() {
      unwatch ??= options.watch(plan.name, taking.wake);
      running ??= loop();
    },
    wake: taking.wake,
    async pause() {
      if (paused) return;
      let resume = (): void => {};
      const promise = new Promise<void>((resolve) => {
        resume = resolve;
      });
      paused = { promise, resume };
      taking.interrupt();
      await inHand.giveBack(lanes.clear());
      await lanes.idle();
      signals.emit('paused', { subscription: plan.name, reason: 'asked' });
    },
    resume() {
      if (!paused) return;
      paused.resume();
      paused = undefined;
      taking.wake();
      signals.emit('resumed', { subscription: plan.name });
    },
    async stop(drainMs) {
      unwatch?.();
      stopping.abort();
      taking.interrupt();
      paused?.resume();
      await inHand.giveBack(lanes.clear());
      const limit = new AbortController();
      const idle = lanes.idle();
      await Promise.race([idle, sleep(clock, drainMs, limit.signal)]);
      limit.abort();
      givingUp.abort(); // what still runs is abandoned, undone and given back
      const over = new AbortController();
      await Promise.race([Promise.all([idle, running]), sleep(clock, graceMs, over.signal)]);
      over.abort();
      await inHand.giveBack(lanes.clear());
    },
    inFlight: () => lanes.size,
  };
}

const any = { atOnce: Infinity, withinMs: 0 };

/** It is where it was, or somewhere else in its line: nothing behind it may be run. */
const stays: ReadonlySet<Outcome['kind']> = new Set(['gone', 'moved', 'retrying', 'failed']);

function breakLine({ line }: Item): void {
  if (line) line.broken = true;
}

type PutBack = (items: readonly Item[]) => void;

function reasonOf(error: unknown): 'store' | 'transport' {
  return WaybillError.is(error) && /^(TRANSPORT|TOPOLOGY)_/.test(error.code) ? 'transport' : 'store';
}
