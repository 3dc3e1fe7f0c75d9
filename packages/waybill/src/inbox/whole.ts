import { andThen, isLater } from '../contract/maybe.ts';
import type { InboxPort, MaybePromise, StoreTransaction, WaitingEntry, WaitingRow } from '../contract/store.ts';
import type { Apply, ApplyHost } from './apply.ts';
import type { Item, Outcome } from './item.ts';
import { underAllNames } from './names.ts';

/**
 * A batch without savepoints: the handlers one after another, and when one throws nothing of it may commit. `Spoilt` says
 * what to do then: the batch is redone with the culprit alone. Innocents run again, which is no attempt of theirs.
 *
 * Where a savepoint is a round trip all inbox rows are one insert, and a throw is charged only to a message that had the
 * transaction for itself until then. After others have run it may be the victim of one (a statement that failed and whose
 * error was swallowed spoils a PostgreSQL transaction for all that follow), so it is run once more, alone, before its
 * attempt counts. Where savepoints are cheap a failed statement spoils nothing: the throw is its own.
 *
 * Cost per batch on a server: one statement for the inbox, `by-key` one more for what waits; for all that has waited and now
 * runs one, two for its lines, which are also those of all that is put behind a line, and one more for that; per message the handler, and with order `latest` its watermark. On SQLite an inbox row per message besides, which the store writes with others, and a
 * third of the processor time less than with a savepoint for each (31 instead of 45 µs).
 */
export interface Whole {
  /**
   * What became of them: of fewer than were given, where time was up before all had run.
   * @param known keys of which something waits, where that has been read in this transaction
   */
  (tx: StoreTransaction, items: readonly Item[], isTimeUp: () => boolean, known?: Set<string>): Promise<Outcome[]>;
}

/** Thrown inside the transaction, which must be undone: one of `culprits` threw, or its neighbours made it throw. */
export class Spoilt extends Error {
  readonly culprits: readonly Item[];
  readonly error: unknown;
  /** It is certain that the (only) culprit threw by itself. */
  readonly charged: boolean;
  constructor(culprits: readonly Item[], error: unknown, charged: boolean) {
    super('the batch is undone and redone', { cause: error }); // a store looks through it: a lost connection is nobody's doing
    this.culprits = culprits;
    this.error = error;
    this.charged = charged;
  }
}

export function createWhole(
  { plan, store, stopping }: Pick<ApplyHost, 'plan' | 'store' | 'stopping'>,
  apply: Apply,
  blockedKeys: (tx: StoreTransaction, items: readonly Item[]) => Promise<Set<string>>,
): Whole {
  const insertsAll = !store.capabilities.cheapSavepoints || plan.setBased;
  const isTrouble = (error: unknown): boolean => stopping.aborted || store.classify(error) !== 'other';

  /** Whether what waited is taken off its lines in one go, each in its order; one by one each would be three round trips. */
  const takesLines = !store.capabilities.cheapSavepoints && store.ports.waiting.take !== undefined;

  const takeOn = (tx: StoreTransaction, item: Item, fresh: Fresh, blocked: Set<string>, moves: WaitingEntry[]): MaybePromise<Outcome | undefined> =>
    andThen(fresh(item), (isNew) => apply.takeOn(tx, item, isNew, blocked, moves));

  /**
   * What has to wait, in its order, and lines that go on: one statement or three however many they are, where one by one each were as
   * many round trips. At the end, for both together: who has locked one line waits for no other, or two could wait in a circle.
   */
  const add = (tx: StoreTransaction, moves: readonly WaitingEntry[], taken: readonly WaitingRow[] = []): MaybePromise<void> =>
    moves.length + taken.length > 0 ? store.ports.waiting.add(tx, moves, taken) : undefined;

  const singly = async (tx: StoreTransaction, items: readonly Item[], fresh: Fresh, isTimeUp: () => boolean, known?: Set<string>): Promise<Outcome[]> => {
    const waited = takesLines ? items.filter(({ row, incoming }) => row !== undefined && incoming.kind === 'run') : [];
    const taken = waited.length > 0 ? await store.ports.waiting.take!(tx, waited.map(({ row }) => row!)) : noRows;
    const free = itemsOf(taken, waited);
    const blocked = known ?? (await blockedKeys(tx, items));
    const outcomes = new Map<Item, Outcome>();
    const moves: WaitingEntry[] = [];
    let clean = true;
    // What waited first: it is off its line, which kept later ones of its key behind it. In the order of the line, which need not be that
    // of the lane: a first one that was let go of comes again after those that stood behind it.
    const inTurn = waited.length > 0 ? new Set([...free, ...waited, ...items]) : items;
    for (const item of inTurn) {
      const hasWaited = outcomes.size < waited.length;
      const isTaken = free.has(item);
      const taking = isTaken ? undefined : hasWaited ? gone : takeOn(tx, item, fresh, blocked, moves);
      const moved = isLater(taking) ? await taking : taking;
      if (moved) {
        outcomes.set(item, moved);
        continue;
      }
      try {
        outcomes.set(item, await apply.run(tx, item, item.attempt + 1, { native: tx.native, tx }, isTaken));
      } catch (error) {
        throw isTrouble(error) ? error : new Spoilt([item], error, clean);
      }
      clean = store.capabilities.cheapSavepoints;
      if (isTimeUp()) break;
    }
    await add(tx, moves, taken);
    return items.flatMap((item) => outcomes.get(item) ?? []);
  };

  const asSet = async (tx: StoreTransaction, items: readonly Item[], fresh: Fresh): Promise<Outcome[]> => {
    const outcomes = new Map<Item, Outcome>();
    const none = new Set<string>();
    const moves: WaitingEntry[] = [];
    for (const item of items) {
      const taking = takeOn(tx, item, fresh, none, moves);
      const taken = isLater(taking) ? await taking : taking;
      if (taken) outcomes.set(item, taken);
    }
    await add(tx, moves);
    const runnable = items.filter((item) => !outcomes.has(item));
    if (runnable.length > 0) {
      try {
        const done = await apply.runSet(tx, runnable, runnable[0]!.attempt + 1, { native: tx.native, tx });
        runnable.forEach((item, i) => outcomes.set(item, done[i]!));
      } catch (error) {
        throw isTrouble(error) ? error : new Spoilt(runnable, error, runnable.length === 1);
      }
    }
    return items.map((item) => outcomes.get(item)!);
  };

  return async (tx, items, isTimeUp, known) => {
    const inbox = underAllNames(store.ports.inbox, plan);
    const fresh = insertsAll ? await insertAll(inbox, plan.name, tx, items) : insertOne(inbox, plan.name, tx);
    return plan.setBased ? asSet(tx, items, fresh) : singly(tx, items, fresh, isTimeUp, known);
  };
}

