/**
 * The transport port: what a broker must do for the rooms.
 *
 * Guarantees that every driver gives: at least once; a message counts as stored only after the broker said so; messages
 * of one key that were sent in order, one batch after another, reach a subscription in that order; a subscription has
 * one queue for the whole service, which lives until it is removed. What a driver cannot do it refuses with
 * `CAPABILITY_MISSING`.
 */
import type { Finding } from './doctor.ts';
import type { History } from './history.ts';
import type { MessageKind, WireMessage } from './message.ts';
import type { Entity, Seen } from './topology.ts';
import type { Host, MaybePromise, StoreSession, StoreTransaction } from './store.ts';

export interface Transport {
  readonly kind: string;
  connect(host: TransportHost): Promise<TransportSession>;
  /** Its sessions keep something in the store's own file, so the store has to be open. @default false */
  readonly needsStore?: boolean;
  /** Undefined where nothing stands outside this process. */
  readonly topology?: TopologyPlan;
}

/** What a service has at the broker, told without making it. */
export interface TopologyPlan {
  /**
   * Exactly what `connect` and `declare` leave there for a service with these subscriptions (what lives no longer than an
   * instance is left out), in the order in which it is made. Opens nothing.
   */
  entities(service: string, declarations: readonly Declaration[]): readonly Entity[];
  /**
   * How each of these stands there, in their order. Creates nothing.
   * @throws WaybillError `TRANSPORT_UNREACHABLE`, `TRANSPORT_DENIED`
   */
  look(entities: readonly Entity[], host: Host): Promise<readonly Seen[]>;
}

export interface TransportHost extends Host {
  readonly store: StoreSession;
}

export interface TransportSession {
  readonly capabilities: TransportCapabilities;
  /** Makes the subscription's queue and bindings; safe to repeat. Resolves when what is published from now on is kept. */
  declare(subscription: Declaration): Promise<void>;
  /**
   * Hands messages to the broker; one outcome each, in order. Rejects when the broker is away: then every message of the
   * call is unknown and is sent again under the same id.
   */
  send(messages: readonly WireMessage[]): Promise<readonly SendOutcome[]>;
  /** `concerns`: heartbeats of other sources are not asked for, unless something else of theirs has come. */
  consume(subscription: Declaration, options?: { readonly concerns?: (source: string) => boolean }): Promise<Consumer>;
  /** An address of this instance alone, for replies. */
  listen(deliver: (delivery: Delivery) => void): Promise<ReplyInbox>;
  /** Removes the subscription for the whole service: what is queued is applied first, or dropped. */
  remove(name: string, queued: 'apply' | 'drop'): Promise<void>;
  close(): Promise<void>;
  /** What somebody should know of this broker, and of what was declared, before he trusts it. */
  examine?(): Promise<readonly Finding[]>;
  /** Whether any subscription takes events of this type; undefined while that cannot be told. A hint for warnings. */
  isTaken?(type: string): boolean | undefined;
  /** Only where the commit is the publish: what has to happen beside the store's own append. */
  readonly ledger?: LedgerAccess;
  /** Only where publishers' ledgers can be read without asking them. */
  readonly history?: History;
}

export interface TransportCapabilities {
  /** The commit of the ledger row is the publish: there is no relay. Then `ledger` is there. */
  readonly publishesAtCommit: boolean;
  /** A new subscription can begin in the past: `declare` takes every `from`. Elsewhere publishers are asked. @default false */
  readonly startsInPast?: boolean;
  /**
   * One instance at a time works on a subscription, by a lease that `settleIn` checks. Then what waits needs no claims
   * between instances: the next one takes over at once what another began and did not end.
   */
  readonly exclusive?: boolean;
  /**
   * Calls of `send` that may be in flight at once. Then the transport holds back a message while an earlier one of its key
   * has no outcome, and a call that rejects takes all others in flight along, and those that are made before its caller has
   * heard of it: nothing overtakes its own key.
   * @default 1
   */
  readonly sendsMax?: number;
}

