/**
 * Room 2: messages → rows in the caller's transaction.
 *
 * In: prepared messages and an open transaction (or none: then one of their own). Out: ledger rows, waiting rows for
 * those that are delayed, and failure rows for commands that no queue takes where that is known at once. Guaranteed: the
 * rows exist if and only if that transaction commits; order of calls is order of rows. A crash before the commit leaves
 * nothing, after it everything: the relay (or the readers of the ledger) find the rows without any hint.
 *
 * Cost: one insert in the caller's transaction, no fsync of its own; a store may write the rows of all calls together, as
 * late as with COMMIT. Without a transaction the calls of one turn share one commit.
 */
import type { Clock } from '../contract/clock.ts';
import { unroutable } from '../contract/failure.ts';
import { andThen } from '../contract/maybe.ts';
import { type Later, type WireMessage, replyType } from '../contract/message.ts';
import type { Signals } from '../contract/signals.ts';
import type { MaybePromise, StoreSession, StoreTransaction } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import type { LedgerAccess } from '../contract/transport.ts';

/** What this room needs to know of a prepared message. */
interface Outgoing {
  readonly messages: readonly WireMessage[];
  /** Undefined: at once. */
  readonly later: Later | undefined;
  /** Its id, where that was made for this publish alone. */
  readonly fresh?: string | undefined;
}

export interface Outbox {
  /** At once where the store does, and nothing of it has to wait. */
  append(tx: StoreTransaction, outgoing: readonly Outgoing[]): MaybePromise<void>;
  /** In a transaction of its own, shared with other calls of the same turn. */
  appendOwn(outgoing: readonly Outgoing[]): Promise<void>;
  /** Own transactions that run, or wait to. */
  pending(): number;
}

/** Messages to one shared commit at most. */
const groupMax = 500;

export function createOutbox(options: {
  store: StoreSession;
  clock: Clock;
  signals: Signals;
  /** Where the commit is the publish; undefined elsewhere, and until the transport is connected. */
  ledger: () => LedgerAccess | undefined;
  /** Ledger rows were committed; or may have been, or soon will be: a look costs little. */
  onCommitted: () => void;
  /** Delayed rows were committed. */
  onDelayed: () => void;
}): Outbox {
  const { store, clock, signals } = options;
  const { outbox, waiting, failures } = store.ports;

  const append = (tx: StoreTransaction, outgoing: readonly Outgoing[]): MaybePromise<void> => {
    const now: WireMessage[] = [];
    let fresh: string | undefined;
    for (const { messages, later, fresh: own } of outgoing) {
      if (later !== undefined || !messages.every(isRouted)) return appendSlowly(tx, outgoing);
      now.push(...messages);
      if (own !== undefined) fresh = own;
    }
    return write(tx, now, fresh);
  };

  /** Some of them wait, or have nowhere to go: that is asked of the store, or written there. */
  const appendSlowly = async (tx: StoreTransaction, outgoing: readonly Outgoing[]): Promise<void> => {
    const now: WireMessage[] = [];
    let fresh: string | undefined;
    for (const { messages, later, fresh: own } of outgoing) {
      const dueMs = later && (await dueOf(tx, later));
      if (dueMs !== undefined) await addDelayed(tx, messages, dueMs);
      else for (const message of messages) if (isRouted(message) || (await refuse(tx, message))) now.push(message);
      if (own !== undefined && now.at(-1)?.id === own) fresh = own;
    }
    await write(tx, now, fresh);
  };

  const write = (tx: StoreTransaction, messages: readonly WireMessage[], fresh: string | undefined): MaybePromise<void> => {
    if (messages.length === 0) return;
    // Each time: a savepoint that is undone takes its callbacks along, and a second hint costs nothing.
    return andThen(outbox.append(tx, messages, fresh), () => {
      tx.afterCommit(options.onCommitted);
      tx.whenOver?.(options.onCommitted);
    });
  };

  /** Undefined when that has passed. */
  const dueOf = async (tx: StoreTransaction, later: Later): Promise<number | undefined> => {
    const nowMs = await waiting.nowMs(tx);
    const dueMs = later.atMs ?? nowMs + later.afterMs;
    return dueMs > nowMs ? dueMs : undefined;
  };

  const addDelayed = async (tx: StoreTransaction, messages: readonly WireMessage[], dueMs: number): Promise<void> => {
    await waiting.add(
      tx,
      messages.map((message) => ({
        subscription: undefined,
        message,
        dueMs,
        attempt: 0,
        attempts: 1,
        firstFailedMs: undefined,
        error: undefined,
        reason: 'delayed' as const,
        inOrder: false,
      })),
    );
    tx.afterCommit(options.onDelayed);
    tx.whenOver?.(options.onDelayed);
  };

  /** Where the commit is the publish there is nobody later who could find that no queue takes a command. */
  const isRouted = (message: WireMessage): boolean => message.kind === 'event' || (options.ledger()?.routes(message) ?? true);

  const refuse = async (tx: StoreTransaction, message: WireMessage): Promise<false> => {
    if (message.type === replyType) {
      tx.afterCommit(() => signals.emit('late-reply', { correlationId: message.headers['ce-correlationid'] ?? message.id }));
      return false;
    }
    await failures.add(tx, [unroutable(message, clock.now())]);
    const { id, source, type, key } = message;
    tx.afterCommit(() => signals.emit('unroutable', { id, source, type, key }));
    return false;
  };

  // Calls of one turn, and those that come while a commit is under way, share the next commit.
  let queue: { outgoing: readonly Outgoing[]; done: () => void; failed: (error: unknown) => void }[] = [];
  let flushing = false;
  let running = 0;

  const flush = async (): Promise<void> => {
    flushing = true;
    await Promise.resolve(); // the rest of this turn's calls
    while (queue.length > 0) {
      const group = queue.splice(0, groupMax);
      running = group.length;
      try {
        await transact(store, clock, (tx) => append(tx, group.flatMap((call) => call.outgoing)));
        for (const call of group) call.done();
      } catch (error) {
        for (const call of group) call.failed(error);
      }
      running = 0;
    }
    flushing = false;
  };

  return {
    append,
    appendOwn: (outgoing) =>
      new Promise<void>((done, failed) => {
        queue.push({ outgoing, done, failed });
        if (!flushing) void flush();
      }),
    pending: () => queue.length + running,
  };
}
