import type { Clock } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import { storedError } from '../contract/failure.ts';
import type { Plan, Ready, Verdict } from '../contract/handling.ts';
import type { Envelope, WireMessage } from '../contract/message.ts';
import { andThen, isLater } from '../contract/maybe.ts';
import type { Due, MaybePromise, StoreSession, StoreTransaction, WaitingEntry, WaitingReason } from '../contract/store.ts';
import { type Item, type Outcome, keyOf, takenBefore, withCount } from './item.ts';
import { underAllNames } from './names.ts';

/** A run of the handler, as the room `handle` offers it. */
export interface Runs {
  one(plan: Plan, ready: Ready, how: RunHow): Promise<unknown>;
  batch(plan: Plan, all: readonly Ready[], how: RunHow): Promise<void>;
  failed(plan: Plan, ready: Ready, error: unknown, how: RunHow): Promise<void>;
}
interface RunHow {
  readonly attempt: number;
  readonly redelivered: boolean;
  readonly deliveryCount: number | undefined;
  readonly stopping: AbortSignal;
  readonly scope: { readonly native: unknown; readonly tx: StoreTransaction } | undefined;
  readonly manual?: (
    work: (scope: { readonly native: unknown; readonly tx: StoreTransaction }) => Promise<unknown>,
  ) => Promise<unknown>;
  readonly timing?: (clock: { hold(): void; go(): void }) => void;
}

export interface ApplyHost {
  readonly plan: Plan;
  readonly store: StoreSession;
  readonly clock: Clock;
  readonly runs: Runs;
  readonly stopping: AbortSignal;
  readonly verdict: (error: unknown, attempt: number) => Verdict;
  readonly attempts: number;
  /** The reply to a command, checked; undefined when nobody waits for one. */
  readonly reply: (command: Envelope, plan: Plan, value: unknown) => Promise<WireMessage | undefined>;
  readonly replyFailed: (command: Envelope, error: unknown) => WireMessage | undefined;
  readonly append: (tx: StoreTransaction, message: WireMessage) => Promise<void>;
  readonly trouble: (where: string, error: unknown) => void;
  /** A shared handler ran this long. */
  readonly took: (ms: number) => void;
}

/** How long an instance without a handler leaves a message to the others (a rolling deployment), and looks again. */
const leaveMs = 10 * 60_000;
const leaveAgainMs = 5_000;

/**
 * One message in an open transaction: taken on once, run, and its verdict written, all in that transaction. What throws
 * out of here is trouble of the store or of the lease, never the handler's: then the transaction is undone.
 */
export interface Apply {
  one(tx: StoreTransaction, item: Item, blocked: Set<string>): Promise<Outcome>;
  /**
   * The handler alone, its watermark and what commits with it, where `taken` was undefined. Throws what it throws.
   * @param isTaken its waiting row is gone already, in this transaction
   */
  run(tx: StoreTransaction, item: Item, attempt: number, scope: { native: unknown; tx: StoreTransaction }, isTaken?: boolean): Promise<Outcome>;
  /** A set-based handler over all of these. Throws what it throws. */
  runSet(tx: StoreTransaction, items: readonly Item[], attempt: number, scope: { native: unknown; tx: StoreTransaction }): Promise<Outcome[]>;
  /** Set-based: the whole batch at once, halved until the bad one stands alone. */
  batch(tx: StoreTransaction, items: readonly Item[]): Promise<Outcome[]>;
  /**
   * Takes the message on, whose inbox row was new or not: undefined when it is to be run, otherwise what became of it.
   * @param moves gets what a delivery that has to wait is to be added as, before the transaction ends; undefined: it is added at once
   */
  takeOn(tx: StoreTransaction, item: Item, fresh: boolean, blocked: Set<string>, moves?: WaitingEntry[]): MaybePromise<Outcome | undefined>;
  /** The newer form of this message came first, and waits for an instance that can read it: this one goes instead. */
  replacesNewer(tx: StoreTransaction, item: Item): MaybePromise<boolean>;
  /** The handler's effect is written: what has to commit with it. */
  complete(tx: StoreTransaction, item: Item, ready: Ready, value: unknown, isTaken?: boolean): Promise<void>;
  /** Order `latest`: false when a newer one has been applied. */
  advance(tx: StoreTransaction, ready: Ready): MaybePromise<boolean>;
  /** What follows a run that threw. */
  after(tx: StoreTransaction, item: Item, error: unknown, attempt: number, verdict: Verdict, blocked: Set<string>): Promise<Outcome>;
}

