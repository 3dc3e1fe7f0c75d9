/** The rooms over an open store, and the loops that start and stop with the bus. Nothing runs here yet. */
import type { Clock } from '../contract/clock.ts';
import type { History } from '../contract/history.ts';
import type { Loop } from '../contract/loop.ts';
import type { WireMessage } from '../contract/message.ts';
import type { Signals } from '../contract/signals.ts';
import type { MaybePromise, StoreSession, StoreTransaction } from '../contract/store.ts';
import { type Failures, createFailures } from '../failures/failures.ts';
import { createFreshness } from '../freshness/freshness.ts';
import { createLosses } from '../freshness/losses.ts';
import { beganMsOf } from '../inbox/begun.ts';
import { pollMs } from '../inbox/taking.ts';
import { createOnce } from '../once/once.ts';
import { type Outbox, createOutbox } from '../outbox/outbox.ts';
import { createRetention } from '../outbox/retention.ts';
import type { Prepared } from '../publish/publish.ts';
import type { Scopes } from '../publish/scope.ts';
import type { Relay } from '../relay/relay.ts';
import { type Glance, createGlance } from '../waiting/glance.ts';
import { createMover } from '../waiting/mover.ts';
import { type Schedules, createSchedules } from '../waiting/schedules.ts';
import type { Link } from './link.ts';
import { type Subscriptions, bindingsOf } from './subscriptions.ts';

/** What a bus asks for itself. */
export interface Rooms {
  readonly store: StoreSession;
  /** A publish without a transaction is refused. */
  readonly requireTransaction: boolean;
  readonly outbox: Outbox;
  readonly once: ReturnType<typeof createOnce>;
  readonly failures: Failures;
  readonly schedules: Schedules<Prepared>;
  readonly freshness: ReturnType<typeof createFreshness>;
  /** This instance's address for replies; listens from the first call on. */
  replyAddress(): Promise<string>;
}

export interface OpenRooms extends Rooms {
  /** Moves delayed messages that are due. */
  readonly mover: Loop;
  /** Whether anything waits, seen once for all subscriptions. */
  readonly glance: Glance;
  readonly retention: Loop;
  /** Looks for what a broker has lost. */
  readonly losses: Loop;
}

export function openRooms(
  store: StoreSession,
  options: {
    readonly service: string;
    readonly horizonMs: number;
    readonly requireTransaction: boolean;
    readonly clock: Clock;
    readonly signals: Signals;
    readonly link: Link;
    readonly scopes: Scopes;
    readonly subscriptions: Subscriptions;
    readonly history: () => History;
    readonly relay: () => Relay | undefined;
    readonly replyAddress: () => Promise<string>;
    /** Something was put where the bus looks for work. */
    readonly wake: () => void;
    readonly trouble: (where: string, error: unknown) => void;
  },
): OpenRooms {
  const { service, clock, signals, link, scopes, subscriptions, trouble } = options;
  const publishesAtCommit = (): boolean => link.session()?.capabilities.publishesAtCommit === true;
  /** A store cannot tell what left by its commit from what no relay has ever come for: that must stay, however old. */
  const knowsWhatLeft = (): boolean => options.relay() !== undefined || publishesAtCommit();

  const outbox = createOutbox({
    store,
    clock,
    signals,
    ledger: () => link.session()?.ledger,
    onCommitted: () => {
      const relay = options.relay();
      link.session()?.ledger?.hint();
      if (relay?.active === true || publishesAtCommit()) relay?.wake();
      else store.ports.outbox.hint?.();
    },
    onDelayed: () => mover.wake(),
  });
  const append = (tx: StoreTransaction, messages: readonly WireMessage[]): MaybePromise<void> =>
    outbox.append(tx, [{ messages, later: undefined }]);

  const mover = createMover({ store, clock, append, trouble });
  const retention = createRetention({
    clock,
    trouble,
    pieces: [
      async (nowMs, max) => (knowsWhatLeft() ? store.ports.outbox.trim(nowMs - options.horizonMs, max) : 0),
      // What can still be delivered or retried is at most a horizon old, plus its retries: twice that is past all of it.
      (nowMs, max) => store.ports.inbox.trim(nowMs - 2 * options.horizonMs, max),
      (nowMs, max) => store.ports.once.trim(nowMs, max),
      // Tombstones outlive whatever could come again.
      async (nowMs, max) => (await store.ports.sagas?.trim(nowMs - 3 * options.horizonMs, max)) ?? 0,
    ],
  });
  const losses = createLosses({
    clock,
    signals,
    store: () => store,
    history: options.history,
    subscription: (name) => {
      const found = subscriptions.find(name);
      if (!found || found.removed || found.plan.kind !== 'event' || publishesAtCommit()) return undefined;
      return {
        types: bindingsOf(found.plan).map(({ type }) => type),
        thereSinceMs: found.begunAt?.atMs,
        beganMs: beganMsOf(found.begunAt),
        progress: () => found.progress().sources,
      };
    },
  });

  return {
    store,
    requireTransaction: options.requireTransaction,
    outbox,
    mover,
    glance: createGlance({ waiting: store.ports.waiting, clock, everyMs: pollMs }),
    retention,
    losses,
    schedules: createSchedules({ service, store, clock, append: (tx, prepared) => outbox.append(tx, [prepared]), trouble }),
    once: createOnce({ store, clock, within: (tx, work) => scopes.run({ kind: 'transaction', tx, cause: undefined }, work) }),
    failures: createFailures({ store, clock, append, attempts: subscriptions.attempts, onRetried: options.wake }),
    freshness: createFreshness({
      store,
      clock,
      signals,
      takers: (types) => subscriptions.living().filter(({ plan }) => bindingsOf(plan).some(({ type }) => types.includes(type))).map(({ name, begunAt }) => ({ name, sinceMs: beganMsOf(begunAt) })),
      inboxMs: 2 * options.horizonMs,
      progress: () => Promise.all(subscriptions.living().map(async (one) => ({ subscription: one.name, ...(await one.look()) }))),
    }),
    replyAddress: options.replyAddress,
  };
}
