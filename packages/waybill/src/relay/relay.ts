/**
 * Room 3: ledger rows → broker, in order, confirmed.
 *
 * In: rows of this service's ledger, whoever wrote them. Out: each row handed to the transport; what the broker took is
 * settled, what it refused for good is parked in failures in the same commit. Guaranteed: a row counts as published only
 * after the broker's word; per key rows go out in position order, each after the word on the one before; one instance of
 * the service sends at a time (a lease with a fence), the others stand by. This poll is also the checker that finds what a
 * crash left.
 *
 * Several windows are in flight where the transport allows it, and settled as their prefix is complete, in one commit at a
 * time, beside which the next rows are read and sent. A process that dies …
 *
 *     after reading, or while windows are in flight    leaves the position: its successor sends the same rows again
 *     after the confirms, before the settle            the same: second copies under the same ids, which inboxes know
 *     after the settle                                 nothing to mend
 *     frozen past its lease                            settles nothing more; at most late copies of what it was sending
 *
 * Cost per window of up to 500 rows or 4 MiB: one read, one send, one commit to settle (or one for several that are ready at once).
 * Idle: a read each 250 ms, a renewal and a heartbeat each second; nothing per message. On PostgreSQL a window is two
 * statements; `test/postgres/costs.test.ts` counts them.
 */
import { type Clock, sleep } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import { createLoop } from '../contract/loop.ts';
import { unroutable, unsent } from '../contract/failure.ts';
import { type WireMessage, replyType } from '../contract/message.ts';
import type { Signals } from '../contract/signals.ts';
import { readBytesMax, type FailureRow, type OutboxLease, type OutboxPort, type OutboxRow } from '../contract/store.ts';
import type { SendOutcome, TransportSession } from '../contract/transport.ts';

export interface Relay {
  /** Whether this instance is the one that sends. */
  readonly active: boolean;
  start(): void;
  /** Rows were committed, or will be soon: look now, and again in ever longer steps. */
  wake(): void;
  /** Sends what was committed until there is nothing left or `drainMs` have passed, then gives the lease back. */
  stop(drainMs: number): Promise<void>;
}

/** Rows to one send. */
const windowMax = 500;
const leaseMs = 3_000;
const renewMs = 1_000;
/** Past this part of the lease nothing is sent without renewing it: another may be about to take over. */
const sureMs = leaseMs * 0.8;
/** The checker's poll: what no hint announced (another process died between commit and hint) is found this soon. */
const pollMs = 250;
/** While there was something a moment ago. */
const pollFirstMs = 5;
/** How often a publisher that has nothing to send says so. */
const heartbeatMs = 1_000;
/** While another instance holds the lease. */
const standbyMs = 500;
/** After trouble; short enough that what waited leaves soon after the broker is back. */
const pauseMaxMs = 5_000;

interface Window {
  readonly rows: readonly OutboxRow[];
  /** There may be more behind it. */
  readonly full: boolean;
  /** Of the send; handled wherever it is awaited. */
  readonly sent: Promise<readonly SendOutcome[]>;
  outcomes?: readonly SendOutcome[];
  /** It has no answer and will have none: nothing that is behind it may be sent. */
  failed?: true;
}