export function createApply(host: ApplyHost): Apply {
  const { plan, store, clock, runs, stopping } = host;
  const { waiting, failures } = store.ports;
  const inbox = underAllNames(store.ports.inbox, plan);
  const inOrder = plan.order === 'by-key';

  /** A run's own part of the transaction: what it leaves under way cannot write into another's once it is undone. */
  const part = (native: unknown): { native: unknown; tx: StoreTransaction } => ({ native, tx: store.join(native) });

  const isFresh = async (tx: StoreTransaction, item: Item): Promise<boolean> =>
    item.row !== undefined || (await inbox.insert(tx, plan.name, [item.incoming.wire]))[0]!;

  const replacesNewer: Apply['replacesNewer'] = (tx, { newer }) => newer !== undefined && waiting.settle(tx, newer);

  const takeOn: Apply['takeOn'] = (tx, item, fresh, blocked, moves) => {
    if (item.row) {
      // Held until this transaction ends; gone when an operator or another instance took it.
      return andThen(waiting.settle(tx, item.row, {}), (isHeld) => (isHeld ? asItIs(tx, item, blocked) : { kind: 'gone' }));
    }
    if (fresh) return inTurn(tx, item, blocked, moves);
    return andThen(replacesNewer(tx, item), (isNext) => (isNext ? inTurn(tx, item, blocked, moves) : takenBefore(item)));
  };

  /** A delivery, behind those of its key that wait. */
  const inTurn = (tx: StoreTransaction, item: Item, blocked: Set<string>, moves?: WaitingEntry[]): MaybePromise<Outcome | undefined> => {
    const key = keyOf(item);
    if (item.incoming.kind === 'run' && item.delivery!.suspect) return move(tx, item, 'suspect', 'now', blocked, {}, moves);
    if (inOrder && key !== undefined && blocked.has(key)) return move(tx, item, 'behind', 'now', blocked, {}, moves);
    return asItIs(tx, item, blocked, moves);
  };

  /** What becomes of it without a run; undefined when it can be run. */
  const asItIs = (tx: StoreTransaction, item: Item, blocked: Set<string>, moves?: WaitingEntry[]): MaybePromise<Outcome | undefined> => {
    const { incoming, row } = item;
    switch (incoming.kind) {
      case 'expired':
        return andThen(row ? waiting.settle(tx, row) : true, () => ({ kind: 'expired' }));
      case 'fail':
        return park(tx, item, incoming.error, item.attempt, blocked);
      case 'leave':
        return leave(tx, item, blocked, moves);
      case 'run':
        return undefined;
    }
  };

  /** Into the line of those that wait. */
  const move = async (
    tx: StoreTransaction,
    item: Item,
    reason: WaitingReason,
    dueMs: Due,
    blocked: Set<string>,
    ran: Partial<Pick<WaitingEntry, 'attempt' | 'error' | 'firstFailedMs' | 'inOrder'>> = {},
    moves?: WaitingEntry[],
  ): Promise<Outcome> => {
    const key = keyOf(item);
    const ordered = inOrder && key !== undefined;
    if (item.row) await waiting.settle(tx, item.row, { reason, dueMs, ...ran });
    else {
      const entry: WaitingEntry = {
        subscription: plan.name,
        message: withCount({ ...item.incoming.wire, key }, item.deliveryCount),
        dueMs,
        attempt: 0,
        attempts: host.attempts,
        firstFailedMs: undefined,
        error: undefined,
        reason,
        inOrder: ordered,
        ...ran,
      };
      if (moves) moves.push(entry);
      else await waiting.add(tx, [entry]);
    }
    if (ordered && ran.inOrder !== false) blocked.add(key);
    return { kind: 'moved' };
  };

  const leave = async (tx: StoreTransaction, item: Item, blocked: Set<string>, moves?: WaitingEntry[]): Promise<Outcome> => {
    const { wire } = item.incoming;
    const nowMs = await waiting.nowMs(tx);
    const sinceMs = item.row?.reason === 'no-handler' ? item.row.createdMs : nowMs;
    if (nowMs - sinceMs < leaveMs) return move(tx, item, 'no-handler', nowMs + leaveAgainMs, blocked, {}, moves);
    const error = new WaybillError(
      'HANDLER_MISSING',
      `${plan.name}: for ten minutes no instance had a handler for ${wire.type}; deploy one, then retry`,
    );
    return park(tx, item, error, item.attempt, blocked);
  };

  const park = async (tx: StoreTransaction, item: Item, error: unknown, attempts: number, blocked: Set<string>, aside = false): Promise<Outcome> => {
    const { incoming, row } = item;
    const key = keyOf(item);
    const nowMs = clock.now();
    const holds = plan.afterFailure === 'hold' && key !== undefined && !aside;
    await failures.add(tx, [
      {
        subscription: plan.name,
        message: { ...incoming.wire, key },
        error: storedError(error, 'HANDLER_FAILED'),
        attempts,
        firstFailedMs: row?.firstFailedMs ?? nowMs,
        lastFailedMs: nowMs,
        holds,
      },
    ]);
    if (row) await waiting.settle(tx, row);
    if (holds) blocked.add(key);
    // What could not be read has the key that its sender gave it; what waited has the subscription's own.
    if (plan.parked && key !== undefined && (row || incoming.kind === 'run')) await plan.parked(tx, { key, id: incoming.wire.id, error });
    if (incoming.kind === 'run') {
      if (plan.onFailed) await tellFailed(tx, item, incoming, error, attempts);
      const reply = host.replyFailed(incoming.envelope, error);
      if (reply) await host.append(tx, reply);
    }
    return { kind: 'failed', attempts, error };
  };

  /** `onFailed` may fail too: then its writes are undone and the message is parked all the same. */
  const tellFailed = async (tx: StoreTransaction, item: Item, ready: Ready, error: unknown, attempt: number): Promise<void> => {
    try {
      await tx.savepoint((native) =>
        runs.failed(plan, ready, error, { attempt, redelivered: isRedelivered(item), deliveryCount: item.deliveryCount, stopping, scope: part(native) }),
      );
    } catch (trouble) {
      if (store.classify(trouble) !== 'other') throw trouble;
      host.trouble(`onFailed of ${plan.name}`, trouble);
    }
  };

  const advance: Apply['advance'] = (tx, ready) =>
    plan.order !== 'latest' ||
    inbox.advance(tx, {
      subscription: plan.name,
      source: ready.message.source,
      event: ready.taker.contract.name,
      key: ready.key!,
      sequence: ready.sequence!,
    });

  const complete: Apply['complete'] = async (tx, item, ready, value, isTaken = false) => {
    const reply = await host.reply(ready.envelope, plan, value);
    if (reply) await host.append(tx, reply);
    if (item.row && !isTaken) await waiting.settle(tx, item.row);
  };

  const after: Apply['after'] = async (tx, item, error, attempt, verdict, blocked) => {
    if (verdict.kind === 'fail') return park(tx, item, error, attempt, blocked, verdict.aside);
    const nowMs = await waiting.nowMs(tx);
    const dueMs = Math.ceil(nowMs + (verdict.kind === 'later' ? verdict.delayMs : 0));
    await move(tx, item, 'retry', dueMs, blocked, {
      attempt,
      error: storedError(error, 'HANDLER_FAILED'),
      firstFailedMs: item.row?.firstFailedMs ?? nowMs,
      ...(verdict.kind === 'later' && verdict.aside && { inOrder: false }),
    });
    return { kind: 'retrying', attempt, dueMs, error };
  };

  const run: Apply['run'] = (tx, item, attempt, scope, isTaken = false) => {
    const advancing = advance(tx, item.incoming as Ready);
    return isLater(advancing) ? advancing.then((isNewer) => runIf(isNewer, tx, item, attempt, scope, isTaken)) : runIf(advancing, tx, item, attempt, scope, isTaken);
  };

  const runIf = (isNewer: boolean, tx: StoreTransaction, item: Item, attempt: number, scope: NonNullable<RunHow['scope']>, isTaken: boolean): Promise<Outcome> => {
    if (!isNewer) return stale(tx, item, isTaken);
    const ready = item.incoming as Ready & { kind: 'run' };
    const began = clock.monotonic();
    const { redelivered, deliveryCount } = runOf(item, attempt);
    return runs.one(plan, ready, { attempt, redelivered, deliveryCount, stopping, scope }).then((value): MaybePromise<Outcome> => {
      host.took(clock.monotonic() - began);
      const outcome: Outcome = { kind: 'applied', attempt };
      return (item.row && !isTaken) || ready.envelope.replyTo !== undefined ? complete(tx, item, ready, value, isTaken).then(() => outcome) : outcome;
    });
  };

  const stale = async (tx: StoreTransaction, { row }: Item, isTaken: boolean): Promise<Outcome> => {
    if (row && !isTaken) await waiting.settle(tx, row);
    return { kind: 'stale' };
  };

  const runSet: Apply['runSet'] = async (tx, items, attempt, scope) => {
    const how = { attempt, redelivered: items.some(isRedelivered), deliveryCount: undefined, stopping, scope };
    await runs.batch(plan, items.map((item) => item.incoming as Ready & { kind: 'run' }), how); // prettier-ignore
    for (const item of items) if (item.row) await waiting.settle(tx, item.row);
    return items.map((item) => ({ kind: 'applied', attempt: item.attempt + 1 }));
  };

  const one: Apply['one'] = async (tx, item, blocked) => {
    const taken = await takeOn(tx, item, await isFresh(tx, item), blocked);
    if (taken) return taken;
    for (let attempt = item.attempt + 1; ; attempt++) {
      try {
        return await tx.savepoint((native) => run(tx, item, attempt, part(native)));
      } catch (error) {
        if (stopping.aborted || store.classify(error) !== 'other') throw error; // given up: no attempt
        const verdict = host.verdict(error, attempt);
        if (verdict.kind !== 'again') return after(tx, item, error, attempt, verdict, blocked);
      }
    }
  };

  const batch: Apply['batch'] = async (tx, items) => {
    const outcomes = new Map<Item, Outcome>();
    const runnable: Item[] = [];
    for (const item of items) {
      const taken = await takeOn(tx, item, await isFresh(tx, item), new Set());
      if (taken) outcomes.set(item, taken);
      else runnable.push(item);
    }
    await parts(tx, runnable, outcomes);
    return items.map((item) => outcomes.get(item)!);
  };

  const parts = async (tx: StoreTransaction, items: readonly Item[], outcomes: Map<Item, Outcome>): Promise<void> => {
    if (items.length === 0) return;
    const first = items[0]!;
    for (let attempt = first.attempt + 1; ; attempt++) {
      try {
        const done = await tx.savepoint((native) => runSet(tx, items, attempt, part(native)));
        return items.forEach((item, i) => outcomes.set(item, done[i]!));
      } catch (error) {
        if (stopping.aborted || store.classify(error) !== 'other') throw error; // given up: no attempt
        if (items.length > 1) {
          const half = items.length >> 1;
          await parts(tx, items.slice(0, half), outcomes);
          return parts(tx, items.slice(half), outcomes);
        }
        const verdict = host.verdict(error, attempt);
        if (verdict.kind !== 'again') {
          return void outcomes.set(first, await after(tx, first, error, attempt, verdict, new Set()));
        }
      }
    }
  };

  return { one, run, batch, runSet, takeOn, replacesNewer, complete, advance, after };
}

/** What a run is told of how its message came. */
export function runOf(item: Item, attempt: number): Pick<RunHow, 'attempt' | 'redelivered' | 'deliveryCount'> {
  return { attempt, redelivered: isRedelivered(item) || attempt > 1, deliveryCount: item.deliveryCount };
}

function isRedelivered(item: Item): boolean {
  return item.row !== undefined || (item.delivery?.redelivered ?? false);
}
