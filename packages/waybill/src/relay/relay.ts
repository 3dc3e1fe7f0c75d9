/**
 * Room 3: ledger rows → broker, in order, confirmed.
 *
 * In: rows of this service's ledger, whoever wrote them. Out: each row handed to the transport; what the broker took is
 * settled, what it refused for good is parked in failures in the same commit. Guaranteed: a row counts as published only
 * after the broker's word; rows go out in position order; one instance of the service sends at a time (a lease with a
 * fence), the others stand by. A crash between send and settle leaves rows that the next holder sends again, under the
 * same ids; a crash anywhere else leaves nothing to mend. This poll is also the checker that finds what a crash left.
 *
 * Cost per window of up to 500 rows: one read, one send, one commit to settle. Idle: a read each 250 ms and a renewal
 * each second.
 */
import { type Clock, sleep } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import { createLoop } from '../contract/loop.ts';
import { unroutable, unsent } from '../contract/failure.ts';
import { replyType } from '../contract/message.ts';
import type { Signals } from '../contract/signals.ts';
import type { FailureRow, OutboxLease, OutboxPort, OutboxRow } from '../contract/store.ts';
import type { SendOutcome, TransportSession } from '../contract/transport.ts';

export interface Relay {
  start(): void;
  /** Rows were committed: look now. */
  wake(): void;
  /** Sends what was committed until there is nothing left or `drainMs` have passed, then gives the lease back. */
  stop(drainMs: number): Promise<void>;
}

/** Rows to one send. */
const windowMax = 500;
const leaseMs = 3_000;
const renewMs = 1_000;
/** The checker's poll: what no hint announced (another process died between commit and hint) is found this soon. */
const pollMs = 250;
/** While another instance holds the lease. */
const standbyMs = 500;

export function createRelay(options: {
  outbox: OutboxPort;
  send: TransportSession['send'];
  owner: string;
  clock: Clock;
  signals: Signals;
}): Relay {
  const { outbox, clock, signals, owner } = options;
  let lease: OutboxLease | undefined;
  let renewedMs = 0;
  /** Read and not yet settled: sent again, the same rows, until the broker has answered for all of them. */
  let window: readonly OutboxRow[] = [];
  let drained = (): void => {};

  const turn = async (): Promise<number> => {
    try {
      return await step();
    } catch (error) {
      // A lost lease, a store or broker that is away: all memory goes, the position in the store is the truth.
      const held = lease;
      lease = undefined;
      window = [];
      signals.emit('relay-paused', { error });
      await held?.release().catch(() => {});
      throw error;
    }
  };

  const step = async (): Promise<number> => {
    if (!lease) {
      lease = await outbox.acquire(owner, leaseMs);
      if (!lease) return standbyMs;
      renewedMs = clock.monotonic();
    }
    if (window.length === 0) window = await lease.read(windowMax);
    if (window.length === 0) {
      drained();
      if (clock.monotonic() - renewedMs >= renewMs) {
        if (!(await lease.renew())) lease = undefined;
        renewedMs = clock.monotonic();
      }
      return pollMs;
    }
    const outcomes = await options.send(window);
    const parked = window.flatMap((row, i) => parkedBy(row, outcomes[i], clock.now()));
    await lease.settle(window.at(-1)!.position, parked);
    renewedMs = clock.monotonic();
    report(window, outcomes);
    window = [];
    return 0;
  };

  const report = (rows: readonly OutboxRow[], outcomes: readonly SendOutcome[]): void => {
    rows.forEach((row, i) => {
      const outcome = outcomes[i]!;
      const ref = { id: row.id, source: row.source, type: row.type, key: row.key };
      if (outcome.kind === 'refused') signals.emit('refused', { ...ref, reason: outcome.reason });
      else if (outcome.kind === 'stored' || row.kind === 'event') signals.emit('sent', ref);
      else if (row.type !== replyType) signals.emit('unroutable', ref);
      else signals.emit('late-reply', { correlationId: row.headers['ce-correlationid'] ?? row.id });
    });
  };

  const loop = createLoop({ clock, turn, onError: () => {} });
  return {
    start: () => loop.start(),
    wake: () => loop.wake(),
    async stop(drainMs) {
      const empty = new Promise<void>((resolve) => {
        drained = resolve;
      });
      loop.wake();
      const limit = new AbortController();
      await Promise.race([empty, sleep(clock, lease ? drainMs : 0, limit.signal)]);
      limit.abort();
      await loop.stop();
      await lease?.release().catch(() => {});
      lease = undefined;
    },
  };
}

/** A refused message, or a command that no queue takes, is parked; an event without subscribers is no failure. */
function parkedBy(row: OutboxRow, outcome: SendOutcome | undefined, nowMs: number): FailureRow[] {
  if (!outcome) {
    throw new WaybillError('TRANSPORT_UNREACHABLE', 'the transport answered for fewer messages than it was given');
  }
  const { position: _, ...message } = row;
  if (outcome.kind === 'stored' || row.type === replyType) return [];
  if (outcome.kind === 'unroutable') return row.kind === 'event' ? [] : [unroutable(message, nowMs)];
  return [unsent(message, 'TRANSPORT_REFUSED', `the broker refused the message: ${outcome.reason}`, nowMs)];
}