/** The sender's side of a transport whose queue is the ledger itself. */
export interface LedgerAccess {
  /** Whether a queue takes this command or reply: asked in its transaction, before it is appended. */
  routes(message: WireMessage): boolean;
  /** Rows were committed: wake the readers. A hint, never the truth. */
  hint(): void;
}

export type SendOutcome =
  | { readonly kind: 'stored' }
  /** No queue takes it. For an event that is no failure. */
  | { readonly kind: 'unroutable' }
  /** Refused for good: parked, the rest goes on. */
  | { readonly kind: 'refused'; readonly reason: string };

export interface Declaration {
  /** The subscription's name: its identity, and its queue's. */
  readonly name: string;
  readonly bindings: readonly { readonly type: string; readonly kind: MessageKind }[];
  readonly order: 'any' | 'by-key' | 'latest';
  /** Where a subscription that is created now begins; wall time in milliseconds for a point in time. */
  readonly from: 'now' | 'beginning' | number;
  /** Former names: their queue, position and inbox are carried over. */
  readonly formerly: readonly string[];
  /** Messages that an instance works on at the same time: where what is in hand costs something, no more than a few for each are held. @default 16 */
  readonly concurrency?: number;
  /** Deliveries that one transaction takes at most: whoever fetches ahead fetches several times as many. @default 100 */
  readonly batch?: number;
}

/** One message on its way into a subscription. */
export interface Delivery {
  readonly kind: MessageKind;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** May have been seen before. False means certainly not, on this transport. */
  readonly redelivered: boolean;
  /**
   * How often the broker says that it has handed this message out before and got no acknowledgement: 0 the first time
   * (AMQP 1.0, delivery-count). Undefined where it does not count.
   */
  readonly deliveryCount?: number | undefined;
  /** Was perhaps in flight when a process died: must not take others along if it dies again. */
  readonly suspect: boolean;
}

/**
 * One instance's hold on a subscription. Deliveries are pulled; those that were received stay with this consumer until
 * settled, released, or the consumer closes or dies.
 */
export interface Consumer {
  /** Whether this instance may work on the subscription now: then it also runs what waits. */
  readonly active: boolean;
  /**
   * Up to `max` deliveries, as soon as there is one; empty after `waitMs`, when woken without one, or when `signal` is
   * aborted. Rejects when the broker is away.
   */
  receive(max: number, options: { readonly waitMs: number; readonly signal: AbortSignal }): Promise<readonly Delivery[]>;
  /**
   * In the transaction that applies these deliveries: writes what must commit with them (a position, a fence). Throws
   * when this instance may not work on the subscription any more; then nothing may be committed. With none: the fence alone.
   */
  settleIn(tx: StoreTransaction, deliveries: readonly Delivery[]): MaybePromise<void>;
  /** After that transaction committed: acknowledges. A crash before it means redelivery, nothing else. */
  settle(deliveries: readonly Delivery[]): MaybePromise<void>;
  /** Not handled here and now: they come again, here or elsewhere. */
  release(deliveries: readonly Delivery[]): MaybePromise<void>;
  /** How far each source has been applied. */
  progress(): readonly SourceProgress[];
  /** How far each source has been applied by whichever instance works on it; only where it can be told without working. */
  standby?(): Promise<readonly SourceProgress[]>;
  close(): Promise<void>;
}

export interface SourceProgress {
  readonly source: string;
  /** Wall time: everything that the source had published until then has been taken on. 0: not known (yet). */
  readonly appliedUntilMs: number;
  /** Messages known to lie before us; undefined when not known. */
  readonly waiting: number | undefined;
  /** Nothing else is known to have come from it: it concerns this subscription only if something had come before. */
  readonly onlyHeartbeats?: boolean;
}

export interface ReplyInbox {
  readonly address: string;
  close(): Promise<void>;
}
