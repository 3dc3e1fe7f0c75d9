import type { Clock } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Ready } from '../contract/handling.ts';
import type { WireMessage } from '../contract/message.ts';
import type { StoreTransaction, WaitingRow } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import type { Consumer } from '../contract/transport.ts';
import { type Apply, type ApplyHost, runOf } from './apply.ts';
import { type Item, type Outcome, deliveriesOf, takenBefore } from './item.ts';
import { underAllNames } from './names.ts';

/**
 * A transaction for each message: modes `own` and `manual`, where the handler may wait for something outside. Its
 * immediate runs each have a transaction of their own; the verdict on a run that threw is written in another.
 *
 * Cost on a server besides the handler's own, in round trips: a look whether its key waits and one whether it is known, the inbox row
 * with BEGIN, and COMMIT. Of a line: its start in a commit of its own, off the line with BEGIN, two for the line's end, and COMMIT.
 */
export interface Alone {
  run(item: Item): Promise<Outcome>;
  /** The verdict on a run whose transaction is undone. */
  recordFailure(item: Item, error: unknown, attempt: number): Promise<Outcome>;
}

export function createAlone(
  host: ApplyHost & { readonly consumer: Consumer; readonly clock: Clock; readonly apply: Apply },
): Alone {
  const { plan, store, clock, consumer, apply, runs, stopping, verdict, reply, replyFailed, append, trouble } = host;
  const { waiting } = store.ports;
  const inbox = underAllNames(store.ports.inbox, plan);
  /** Where a row is off its line with its run's first statement; whose turn it is then is settled at the end. Elsewhere it is held until then. */
  const takes = waiting.take !== undefined;
  const takeRow = async (tx: StoreTransaction, row: WaitingRow): Promise<readonly WaitingRow[] | undefined> => {
    if (!takes) return (await waiting.settle(tx, row, {})) ? [] : undefined;
    const taken = await waiting.take!(tx, [row]);
    return taken.length > 0 ? taken : undefined;
  };

  /** Whether the delivery is taken on now: as new, or instead of a newer form that nobody here can read. */
  const takesOn = async (tx: StoreTransaction, item: Item): Promise<boolean> => {
    const [fresh] = await inbox.insert(tx, plan.name, [item.incoming.wire]);
    return fresh! || (await apply.replacesNewer(tx, item));
  };

  /** What commits before the handler's first write: fence, inbox row, watermark. Answers what is off its line. */
  const begin = async (tx: StoreTransaction, item: Item, ready: Ready): Promise<readonly WaitingRow[]> => {
    await consumer.settleIn(tx, []);
    let taken: readonly WaitingRow[] | undefined = [];
    if (item.row) {
      taken = await takeRow(tx, item.row);
      if (taken === undefined) throw new Undo({ kind: 'gone' });
    } else if (!(await takesOn(tx, item))) throw new Undo(takenBefore(item));
    if (!(await apply.advance(tx, ready))) throw new Undo({ kind: 'stale' });
    return taken;
  };

  /** After the handler's last write. */
  const end = async (tx: StoreTransaction, item: Item, taken: readonly WaitingRow[]): Promise<void> => {
    if (taken.length > 0) await waiting.add(tx, [], taken);
    await consumer.settleIn(tx, deliveriesOf([item]));
  };

  const settleAfterUndo = async (item: Item, outcome: Outcome): Promise<Outcome> => {
    await transact(store, clock, async (tx) => {
      if (item.row) await waiting.settle(tx, item.row, outcome.kind === 'gone' ? {} : undefined);
      else if (outcome.kind === 'stale') await takesOn(tx, item);
      else await inbox.insert(tx, plan.name, [item.incoming.wire]);
      await consumer.settleIn(tx, deliveriesOf([item]));
    });
    return outcome;
  };

  /** Before anything outside is called: has it been done, or overtaken? */
  const knownBefore = async (item: Item, ready: Ready): Promise<Outcome | undefined> => {
    if (!item.row && !item.newer && (await inbox.has(plan.name, ready.wire))) return takenBefore(item);
    if (plan.order !== 'latest') return undefined;
    try {
      await store.transaction(async (tx) => {
        throw new Undo({ kind: (await apply.advance(tx, ready)) ? 'applied' : 'stale', attempt: 0 } as Outcome);
      });
    } catch (error) {
      if (!(error instanceof Undo)) throw error;
      return error.outcome.kind === 'stale' ? error.outcome : undefined;
    }
    return undefined;
  };

  const own = (item: Item): Promise<Outcome> =>
    eachAttempt(item, async (ready, attempt) => {
      let begun = false;
      let undo: Undo | undefined;
      let taken: readonly WaitingRow[] = [];
      let time: Time | undefined;
      let held = false;
      const onWait = (): void => {
        held = true;
        time?.hold();
      };
      /** At the handler's first statement; or at its end, if it had none. */
      const onBegin = async (tx: StoreTransaction): Promise<void> => {
        if (begun) return;
        begun = true;
        try {
          taken = await begin(tx, item, ready);
        } catch (error) {
          if (error instanceof Undo) undo = error;
          throw error;
        } finally {
          if (held) time?.go();
          held = false;
        }
      };
      const work = async (tx: StoreTransaction): Promise<void> => {
        begun = false; // a store may run it again
        undo = undefined;
        const how = { ...runOf(item, attempt), stopping };
        const began = clock.monotonic();
        const value = await runs.one(plan, ready, { ...how, scope: { native: tx.native, tx }, timing: (lent) => (time = lent) });
        host.took(clock.monotonic() - began);
        await onBegin(tx);
        if (undo) throw undo as Undo; // the handler swallowed it
        await apply.complete(tx, item, ready, value, takes);
        await end(tx, item, taken);
      };
      try {
        await store.transaction(work, { lazy: true, onBegin, onWait });
      } catch (error) {
        throw undo ?? error;
      }
    });

  const manual = (item: Item): Promise<Outcome> =>
    eachAttempt(item, async (ready, attempt) => {
      let committed = false;
      let time: Time | undefined;
      const commit = async (
        work: (scope: { native: unknown; tx: StoreTransaction }) => Promise<unknown>,
      ): Promise<unknown> => {
        time?.hold();
        const result = await transact(store, clock, async (tx) => {
          const taken = await begin(tx, item, ready);
          time?.go();
          const value = await work({ native: tx.native, tx });
          if (item.row && !takes) await waiting.settle(tx, item.row);
          await end(tx, item, taken);
          return value;
        }).finally(() => time?.go());
        committed = true;
        return result;
      };
      const how = { ...runOf(item, attempt), stopping };
      let answer: WireMessage | undefined;
      try {
        const value = await runs.one(plan, ready, { ...how, scope: undefined, manual: commit, timing: (lent) => (time = lent) });
        answer = await reply(ready.envelope, plan, value);
      } catch (error) {
        if (!committed) throw error;
        trouble(`${plan.name}: the handler, after its transaction`, error); // what is done is done
        answer = replyFailed(ready.envelope, error);
      }
      if (!committed) {
        return void (await commit(async ({ tx }) => {
          if (answer) await append(tx, answer);
        }));
      }
      if (answer) await transact(store, clock, (tx) => append(tx, answer));
    });

  /** Runs one message until there is an outcome: at once again while the verdict says so. */
  const eachAttempt = async (item: Item, run: (ready: Ready, attempt: number) => Promise<void>): Promise<Outcome> => {
    const ready = item.incoming as Ready & { kind: 'run' };
    for (let attempt = item.attempt + 1; ; attempt++) {
      const known = await knownBefore(item, ready);
      if (known) return settleAfterUndo(item, known);
      try {
        await run(ready, attempt);
        return { kind: 'applied', attempt };
      } catch (error) {
        if (error instanceof Undo) return settleAfterUndo(item, error.outcome);
        if (stopping.aborted || WaybillError.is(error, 'LEASE_LOST') || store.classify(error) !== 'other') throw error;
        if (verdict(error, attempt).kind !== 'again') return recordFailure(item, error, attempt);
      }
    }
  };

  /** The verdict on a run whose transaction is undone, in one of its own. */
  const recordFailure = (item: Item, error: unknown, attempt: number): Promise<Outcome> =>
    transact(store, clock, async (tx) => {
      const blocked = new Set<string>();
      await consumer.settleIn(tx, []);
      if (item.row) {
        if (!(await waiting.settle(tx, item.row, {}))) return { kind: 'gone' };
      } else if (!(await takesOn(tx, item))) return takenBefore(item);
      const said = verdict(error, attempt);
      const next = said.kind === 'again' ? ({ kind: 'later', delayMs: plan.retry.delayMs } as const) : said;
      const outcome = await apply.after(tx, item, error, attempt, next, blocked);
      await consumer.settleIn(tx, deliveriesOf([item]));
      return outcome;
    });

  const run: Alone['run'] = (item) => {
    // Begun with others in a transaction that was undone: its start is taken back.
    if (item.line?.broken) return settleAfterUndo(item, { kind: 'gone' });
    return plan.mode === 'own' ? own(item) : manual(item);
  };

  return { run, recordFailure };
}

/** Of a run, which is not charged for the wait for its transaction. */
type Time = Parameters<NonNullable<Parameters<ApplyHost['runs']['one']>[2]['timing']>>[0];

/** Thrown inside a transaction to undo it, with what became of the message. */
class Undo extends Error {
  readonly outcome: Outcome;
  constructor(outcome: Outcome) {
    super(outcome.kind);
    this.outcome = outcome;
  }
}