const gone: Outcome = { kind: 'gone' };
const noRows: readonly WaitingRow[] = [];

/** In the order of the rows. */
function itemsOf(rows: readonly WaitingRow[], items: readonly Item[]): Set<Item> {
  const byRow = new Map(items.map((item) => [item.row!.row, item]));
  return new Set(rows.map(({ row }) => byRow.get(row)!));
}

type Fresh = (item: Item) => MaybePromise<boolean>;

/** Each when its turn has come: what there is no time for is not taken on. */
function insertOne(inbox: Pick<InboxPort, 'insert'>, subscription: string, tx: StoreTransaction): Fresh {
  return (item) => {
    if (item.row !== undefined) return true;
    return andThen(inbox.insert(tx, subscription, [item.incoming.wire]), ([isNew]) => isNew!);
  };
}

/** In the order of their ids: two instances that insert the same ones (a redelivery) wait for each other, in no circle. */
async function insertAll(inbox: Pick<InboxPort, 'insert'>, subscription: string, tx: StoreTransaction, items: readonly Item[]): Promise<Fresh> {
  const delivered = items.filter((item) => !item.row);
  if (delivered.length === 0) return () => true;
  const id = (item: Item): string => item.incoming.wire.id;
  // A stable sort: of two with one id, the one delivered first stays first.
  const inOrder = delivered.toSorted((a, b) => (id(a) < id(b) ? -1 : id(a) > id(b) ? 1 : 0));
  const found = await inbox.insert(tx, subscription, inOrder.map((item) => item.incoming.wire));
  const fresh = new Set(inOrder.filter((_, i) => found[i]));
  return (item) => item.row !== undefined || fresh.has(item);
}

/** A transaction begins with so many, and with more once these have shown how long they take. */
const firstMost = 16;
/** So many full transactions at once keep a database busy while a handler's statements travel to and fro. */
const fewAtOnce = 4;
/** Of messages that take longer each, as many transactions run at once as it takes to end one at this pace. */
const paceMs = 1;
/** The same for transactions that are not full: while messages are quick the next one waits until it is, or alone. */
const partPaceMs = 4;
/** Nobody waits longer for others to fill his transaction. */
const partMs = 20;
/** A full one that lasts longer waits for something. Far above what a busy machine makes of it, or it made it busier. */
const fullMs = 1_000;

/**
 * How many messages the next transaction takes so that it lasts about `boundMs`, and how many transactions may run beside
 * each other: found by what the last ones took. Few and full where handlers are quick, since each has its BEGIN, inbox
 * insert and COMMIT; up to all lanes where they wait for something, since others can run meanwhile.
 */
export class Fit {
  #most: number;
  #eachMs = 0;
  readonly #max: number;
  readonly #boundMs: number;

  constructor(max: number, boundMs: number, first: number = firstMost) {
    this.#most = Math.min(max, first);
    this.#max = max;
    this.#boundMs = boundMs;
  }

  get most(): number {
    return this.#most;
  }

  /** How many may be under way when another one begins, of those that were begun within so long: what lasts longer waits for something. */
  beside(full: boolean): { readonly atOnce: number; readonly withinMs: number } {
    if (full) return { atOnce: Math.ceil(Math.max(fewAtOnce, this.#eachMs / paceMs)), withinMs: fullMs };
    return { atOnce: Math.ceil(Math.max(1, this.#eachMs / partPaceMs)), withinMs: partMs };
  }

  took(count: number, ms: number): void {
    this.#eachMs += (ms / count - this.#eachMs) / 4;
    if (ms > this.#boundMs) this.#most = Math.max(1, Math.min(this.#most, Math.floor((count * this.#boundMs) / ms)));
    else if (count >= this.#most) this.#most = Math.min(this.#max, this.#most * 2);
  }
}
