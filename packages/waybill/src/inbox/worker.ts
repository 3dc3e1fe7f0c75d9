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
 * per batch (up to `batch` messages or 250 ms) three or four statements and one acknowledgement. See `whole.ts`.
 */
import { sleep } from '../contract/clock.ts';
import { isHeartbeat } from '../contract/control.ts';
import { WaybillError } from '../contract/errors.ts';
import { isLater } from '../contract/maybe.ts';
import type { Decode } from '../contract/handling.ts';
import type { Signals } from '../contract/signals.ts';
import type { StoreTransaction, WaitingRow } from '../contract/store.ts';
import type { Consumer, Delivery } from '../contract/transport.ts';
import { createAlone } from './alone.ts';
import { type ApplyHost, createApply } from './apply.ts';
import { createClaims } from './claims.ts';
import { type Item, type Outcome, deliveriesOf, halve, isOlderForm, keyOf, readableFirst, withoutCount } from './item.ts';
import { createLanes } from './lanes.ts';
import { createReport } from './report.ts';
import { Slowness } from './slow.ts';
import { Fit, Spoilt, createWhole } from './whole.ts';

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
/** A shared batch ends this long after its BEGIN: the file is free again, other code gets its turn. */
const batchMs = 20;
/** Where others need not wait for it, a round trip per statement may take longer: locks are held until its end. */
const wholeBatchMs = 250;
/** In hand at most, in batches: with what the next transactions take is decoded while others run. */
const batchesAhead = 12;
/** Of bodies, in bytes, where they are large: decoded, each is there twice, and as text for a moment. */
const aheadBytesMax = 16 * 1024 * 1024;
/** It is seen this often what is due although nothing announced it: another process may have put it there. */
export const pollMs = 1_000;
/** A receive that waits in vain ends after so long: what waits is announced. */
const idleMs = 10_000;
/** What this instance has no handler for it puts off again so much later: one that has looks at the same time, and comes first. */
const othersFirstMs = 250;
/** Waiting rows taken at once. */
const waitingMax = 50;
/** Runs that ended with the process, all but the first of them alone, until the message is parked. */
const crashesMax = 4;
/** After a batch was undone because a handler threw, so many messages have a savepoint each, where that is cheap. */
const carefulCount = 1_000;
/** After the drain: for giving back. User code that hears nothing (a schema that hangs) is not waited for. */
const graceMs = 5_000;
const pauseFirstMs = 50;
const pauseMaxMs = 10_000;