export function createRelay(options: {
  outbox: OutboxPort;
  send: TransportSession['send'];
  /** Sends in flight at once. @default 1 */
  sendsMax?: number;
  owner: string;
  clock: Clock;
  signals: Signals;
  /** Rows come out of the database's log, where the store has that. @default false */
  log?: boolean;
  /** What is said once everything has been sent that was committed until then; nothing where it is left out. */
  heartbeat?: (untilMs: number) => WireMessage;
}): Relay {
  const { outbox, clock, signals, owner, sendsMax = 1 } = options;
  let lease: OutboxLease | undefined;
  let renewedMs = 0;
  let idleMs = pollFirstMs;
  let beatMs = -Infinity;
  let beating = false;
  /** Read, sent and not settled, in position order. */
  let windows: Window[] = [];
  /** What has been answered is being settled: one commit at a time, while the next rows are read and sent. */
  let settling: Promise<unknown> | undefined;
  let unsettled: { readonly error: unknown } | undefined;
  let drained = (): void => {};

  const turn = async (signal: AbortSignal): Promise<number> => {
    try {
      return await step(signal);
    } catch (error) {
      // A lost lease, a store or broker that is away: all memory goes, the position in the store is the truth.
      const held = lease;
      lease = undefined;
      windows = [];
      await settling;
      unsettled = undefined;
      signals.emit('relay-paused', { error });
      await held?.release().catch(() => {});
      throw error;
    }
  };

  const step = async (signal: AbortSignal): Promise<number> => {
    if (!lease) {
      lease = await outbox.acquire(owner, leaseMs, { log: options.log === true, wake });
      if (!lease) return standbyMs;
      renewedMs = clock.monotonic();
    }
    if (unsettled) throw unsettled.error;
    const askedMs = clock.now();
    await fill(lease);
    if (windows.length === 0) return idle(lease, askedMs);
    idleMs = pollFirstMs;
    if (await firstAnswered(lease, signal)) await settleBeside(lease);
    return 0;
  };

  const idle = async (held: OutboxLease, askedMs: number): Promise<number> => {
    if (!settling) drained();
    beat(askedMs);
    if (clock.monotonic() - renewedMs >= renewMs) {
      if (!(await held.renew())) lease = undefined; // another took over while there was nothing to do
      renewedMs = clock.monotonic();
    }
    const sleepMs = idleMs;
    idleMs = Math.min(pollMs, idleMs * 2);
    return sleepMs;
  };

  /** After everything that was sent before it. Nobody waits for it, and one that is lost is followed by the next. */
  const beat = (untilMs: number): void => {
    if (!options.heartbeat || beating || clock.monotonic() - beatMs < heartbeatMs) return;
    beatMs = clock.monotonic();
    beating = true;
    void options.send([options.heartbeat(untilMs)]).then(
      () => (beating = false),
      () => (beating = false),
    );
  };

  /** One window that is not full at most: a handful at a time costs the broker three times as much per message. */
  const fill = async (held: OutboxLease): Promise<void> => {
    while (windows.length < sendsMax && windows.at(-1)?.full !== false) {
      const rows = await held.read(windowMax);
      if (rows.length === 0) return;
      if (clock.monotonic() - renewedMs > sureMs) await renew(held);
      if (windows.some(({ failed }) => failed)) return; // while this one was read: the next turn begins anew
      const window: Window = { rows, full: isFull(rows), sent: options.send(rows) };
      window.sent.then(
        (outcomes) => (window.outcomes = outcomes),
        () => (window.failed = true), // thrown when it is the first
      );
      windows.push(window);
    }
  };

  /** Waits for the broker's word on the oldest window, and keeps the lease meanwhile; false when the relay is to stop. */
  const firstAnswered = async (held: OutboxLease, signal: AbortSignal): Promise<boolean> => {
    const answered = windows[0]!.sent.then(() => true);
    for (;;) {
      const tick = Promise.withResolvers<false>();
      const end = (): void => tick.resolve(false);
      const cancel = clock.after(renewMs, end);
      signal.addEventListener('abort', end, { once: true });
      if (signal.aborted) end();
      try {
        if (await Promise.race([answered, tick.promise])) return true;
      } finally {
        cancel();
        signal.removeEventListener('abort', end);
      }
      if (signal.aborted) return false;
      await renew(held);
    }
  };

  const renew = async (held: OutboxLease): Promise<void> => {
    if (!(await held.renew())) throw new WaybillError('LEASE_LOST', 'another instance sends now; this one stands by');
    renewedMs = clock.monotonic();
  };

  /** Begins once the settle before it has ended; what was committed meanwhile need not wait for this one's commit. */
  const settleBeside = async (held: OutboxLease): Promise<void> => {
    await settling;
    if (unsettled) return;
    settling = settle(held).then(
      () => (settling = undefined),
      (error: unknown) => {
        settling = undefined;
        unsettled = { error };
        loop.wake();
      },
    );
  };

  /** All windows from the oldest on that have been answered, in one commit. */
  const settle = async (held: OutboxLease): Promise<void> => {
    const until = windows.findIndex(({ outcomes }) => !outcomes);
    const ready = windows.slice(0, until < 0 ? windows.length : until);
    const parked = ready.flatMap(({ rows, outcomes }) => rows.flatMap((row, i) => parkedBy(row, outcomes![i], clock.now())));
    windows = windows.slice(ready.length);
    const askedMs = clock.monotonic();
    await held.settle(ready.at(-1)!.rows.at(-1)!.position, parked);
    renewedMs = Math.max(renewedMs, askedMs);
    for (const { rows, outcomes } of ready) report(rows, outcomes!);
  };

  const report = (rows: readonly OutboxRow[], outcomes: readonly SendOutcome[]): void => {
    const tellsSent = signals.has('sent');
    rows.forEach((row, i) => {
      if (!tellsSent && outcomes[i]!.kind === 'stored') return;
      const outcome = outcomes[i]!;
      const ref = { id: row.id, source: row.source, type: row.type, key: row.key };
      if (outcome.kind === 'refused') signals.emit('refused', { ...ref, reason: outcome.reason });
      else if (outcome.kind === 'stored' || row.kind === 'event') signals.emit('sent', ref);
      else if (row.type !== replyType) signals.emit('unroutable', ref);
      else signals.emit('late-reply', { correlationId: row.headers['ce-correlationid'] ?? row.id });
    });
  };

  const loop = createLoop({ clock, turn, onError: () => {}, pauseMaxMs });
  const wake = (): void => {
    idleMs = pollFirstMs;
    loop.wake();
  };
  return {
    get active() {
      return lease !== undefined;
    },
    start: () => loop.start(),
    wake,
    async stop(drainMs) {
      const empty = new Promise<void>((resolve) => {
        drained = resolve;
      });
      loop.wake();
      const limit = new AbortController();
      await Promise.race([empty, sleep(clock, lease ? drainMs : 0, limit.signal)]);
      limit.abort();
      await loop.stop();
      await settling;
      await lease?.release().catch(() => {});
      lease = undefined;
    },
  };
}

function isFull(rows: readonly OutboxRow[]): boolean {
  return rows.length === windowMax || rows.reduce((bytes, { body }) => bytes + body.length, 0) >= readBytesMax;
}

const none: FailureRow[] = [];

/** A refused message, or a command that no queue takes, is parked; an event without subscribers is no failure. */
function parkedBy(row: OutboxRow, outcome: SendOutcome | undefined, nowMs: number): FailureRow[] {
  if (!outcome) {
    throw new WaybillError('TRANSPORT_UNREACHABLE', 'the transport answered for fewer messages than it was given');
  }
  if (outcome.kind === 'stored' || row.type === replyType) return none;
  const { position: _, ...message } = row;
  if (outcome.kind === 'unroutable') return row.kind === 'event' ? none : [unroutable(message, nowMs)];
  return [unsent(message, 'TRANSPORT_REFUSED', `the broker refused the message: ${outcome.reason}`, nowMs)];
}
