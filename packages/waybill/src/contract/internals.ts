import type { Bus, Published } from './api.ts';
import type { Clock } from './clock.ts';
import type { ContractDefinition, Draft } from './contracts.ts';
import { WaybillError } from './errors.ts';
import type { Plan } from './handling.ts';
import type { History } from './history.ts';
import type { Message, WireMessage } from './message.ts';
import type { SagaDefinition } from './saga.ts';
import type { Logger, Signals } from './signals.ts';
import type { StorePorts, StoreSession, StoreTransaction } from './store.ts';
import type { Entity, Seen } from './topology.ts';
import type { SourceProgress, TransportSession } from './transport.ts';

/** What `operations` and `testing` may reach behind a bus. Not public. */
export interface BusInternals {
  readonly service: string;
  readonly clock: Clock;
  readonly signals: Signals;
  /** How long what was sent stays in the ledger. */
  readonly horizonMs: number;
  /** Opens the store if that has not been done. */
  store(): Promise<StoreSession>;
  /** Undefined while the broker is away. */
  transport(): Promise<TransportSession | undefined>;
  readonly topology: TopologyAtBroker;
  failures(): Promise<{
    retry(rows: readonly number[]): Promise<number>;
    edit(row: number, body: Uint8Array): Promise<boolean>;
    delete(rows: readonly number[]): Promise<number>;
  }>;
  subscriptions(): readonly {
    readonly plan: Plan;
    readonly active: boolean;
    readonly sources: readonly SourceProgress[];
    /** Since when it gets what is published; 0: from the beginning, or not known. */
    readonly beganMs: number;
  }[];
  /** How far a subscription is, whichever instance works on it. */
  look(subscription: string): Promise<{ readonly sources: readonly SourceProgress[] } | undefined>;
  /** Second deliveries that a subscription dropped since this bus began. */
  duplicates(subscription: string): number;
  /** What publishers have sent, as far as they can be asked. */
  history(): Promise<History>;
  /** Sends again what this service has published, under the same ids. */
  republish(messages: readonly WireMessage[]): Promise<void>;
  /** Sagas that this bus runs, by full name. */
  sagas(): ReadonlyMap<string, SagaDefinition>;
  /** False when there is no such instance, or nothing of it stands still. */
  resumeSaga(saga: string, key: string): Promise<boolean>;
  /** Looks at what waits now, instead of when it was due. */
  wake(): void;
  /** Messages received and not settled, and transactions of own publishes that run. */
  inFlight(): number;
  /** What the annexes still have to do now, by what is in the store; each named. */
  outstanding(ports: StorePorts): Promise<readonly string[]>;
  /** Starts and stops with the bus. `make` is called once for each life of it: in tests a bus may have several. */
  attach(make: (ground: AnnexGround) => Annex): void;
  readonly desk: Desk;
}

/** What start would make at the broker. */
export interface TopologyAtBroker {
  /** Asks nobody. No entities: nothing stands outside this process. */
  plan(): Promise<{ readonly transport: string; readonly entities: readonly Entity[] }>;
  look(entities: readonly Entity[]): Promise<readonly Seen[]>;
  /** Makes it. `left`: subscriptions that take over from a former name, which is left to the start. */
  apply(): Promise<{ readonly left: readonly string[] }>;
}

/** A part that lives with the bus beside a message's journey: a projection. */
export interface Annex {
  start(): void;
  stop(drainMs: number): Promise<void>;
  wake(): void;
  inFlight(): number;
  outstanding(ports: StorePorts): Promise<string | undefined>;
}

/** What an annex runs on. */
export interface AnnexGround {
  readonly clock: Clock;
  readonly signals: Signals;
  readonly logger: Logger;
  store(): Promise<StoreSession>;
  /** Runs user code so that the bus knows in which transaction it stands. */
  within<R>(tx: StoreTransaction, work: () => R | Promise<R>): Promise<R>;
  /** Whether the running code is a handler's, or a transaction's. */
  isInside(): boolean;
}

/** What writes beside the ledger in the user's transaction by the rules of publish. */
export interface Desk {
  /** @throws WaybillError `CONTRACT_VIOLATION`, `SCHEMA_NOT_JSON` */
  check(contract: ContractDefinition, data: unknown): Promise<{
    readonly json: string;
    readonly output: unknown;
    readonly key: string | undefined;
    readonly sequence: bigint | undefined;
  }>;
  /** The transaction that is meant; undefined = one of its own. @throws WaybillError `TX_MISSING`, `NOT_A_TRANSACTION`, `STOPPED` */
  target(given: unknown, what: string): Promise<StoreTransaction | undefined>;
  /** A transaction of the bus's own. */
  own<R>(work: (tx: StoreTransaction) => Promise<R>): Promise<R>;
  publish(tx: StoreTransaction, drafts: readonly Draft[]): Promise<Published[]>;
  /** The message that the running code handles. */
  cause(): Message | undefined;
  /** The transaction of the running code waits for it, awaited or not. */
  track<R>(work: Promise<R>): Promise<R>;
  /** Something was committed: the annexes look. */
  wake(): void;
}

export const internalsKey: unique symbol = Symbol.for('waybill.internals') as never;

export function internalsOf(bus: Bus): BusInternals {
  const found = (bus as { [internalsKey]?: BusInternals } | undefined)?.[internalsKey];
  if (found) return found;
  throw new WaybillError('INVALID_OPTION', 'this is no bus: pass what createBus() returned');
}
