import type { WaybillError } from './errors.ts';
import type { SagaStatus } from './store.ts';

/** Which message a signal is about. */
export interface MessageRef {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly key?: string | undefined;
}

/** Which message in which subscription. */
export interface HandlingRef extends MessageRef {
  readonly subscription: string;
}

/** Every step that a bus reports, by name, with what it says. */
export interface SignalMap {
  /** Written to the ledger and committed. */
  published: MessageRef & { readonly position?: number | undefined };
  /** Confirmed by the broker (not on transports where the commit is the publish). */
  sent: MessageRef;
  /** The broker is away: the relay pauses, nothing is lost. */
  'relay-paused': { readonly error: unknown };
  /** The broker refused it for good: a row in the sender's failures, the rest goes on. */
  refused: MessageRef & { readonly reason: string };
  /** A command that no queue takes: a row in the sender's failures. */
  unroutable: MessageRef;
  /** The handler's effect is committed. */
  applied: HandlingRef & { readonly attempt: number; readonly ageMs: number };
  /** Had been applied already; nothing was done. */
  duplicate: HandlingRef;
  /** Order `latest`: a newer one had been applied; nothing was done. */
  stale: HandlingRef;
  /** Not to be applied here: a downcast copy, or a type this subscription has dropped. */
  skipped: HandlingRef & { readonly reason: 'downcast' | 'dropped' };
  /** Past its time to live; not applied. */
  expired: HandlingRef;
  /** A run failed; it waits for the next one. `attempt` of `attempts`. */
  retrying: HandlingRef & {
    readonly attempt: number;
    readonly attempts: number;
    readonly dueMs: number;
    readonly error: unknown;
  };
  /** Given up: a row in failures. */
  failed: HandlingRef & { readonly attempts: number; readonly error: unknown };
  /** Consuming pauses (by hand, or because the store is away or full) and goes on. */
  paused: { readonly subscription: string; readonly reason: 'asked' | 'store' | 'transport'; readonly error?: unknown };
  resumed: { readonly subscription: string };
  /** This process became the one that handles the subscription. `clean`: its predecessor left in peace. */
  takeover: { readonly subscription: string; readonly clean: boolean };
  /** Fields that the schema drops, by path: a database row passed as event must not leak silently. */
  'extra-fields': { readonly type: string; readonly paths: readonly string[] };
  /** A version was published that nobody takes while an older one has subscribers (or may have: RabbitMQ cannot tell). */
  'version-unread': { readonly type: string; readonly older: string };
  /** A transaction held the store's only writing connection for long. */
  'slow-transaction': { readonly heldMs: number };
  /** A shared handler waits on something other than its transaction; it has one of its own from now on. */
  'slow-handler': { readonly subscription: string; readonly tookMs: number };
  /** A read that somebody keeps open makes a write-ahead log grow. */
  'wal-pinned': { readonly bytes: number };
  /**
   * Relay mode `log`, of the replication slot: `created` (at first, or it had vanished), `streaming` from now on, `lagging`
   * (keeps more of the log than the server plans for), `lost` (it did not keep all: made anew), `away` (not to be had now:
   * rows come from the ledger), `left` (nobody reads it, and it may not be removed: it keeps the log for ever).
   */
  'log-slot': {
    readonly slot: string;
    readonly state: 'created' | 'streaming' | 'lagging' | 'lost' | 'away' | 'left';
    readonly error?: unknown;
  };
  /** A source's ledger cannot be read as it should: trimmed, rewound, corrupt, newer, skipped. */
  ledger: { readonly source: string; readonly subscription?: string | undefined; readonly error: WaybillError };
  /** Events were added to a stream and committed. */
  appended: { readonly stream: string; readonly version: number; readonly events: number };
  /** A projection has taken events; its writes are committed. */
  projected: { readonly projection: string; readonly events: number; readonly cursor: string };
  /** A projection cannot take an event: it stands before it and tries again. */
  'projection-failed': {
    readonly projection: string;
    readonly stream: string;
    readonly version: number;
    readonly attempt: number;
    readonly retryMs: number;
    readonly error: unknown;
  };
  /** A projection begins again from the first event. */
  'projection-rebuilt': { readonly projection: string };
  /** Messages of a publisher's ledger were read once more for a subscription; `added` of them are handed to it. */
  replayed: { readonly subscription: string; readonly source: string; readonly read: number; readonly added: number };
  /** A reply that nobody waits for any more. */
  'late-reply': { readonly correlationId: string };
  /** An instance of a saga began (`was` is undefined), ended, was parked or goes on. */
  saga: { readonly saga: string; readonly key: string; readonly status: SagaStatus; readonly was: SagaStatus | undefined };
  /**
   * A message changed nothing in its saga: it came after the end (`late`), is a timeout that was taken back or set again,
   * a reply that had come or was never asked for, or is nothing to the definition that the instance is pinned to.
   */
  'saga-ignored': MessageRef & {
    readonly saga: string;
    readonly key: string;
    readonly reason: 'late' | 'timeout' | 'undo' | 'reply' | 'foreign-reply' | 'version';
  };
  /** The broker had no queue of this subscription: it was made, for the first time or because somebody removed it. */
  'queue-made': { readonly subscription: string };
  /**
   * The broker had confirmed these messages, and the subscription has come past them without them. They stand in the
   * source's ledger: `operations(bus).subscriptions.replay` here, or `outbox.republish` there, brings them. Times are those of
   * the first and the last, by the wall clock.
   */
  lost: { readonly subscription: string; readonly source: string; readonly count: number; readonly firstId: string; readonly fromMs: number; readonly untilMs: number };
  /** Something failed that harms no message: a listener, `afterCommit`, `onFailed`. */
  trouble: { readonly where: string; readonly error: unknown };
}

export type SignalName = keyof SignalMap;

/** The names at run time; the compiler sees to it that none is missing. */
const names: Record<SignalName, true> = {
  published: true,
  sent: true,
  'relay-paused': true,
  refused: true,
  unroutable: true,
  applied: true,
  duplicate: true,
  stale: true,
  skipped: true,
  expired: true,
  retrying: true,
  failed: true,
  paused: true,
  resumed: true,
  takeover: true,
  'extra-fields': true,
  'version-unread': true,
  'slow-transaction': true,
  'slow-handler': true,
  'wal-pinned': true,
  'log-slot': true,
  ledger: true,
  appended: true,
  projected: true,
  'projection-failed': true,
  'projection-rebuilt': true,
  replayed: true,
  'late-reply': true,
  saga: true,
  'saga-ignored': true,
  'queue-made': true,
  lost: true,
  trouble: true,
};
export const signalNames: ReadonlySet<string> = new Set(Object.keys(names));

/** Emits typed signals. A listener that throws hurts nobody. */
export interface Signals {
  emit<N extends SignalName>(name: N, detail: SignalMap[N]): void;
  /** Whether anybody listens: the hot path makes no object for nobody. */
  has(name: SignalName): boolean;
  on<N extends SignalName>(name: N, listener: (detail: SignalMap[N]) => void): () => void;
}

/** The shape of pino's logger, and of most others. */
export interface Logger {
  debug(details: object, text?: string): void;
  info(details: object, text?: string): void;
  warn(details: object, text?: string): void;
  error(details: object, text?: string): void;
}
