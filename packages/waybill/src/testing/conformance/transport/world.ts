import assert from 'node:assert/strict';
import type { Clock } from '../../../contract/clock.ts';
import type { WireMessage } from '../../../contract/message.ts';
import type { StoreSession } from '../../../contract/store.ts';
import type { Consumer, Declaration, Delivery, SendOutcome, TransportSession } from '../../../contract/transport.ts';
import type { Entity, Seen } from '../../../contract/topology.ts';
import type { Case, Driver } from '../conformance.ts';
import { labels } from '../message.ts';

export { labels, message } from '../message.ts';

/** What not every transport can do, or not every test can make it do. */
export type TransportAbility =
  /** Several consumers of one subscription receive at the same time. */
  | 'shares'
  /** A subscription may begin in the past. */
  | 'history'
  /** The commit of the ledger's row is the publish: there is no relay. */
  | 'commit'
  /** The broker counts how often it has handed a message out. */
  | 'counts'
  /** Something stands at the broker, and it is told beforehand: `topology`. */
  | 'topology'
  /** It knows which instances wait for replies, and tells when one has gone. */
  | 'addresses'
  /** The test can put the broker out of reach: `away`, `back`. */
  | 'away'
  /** The broker refuses some messages for good: `refused`. */
  | 'refusal'
  /** The test can end a process without a goodbye: `kill`. */
  | 'kill';

/** A broker, empty at first, and the processes that a case starts on it. */
export interface TransportWorld {
  readonly clock: Clock;
  /** What has not come after this many milliseconds will not. Only waited for when something is wrong. */
  readonly patienceMs: number;
  /** Nothing for this many milliseconds means that nothing comes: 0 where the broker answers from what it has. */
  readonly quietMs: number;
  /** A process of this service; two of one service are two instances of it. */
  start(service: string): Promise<Peer>;
  away?(): Promise<void>;
  back?(): Promise<void>;
  /** The message, made such that the broker refuses it. */
  refused?(message: WireMessage): WireMessage;
  /** Nothing of it runs any more; nothing was given back. */
  kill?(peer: Peer): Promise<void>;
  topology?: WorldTopology;
  close(): Promise<void>;
}

export interface WorldTopology {
  entities(service: string, declarations: readonly Declaration[]): readonly Entity[];
  look(service: string, entities: readonly Entity[]): Promise<readonly Seen[]>;
  /** What really stands at the broker, by `KIND NAME`: found without the driver. What lives no longer than an instance is left out. */
  standing(): Promise<readonly string[]>;
}

/** One process: its store, and its session at the broker. */
export interface Peer {
  readonly service: string;
  readonly store: StoreSession;
  readonly session: TransportSession;
  stop(): Promise<void>;
}

export type TransportCase = Case<TransportWorld, TransportAbility>;
export type TransportDriver = Driver<TransportWorld, TransportAbility>;

/** A subscription to events of these types, from now on. */
export function to(name: string, of: Partial<Declaration> = {}): Declaration {
  return {
    name,
    bindings: [{ type: 'catalog.price-changed.v1', kind: 'event' }],
    order: 'any',
    from: 'now',
    formerly: [],
    ...of,
  };
}

/** Hands messages over as the bus would: to the broker, or in a commit where that is the publish. */
export async function send(peer: Peer, ...messages: readonly WireMessage[]): Promise<readonly SendOutcome[]> {
  const { session, store } = peer;
  const { ledger } = session;
  if (ledger === undefined) return session.send(messages);
  const outcomes = messages.map((one): SendOutcome => {
    return { kind: one.kind === 'event' || ledger.routes(one) ? 'stored' : 'unroutable' };
  });
  const routed = messages.filter((_, at) => outcomes[at]!.kind === 'stored');
  if (routed.length > 0) await store.transaction((tx) => store.ports.outbox.append(tx, routed));
  ledger.hint();
  return outcomes;
}

const never: AbortSignal = new AbortController().signal;

/** The next `count` deliveries. Fails when they do not come. */
export async function receive(world: TransportWorld, consumer: Consumer, count: number): Promise<Delivery[]> {
  const got: Delivery[] = [];
  const untilMs = world.clock.monotonic() + world.patienceMs;
  while (got.length < count) {
    const waitMs = Math.max(0, untilMs - world.clock.monotonic());
    const some = await consumer.receive(count - got.length, { waitMs, signal: never });
    got.push(...some);
    if (some.length > 0) continue;
    if (world.clock.monotonic() >= untilMs) break;
    await world.clock.turn(); // a driver that answers at once with nothing must not hold up everybody
  }
  assert.equal(got.length, count, `${count} deliveries were to come, these did: ${labels(got).join(', ') || 'none'}`);
  return got;
}

/** Fails when anything comes. */
export async function receiveNothing(world: TransportWorld, consumer: Consumer, why: string): Promise<void> {
  const got = await consumer.receive(100, { waitMs: world.quietMs, signal: never });
  assert.deepEqual(labels(got), [], why);
}

/** Applies deliveries as the inbox would: what must commit with them, the commit, the acknowledgement. */
export async function apply(peer: Peer, consumer: Consumer, deliveries: readonly Delivery[]): Promise<void> {
  await peer.store.transaction((tx) => consumer.settleIn(tx, deliveries));
  await consumer.settle(deliveries);
}

/** Fails unless the promise settles in time. */
export async function within<T>(world: TransportWorld, promise: Promise<T>, what: string): Promise<T> {
  let cancel = (): void => {};
  const late = new Promise<never>((_, reject) => {
    cancel = world.clock.after(world.patienceMs, () => reject(new assert.AssertionError({ message: `${what}, but did not` })));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    cancel();
  }
}

/** What the world can do by the driver's own word. */
export function can<T>(ability: T | undefined): T {
  if (ability === undefined) throw new Error('the driver declares an ability that its world does not have');
  return ability;
}
