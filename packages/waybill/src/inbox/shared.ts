/**
 * Many messages, one transaction. In go items in their order; out comes what became of the first of them, committed, and
 * the rest: what its time did not suffice for, or all of them when one threw and nothing was committed. Then they come
 * again, in halves until the culprit stands alone; only what certainly threw by itself is charged. A crash before the
 * commit leaves nothing, and the deliveries come again.
 */
import { WaybillError } from '../contract/errors.ts';
import type { StoreTransaction } from '../contract/store.ts';
import type { Consumer } from '../contract/transport.ts';
import type { Alone } from './alone.ts';
import type { Apply, ApplyHost } from './apply.ts';
import { type Item, type Outcome, deliveriesOf, halve, keyOf } from './item.ts';
import { type Fit, Spoilt, createWhole } from './whole.ts';

export interface Shared {
  run(items: readonly Item[]): Promise<Done>;
  /**
   * Where handlers have transactions of their own: the same for the first of these, as far as none is to be run. What is
   * under suspicion, or of a key that waits, gets into its line; what has expired or cannot be read is done with. Undefined:
   * the first one is to be run.
   */
  sort(items: readonly Item[]): Promise<Done | undefined>;
  /** Whether it will be sorted away, as far as is known: then it may be taken with others. */
  isUnrun(item: Item): boolean;
}

export interface Done {
  /** Of the first ones, in their order. */
  readonly outcomes: readonly Outcome[];
  readonly rest: readonly Item[];
  /** Nothing was committed: the transaction was undone, and is to be done again with fewer. */
  readonly isUndone?: boolean;
}

/** A shared batch ends this long after its BEGIN: the file is free again, other code gets its turn. */
const batchMs = 20;
/** After a batch was undone because a handler threw, so many messages have a savepoint each, where that is cheap. */
const carefulCount = 1_000;
/** Keys that are remembered to wait. */
const linesMax = 10_000;

export function createShared(
  options: Pick<ApplyHost, 'plan' | 'store' | 'clock' | 'verdict' | 'stopping'> & {
    readonly consumer: Consumer;
    /** Whether this instance has a handler that can read this type. */
    readonly reads: (type: string) => boolean;
    readonly apply: Apply;
    readonly alone: Alone;
    readonly fit: Fit;
  },
): Shared {
  const { plan, store, consumer, clock, apply, alone, fit, stopping } = options;
  const { waiting } = store.ports;
  /** Messages that are still to have a savepoint each. */
  let careful = 0;
  /** Keys of which something waited when it was last seen. */
  const linesSeen = new Set<string>();

  const run: Shared['run'] = (items) => {
    const { threw } = items[0]!; // then it is alone
    return threw === undefined ? together(items, runIn) : verdictOn(items[0]!, threw);
  };

  const verdictOn = async (item: Item, { error, attempt }: NonNullable<Item['threw']>): Promise<Done> => ({
    outcomes: [await alone.recordFailure(item, error, attempt)],
    rest: [],
  });

  const together = async (items: readonly Item[], workIn: typeof runIn): Promise<Done> => {
    for (const item of items) await lookForNewer(item);
    let outcomes: Outcome[] = [];
    let spoilt: Spoilt | undefined;
    try {
      await store.transaction(async (tx) => {
        spoilt = undefined;
        outcomes = await workIn(tx, items).catch((error: unknown) => {
          if (error instanceof Spoilt) spoilt = error; // whatever the store makes of it on its way out
          throw error;
        });
        await consumer.settleIn(tx, deliveriesOf(items.slice(0, outcomes.length)));
      });
    } catch (error) {
      if (spoilt) return redo(items, spoilt);
      if (stopping.aborted || WaybillError.is(error, 'LEASE_LOST') || store.classify(error) !== 'other') throw error;
      // The commit itself was refused (a deferred constraint, say): whose fault it is shows one by one.
      return redo(items, new Spoilt(items, error, items.length === 1));
    }
    return { outcomes, rest: items.slice(outcomes.length) };
  };

  /** Before the transaction, where reads need not wait for it; whether it is still so is seen inside. */
  const lookForNewer = async (item: Item): Promise<void> => {
    const { incoming } = item;
    const type = incoming.kind === 'run' ? incoming.envelope.downcastOf : undefined;
    if (type === undefined || options.reads(type)) return;
    const rows = await store.ports.inspect.waiting({ subscription: plan.name, id: incoming.wire.id });
    item.newer = rows.find(({ reason, message }) => reason === 'no-handler' && message.source === incoming.wire.source);
  };

  /** Nothing of it was committed. Only what certainly threw by itself is charged: with one run, by its own verdict. */
  const redo = (items: readonly Item[], { culprits, error, charged }: Spoilt): Done => {
    halve(culprits);
    careful = carefulCount;
    if (charged) {
      const culprit = culprits[0]!;
      const attempt = culprit.attempt + 1;
      if (options.verdict(error, attempt).kind === 'again') culprit.attempt = attempt;
      else culprit.threw = { error, attempt };
    }
    return { outcomes: [], rest: items, isUndone: true };
  };

  const runIn = async (tx: StoreTransaction, items: readonly Item[]): Promise<Outcome[]> => {
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

  /** Seen without a transaction: in most cases that is all. */
  const isBehind = async (item: Item): Promise<boolean> => {
    const key = keyOf(item);
    if (plan.order !== 'by-key' || item.row || key === undefined) return false;
    return (await waiting.blocked(undefined, plan.name, [key])).size > 0;
  };

  /** As `runIn`, of the first ones, as far as none is to be run. */
  const unrunIn = async (tx: StoreTransaction, items: readonly Item[]): Promise<Outcome[]> => {
    const blocked = await blockedKeys(tx, items);
    const lines = (item: Item): boolean => item.row === undefined && blocked.has(keyOf(item)!);
    const first = items.findIndex((item) => isRunnable(item) && !lines(item));
    const unrun = first < 0 ? items : items.slice(0, first);
    for (const item of items) remember(item, lines(item) || (unrun.includes(item) && item.delivery?.suspect === true));
    if (unrun.length === 0) return [];
    await consumer.settleIn(tx, []);
    return whole(tx, unrun, () => false, blocked);
  };

  const remember = (item: Item, isLine: boolean): void => {
    const key = plan.order === 'by-key' ? keyOf(item) : undefined;
    if (key === undefined) return;
    if (!isLine) linesSeen.delete(key);
    else if (linesSeen.size < linesMax) linesSeen.add(key);
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

  const whole = createWhole({ plan, store, stopping }, apply, blockedKeys);

  return {
    run,
    async sort(items) {
      const first = items[0]!;
      if (first.threw) return verdictOn(first, first.threw);
      if (isRunnable(first) && items.length === 1 && !(await isBehind(first))) {
        remember(first, false);
        await lookForNewer(first);
        return undefined;
      }
      const done = await together(items, unrunIn);
      return done.outcomes.length > 0 || done.isUndone ? done : undefined;
    },
    isUnrun(item) {
      const key = keyOf(item);
      return !isRunnable(item) || (item.row === undefined && key !== undefined && linesSeen.has(key));
    },
  };
}

/** Nothing is against running it, but perhaps others of its key that wait. */
function isRunnable({ incoming, delivery }: Item): boolean {
  return incoming.kind === 'run' && !delivery?.suspect;
}
