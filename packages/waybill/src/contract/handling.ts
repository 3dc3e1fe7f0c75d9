/** What `handle` and `inbox` say to each other: a subscription's plan, a message made ready, and what became of it. */
import type { Order, TransactionMode } from './api.ts';
import type { ContractDefinition } from './contracts.ts';
import type { SagaDefinition } from './saga.ts';
import type { Envelope, Message, WireMessage } from './message.ts';
import type { MaybePromise, StoreTransaction } from './store.ts';
import type { Declaration, Delivery } from './transport.ts';

/** A subscription with every default filled in. */
export interface Plan {
  /** Full name, prefixed by the service: queue, inbox, position. */
  readonly name: string;
  readonly kind: 'event' | 'command';
  readonly order: Order;
  mode: TransactionMode;
  /** Undefined: as the store says. */
  readonly batch: number | undefined;
  readonly concurrency: number;
  /** Waits this long for a set-based batch to fill. */
  readonly lingerMs: number;
  readonly retry: { readonly immediate: number; readonly delayed: number; readonly delayMs: number; readonly delayMaxMs: number };
  readonly timeoutMs: number;
  readonly from: Declaration['from'];
  /** With the start those are added that the store knows of. */
  formerly: readonly string[];
  readonly afterFailure: 'pass' | 'hold';
  readonly onFailed: ((event: unknown, ctx: unknown, error: unknown) => unknown) | undefined;
  /** By contract type; several for `subscription().on()`. */
  readonly handlers: Map<string, Taker>;
  /** Its handlers are this saga's steps. */
  saga?: SagaDefinition;
  /** An instance of it goes on from where it was parked. */
  resume?: (key: string) => Promise<boolean>;
  /** In the transaction that parks one of its messages: its key, and the message's id. */
  parked?: (tx: StoreTransaction, failed: { readonly key: string; readonly id: string; readonly error: unknown }) => Promise<void>;
  /** The handler takes whole batches. */
  readonly setBased: boolean;
}

/** One handler and the contract it takes. */
export interface Taker {
  readonly contract: ContractDefinition;
  readonly handler: (data: any, ctx: any) => unknown;
  /** What the messages of this subscription are kept in order by, instead of the contract's key: a saga's. */
  readonly key?: (data: any, message: Message) => string;
  /** The subscription's own: it comes from what waits, and no queue is bound to it. */
  readonly own?: boolean;
}

/** A delivery, decoded and checked: ready to be run, or known not to be. */
export type Incoming =
  | ({ readonly kind: 'run' } & Ready)
  /** Cannot be run by anybody: to failures at once. */
  | { readonly kind: 'fail'; readonly wire: WireMessage; readonly error: unknown }
  /** This instance has no handler for it. */
  | { readonly kind: 'leave'; readonly wire: WireMessage }
  | { readonly kind: 'expired'; readonly wire: WireMessage };

export interface Ready {
  readonly wire: WireMessage;
  readonly envelope: Envelope;
  readonly message: Message;
  readonly data: unknown;
  readonly key: string | undefined;
  readonly sequence: bigint | undefined;
  readonly taker: Taker;
}

/** What shall happen after a run that threw. */
export type Verdict =
  | { readonly kind: 'again' }
  /** `aside`: its key's later messages do not wait for it. */
  | { readonly kind: 'later'; readonly delayMs: number; readonly aside?: boolean }
  | { readonly kind: 'fail'; readonly aside?: boolean };

/**
 * At once, where the schemas answer at once.
 * @param waited it comes from what waits, and not from a queue
 */
export type Decode = (delivery: Pick<Delivery, 'kind' | 'headers' | 'body'>, waited?: boolean) => MaybePromise<Incoming>;