export function createWorker(options: WorkerOptions): Worker {
  const { plan, store, consumer, clock, signals, decode, gate } = options;
  const { waiting } = store.ports;
  const stopping = new AbortController();
  /** Aborted at the end of the drain: handlers that are still running shall give up. */
  const givingUp = new AbortController();
  let receiving = new AbortController();
  /** What waits is looked at again from then on, by the monotonic clock; or when that is asked for, as it is when something is due. */
  let lookMs = -Infinity;
  let lookAsked = false;
  const wake = (): void => {
    lookAsked = true;
    receiving.abort();
  };
  const slowness = new Slowness(clock);
  /** Messages that are still to have a savepoint each. */
  let careful = 0;
  const mayShare = plan.mode === 'shared';
  let paused: { promise: Promise<void>; resume: () => void } | undefined;
  let running: Promise<void> | undefined;
  let unwatch: (() => void) | undefined;
  /** Waiting rows in hand. */
  const held = new Set<number>();
  const claims = createClaims({ ...options, trouble: (error) => options.trouble(`${plan.name}: prolonging a claim`, error) });

  const tookTime = (ms: number): void => {
    const is = slowness.took(ms);
    if (is === 'fast' && mayShare && plan.mode === 'own') plan.mode = 'shared';
    if (is !== 'slow' || plan.mode !== 'shared') return;
    plan.mode = 'own';
    signals.emit('slow-handler', { subscription: plan.name, tookMs: ms });
  };

  const apply = createApply({ ...options, stopping: givingUp.signal, took: tookTime });
  const alone = createAlone({ ...options, stopping: givingUp.signal, apply, took: tookTime });
  const report = createReport({ plan, clock, signals, attempts: options.attempts });
  const ownTransactions = (): boolean => plan.mode !== 'shared' && !plan.setBased;
  const parallel = store.capabilities.parallelTransactions;
  const count = plan.setBased || (plan.mode === 'shared' && !parallel) ? 1 : plan.concurrency;
  const ahead = parallel ? Math.min(count + 1, batchesAhead) : 1;
  const batch = plan.batch ?? store.capabilities.batch ?? batchDefault;
  const capacity = ownTransactions() ? count * 2 : ahead * batch;
  /** One transaction at a time takes a whole batch: two parts in turn would go on as two, each with its commit. */
  const roomMin = capacity === batch ? capacity : 1;
  const fit = new Fit(batch, wholeBatchMs, plan.setBased || store.capabilities.cheapSavepoints ? batch : undefined);

  const lanes = createLanes<Item>({
    room: () => (ownTransactions() ? 1 : fit.most),
    most: count,
    beside: (full) => (ownTransactions() ? any : fit.beside(full)),
    clock,
    weigh: ({ incoming }) => incoming.wire.body.length,
    together: (item) => item.together,
    work: (items, putBack) => work(items, putBack),
  });

  /** One lane for all where there is but one transaction at a time: its order is that of the deliveries. */
  const laneOf = (item: Item): string | undefined => (count === 1 ? '' : keyOf(item));

  // --- taking ---------------------------------------------------------------------------------------------------------

  const loop = async (): Promise<void> => {
    let pauseMs = pauseFirstMs;
    while (!stopping.signal.aborted) {
      if (paused) await paused.promise; // resume, or stop
      if (stopping.signal.aborted) return;
      try {
        await take();
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

  const take = async (): Promise<void> => {
    if (capacity - lanes.size < roomMin || lanes.weight >= aheadBytesMax) return lanes.finished(); // also when the lanes are cleared, as by stop
    receiving = new AbortController();
    const waitMs = consumer.active ? await lookAtWaiting() : pollMs;
    if (!consumer.active) lookAsked = true; // once it is
    if (mayNotRun()) return;
    const max = Math.max(1, Math.min(batch, capacity - lanes.size));
    const deliveries = await withoutBeats(await consumer.receive(max, { waitMs, signal: receiving.signal }));
    if (deliveries.length > 0 && plan.lingerMs > 0 && deliveries.length < max) {
      await sleep(clock, plan.lingerMs, stopping.signal);
      deliveries.push(...(await receiveMore(deliveries, max)));
    }
    const items: Item[] = [];
    for (const delivery of deliveries) {
      const decoding = decode(delivery);
      items.push({ ...plain, incoming: isLater(decoding) ? await decoding : decoding, delivery, deliveryCount: delivery.deliveryCount });
    }
    if (mayNotRun()) return consumer.release(deliveries);
    for (const item of readableFirst(items)) lanes.push(item, laneOf(item)); // in one step: they share a transaction
  };

  /** A publisher's word that it has sent everything: taken, and nothing is done. */
  const withoutBeats = async (received: readonly Delivery[]): Promise<Delivery[]> => {
    if (!received.some(isHeartbeat)) return [...received];
    const beats = received.filter(isHeartbeat);
    await consumer.settle(beats);
    return received.filter((delivery) => !isHeartbeat(delivery));
  };

  const receiveMore = async (first: readonly Delivery[], max: number): Promise<readonly Delivery[]> => {
    try {
      return await withoutBeats(await consumer.receive(max - first.length, { waitMs: 0, signal: receiving.signal }));
    } catch (error) {
      await consumer.release(first);
      throw error;
    }
  };

  /** What was read and decoded meanwhile stays where it was. */
  const mayNotRun = (): boolean => stopping.signal.aborted || paused !== undefined;

  /** Not before each batch: only when something may be due, or it was asked for. Answers how long there is nothing to do. */
  const lookAtWaiting = async (): Promise<number> => {
    if (lookAsked || clock.monotonic() >= lookMs) {
      lookAsked = false;
      lookMs = -Infinity; // should it fail
      const waitMs = await takeWaiting();
      lookMs = clock.monotonic() + waitMs;
    }
    return Math.min(idleMs, Math.max(0, lookMs - clock.monotonic()));
  };

  /** Puts what is due into the lanes; answers how long there is nothing more to do. */
  const takeWaiting = async (): Promise<number> => {
    const { rows, nowMs, nextDueMs } = await waiting.due(plan.name, 'now', waitingMax, options.owner);
    const fresh = rows.filter(({ row }) => !held.has(row));
    for (const { row } of fresh) held.add(row); // before anything is awaited: what is in hand now may be done by then
    const items: Item[] = [];
    for (const row of fresh) items.push(await fromWaiting(row));
    putWaiting(items.filter(({ incoming }) => incoming.kind !== 'leave'));
    const others = items.filter(({ incoming }) => incoming.kind === 'leave');
    if (others.length > 0) clock.after(othersFirstMs, () => putWaiting(others));
    if (nextDueMs === undefined) return Infinity;
    // What is due and in hand wakes this loop when it is finished.
    const untilMs = nextDueMs - nowMs;
    return untilMs <= 0 ? pollMs : Math.min(pollMs, untilMs);
  };

  const putWaiting = (items: readonly Item[]): void => {
    if (mayNotRun()) for (const { row } of items) held.delete(row!.row);
    else for (const item of items) lanes.push(item, laneOf(item));
  };

  const fromWaiting = async (read: WaitingRow): Promise<Item> => {
    const row = { ...read, owner: options.owner };
    const { attempt } = row;
    const { message, deliveryCount } = withoutCount(row.message);
    const crashes = Math.max(0, row.starts - attempt);
    const incoming =
      crashes < crashesMax
        ? await decode(message, true)
        : ({ kind: 'fail', wire: message, error: crashError(crashes) } as const);
    // What may take the process along runs alone; so does what failed before, where it would undo its neighbours.
    const together = crashes > 0 || (attempt > 0 && !store.capabilities.cheapSavepoints) ? 1 : Infinity;
    return { ...plain, incoming, row, deliveryCount, attempt, crashes: crashes < crashesMax ? crashes : 0, started: false, together };
  };

  const crashError = (crashes: number): WaybillError =>
    new WaybillError(
      'HANDLER_CRASHED',
      `${plan.name}: the process died ${crashes} times while it ran this message alone; mend the handler, then retry`,
    );

  // --- working --------------------------------------------------------------------------------------------------------

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
      if (stopping.signal.aborted) return await giveBack(items);
      try {
        const rest = await within(async (): Promise<Item[]> => {
          // Inside the gate: what only stands in line must not be charged if the process dies (D16).
          const ours = await claims.begin(items);
          if (ours.length < items.length) letGo(items.filter((item) => !ours.includes(item)));
          items = ours;
          return items.length === 0 ? [] : handle(items);
        });
        if (pauseMs > pauseFirstMs) signals.emit('resumed', { subscription: plan.name });
        pauseMs = pauseFirstMs;
        if (rest.length === 0) return await clock.turn(); // others get their turn between two batches
        if (putBack) return putBack(rest);
        items = rest;
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

  /** Gone, changed, or another instance's: what it is now is seen when it is read again. */
  const letGo = (items: readonly Item[]): void => {
    claims.end(items);
    for (const item of items) if (item.row) held.delete(item.row.row);
    wake();
  };

  const handle = async (items: Item[]): Promise<Item[]> => {
    const [first] = items;
    const runnable = first!.incoming.kind === 'run' && !first!.delivery?.suspect;
    if (ownTransactions() && runnable && !(await standsBehind(first!))) {
      await finish([first!], [await alone.run(first!)]);
      return items.slice(1); // taken together, before another lane found that its runs are slow
    }
    return shared(items);
  };

  /** Many messages, one transaction. Returns what its time did not suffice for, or what is to be redone. */
  const shared = async (items: Item[]): Promise<Item[]> => {
    const { threw } = items[0]!; // then it is alone
    if (threw) {
      await finish(items, [await alone.recordFailure(items[0]!, threw.error, threw.attempt)]);
      return [];
    }
    for (const item of items) if (isOlderForm(item)) item.newer = await unreadNewer(item);
    let outcomes: Outcome[] = [];
    let spoilt: Spoilt | undefined;
    try {
      await store.transaction(async (tx) => {
        spoilt = undefined;
        outcomes = await sharedIn(tx, items).catch((error: unknown) => {
          if (error instanceof Spoilt) spoilt = error; // whatever the store makes of it on its way out
          throw error;
        });
        await consumer.settleIn(tx, deliveriesOf(items.slice(0, outcomes.length)));
      });
    } catch (error) {
      if (spoilt) return redo(items, spoilt);
      if (givingUp.signal.aborted || WaybillError.is(error, 'LEASE_LOST') || store.classify(error) !== 'other') throw error;
      // The commit itself was refused (a deferred constraint, say): whose fault it is shows one by one.
      return redo(items, new Spoilt(items, error, items.length === 1));
    }
    const done = items.slice(0, outcomes.length);
    await finish(done, outcomes);
    return items.slice(outcomes.length);
  };

  /** Looked for before the transaction, where reads need not wait for it; whether it is still so is seen inside. */
  const unreadNewer = async ({ incoming }: Item): Promise<WaitingRow | undefined> => {
    const type = incoming.kind === 'run' ? incoming.envelope.downcastOf : undefined;
    if (type === undefined || options.reads(type)) return undefined;
    const rows = await store.ports.inspect.waiting({ subscription: plan.name, id: incoming.wire.id });
    return rows.find(({ reason, message }) => reason === 'no-handler' && message.source === incoming.wire.source);
  };

  /** Nothing of it was committed. Only what certainly threw by itself is charged: with one run, by its own verdict. */
  const redo = (items: Item[], { culprits, error, charged }: Spoilt): Item[] => {
    halve(culprits);
    careful = carefulCount;
    if (charged) {
      const culprit = culprits[0]!;
      const attempt = culprit.attempt + 1;
      if (options.verdict(error, attempt).kind === 'again') culprit.attempt = attempt;
      else culprit.threw = { error, attempt };
    }
    return items;
  };

  const sharedIn = async (tx: StoreTransaction, items: Item[]): Promise<Outcome[]> => {
    await consumer.settleIn(tx, []); // nothing is run by an instance that has lost its lease
    const began = clock.monotonic();
    if (!store.capabilities.cheapSavepoints) {
      const outcomes = await whole(tx, items, () => false);
      fit.took(items.length, clock.monotonic() - began);
      return outcomes;
    }
    const isTimeUp = (): boolean => clock.monotonic() - began > batchMs;
    if (plan.setBased) return apply.batch(tx, items);
    if (careful === 0) return whole(tx, items, isTimeUp);
    const outcomes: Outcome[] = [];
    const blocked = await blockedKeys(tx, items);
    for (const item of items) {
      outcomes.push(await apply.one(tx, item, blocked));
      if (isTimeUp()) break;
    }
    careful = Math.max(0, careful - outcomes.length);
    return outcomes;
  };

  const blockedKeys = async (tx: StoreTransaction, items: readonly Item[]): Promise<Set<string>> => {
    if (plan.order !== 'by-key') return new Set();
    const keys = new Set<string>();
    for (const item of items) {
      const key = item.row ? undefined : keyOf(item);
      if (key !== undefined) keys.add(key);
    }
    return keys.size === 0 ? new Set() : new Set(await waiting.blocked(tx, plan.name, [...keys]));
  };

  const whole = createWhole({ ...options, stopping: givingUp.signal }, apply, blockedKeys);

  /** A message of a key that waits may not be run here: the shared path puts it behind the others. */
  const standsBehind = async (item: Item): Promise<boolean> => {
    if (plan.order !== 'by-key' || item.row || keyOf(item) === undefined) return false;
    return store.transaction(async (tx) => (await blockedKeys(tx, [item])).size > 0);
  };

  // --- afterwards -----------------------------------------------------------------------------------------------------

  const finish = async (items: readonly Item[], outcomes: readonly Outcome[]): Promise<void> => {
    const deliveries = deliveriesOf(items);
    if (deliveries.length > 0) await consumer.settle(deliveries);
    claims.end(items);
    for (const item of items) if (item.row) held.delete(item.row.row);
    let again = false;
    items.forEach((item, i) => {
      const outcome = outcomes[i]!;
      again ||= outcome.kind === 'moved' || outcome.kind === 'retrying' || item.row !== undefined;
      report(item, outcome);
    });
    if (again) wake(); // something may be due sooner than was known
  };

  /**
   * This instance may not commit what it has: it lets go of all of it. What the consumer still counts as ours comes
   * again, the rest goes to whoever works on the subscription now.
   */
  const forget = async (items: readonly Item[]): Promise<void> => {
    const dropped = lanes.clear();
    const all = [...items, ...dropped];
    claims.end(all);
    for (const item of all) if (item.row) held.delete(item.row.row);
    lookAsked = true;
    await release(all);
  };

  /** Where that fails they come again all the same: when this consumer is closed, or dies. */
  const release = async (items: readonly Item[]): Promise<void> => {
    const deliveries = deliveriesOf(items);
    if (deliveries.length === 0) return;
    try {
      await consumer.release(deliveries);
    } catch (error) {
      options.trouble(`${plan.name}: giving back what was not handled`, error);
    }
  };

  const giveBack = async (items: readonly Item[]): Promise<void> => {
    await release(items);
    claims.end(items);
    for (const item of items) {
      if (item.row) held.delete(item.row.row);
      // A start without verdict would look like a crash.
      if (item.row && item.started && item.incoming.kind === 'run') {
        await store.transaction((tx) => waiting.settle(tx, item.row!, {})).catch(() => {});
      }
    }
  };

  return {
    start() {
      unwatch ??= options.watch(plan.name, wake);
      running ??= loop();
    },
    wake,
    async pause() {
      if (paused) return;
      let resume = (): void => {};
      const promise = new Promise<void>((resolve) => {
        resume = resolve;
      });
      paused = { promise, resume };
      receiving.abort();
      await giveBack(lanes.clear());
      await lanes.idle();
      signals.emit('paused', { subscription: plan.name, reason: 'asked' });
    },
    resume() {
      if (!paused) return;
      paused.resume();
      paused = undefined;
      wake();
      signals.emit('resumed', { subscription: plan.name });
    },
    async stop(drainMs) {
      unwatch?.();
      stopping.abort();
      receiving.abort();
      paused?.resume();
      await giveBack(lanes.clear());
      const limit = new AbortController();
      const idle = lanes.idle();
      await Promise.race([idle, sleep(clock, drainMs, limit.signal)]);
      limit.abort();
      givingUp.abort(); // what still runs is abandoned, undone and given back
      const over = new AbortController();
      await Promise.race([Promise.all([idle, running]), sleep(clock, graceMs, over.signal)]);
      over.abort();
      await giveBack(lanes.clear());
    },
    inFlight: () => lanes.size,
  };
}

const any = { atOnce: Infinity, withinMs: 0 };

type PutBack = (items: readonly Item[]) => void;

/** As it is delivered, when nothing is known of it yet. */
const plain = { delivery: undefined, deliveryCount: undefined, row: undefined, attempt: 0, crashes: 0, started: true, together: Infinity, threw: undefined, newer: undefined };

function reasonOf(error: unknown): 'store' | 'transport' {
  return WaybillError.is(error) && /^(TRANSPORT|TOPOLOGY)_/.test(error.code) ? 'transport' : 'store';
}
