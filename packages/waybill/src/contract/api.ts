/** The bus as its users see it, in types. No third-party type is named here. */
import type { CommandContract, Draft, EventContract, MessageOptions } from './contracts.ts';
import type { FindingCode } from './doctor.ts';
import type { Message, OutgoingMessage } from './message.ts';
import type { Logger, SignalMap, SignalName } from './signals.ts';
import type { Saga } from './saga.ts';
import type { Store } from './store.ts';
import type { SqlTransaction, TransactionLike } from './transaction.ts';
import type { Transport } from './transport.ts';

export interface PublishOptions extends MessageOptions {
  /** The transaction to join, or `'own'`: an outbox row in a transaction of its own is meant. */
  tx?: TransactionLike | 'own';
}

/** What every publish returns: the message's id, and a token that `caughtUp` understands anywhere. */
export interface Published {
  readonly id: string;
  readonly token: string;
}

/** Publishing inside a handler: in the handler's transaction. */
export interface Publisher {
  publish<I>(
    contract: EventContract<string, I, unknown, string>,
    data: NoInfer<I>,
    options?: MessageOptions,
  ): Promise<Published>;
  send<I>(
    contract: CommandContract<string, I, unknown, any, unknown>,
    data: NoInfer<I>,
    options?: MessageOptions,
  ): Promise<Published>;
  publishAll(messages: readonly Draft[]): Promise<Published[]>;
}

interface ContextBase extends Publisher {
  readonly message: Message;
  /** This run's number, from 1. */
  readonly attempt: number;
  /** May have been handled before; false means certainly not (where the transport can tell). */
  readonly redelivered: boolean;
  /**
   * How often the broker says that it has handed this message out before without an acknowledgement: 0 the first time. In
   * runs that follow it is what it was when the message was taken on. Undefined where the broker does not count (see its
   * page in docs). Nothing of Waybill rests on it: attempts are counted in the store.
   */
  readonly deliveryCount: number | undefined;
  /** The same over all redeliveries and retries of this message in this subscription: for calls to the outside. */
  readonly idempotencyKey: string;
  /** Aborted when the bus stops or `timeoutMs` has passed. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Best effort after the commit, for caches and sockets: lost if the process dies. */
  afterCommit(fn: () => void | Promise<void>): void;
}

export interface HandlerContext<out Tx = unknown> extends ContextBase {
  /** The transaction that also holds the inbox row and what is published here. */
  readonly tx: Tx;
}

export interface ManualContext<out Tx = unknown> extends ContextBase {
  /** Once: commits the inbox row, the writes of `work`, and what is published inside it. */
  transaction<R>(work: (tx: Tx) => Promise<R>): Promise<R>;
}

export interface BatchContext<out Tx = unknown> extends Publisher {
  readonly tx: Tx;
  /** One per event, in order. */
  readonly messages: readonly Message[];
  readonly signal: AbortSignal;
  readonly logger: Logger;
  afterCommit(fn: () => void | Promise<void>): void;
}

export interface Retry {
  /** Runs again at once, in the same transaction. @default 2 */
  immediate?: number;
  /** Runs again later. @default 8 */
  delayed?: number;
  /** The first delay in milliseconds; doubles each time, jittered by half. @default 1_000 */
  delayMs?: number;
  /** @default 600_000 */
  delayMaxMs?: number;
}

export interface CommonOptions {
  /** Default `${service}.${event name}`. It is the queue, the inbox and the position. A given name is prefixed with the service. */
  name?: string;
  /** Former names: queue, position and inbox are carried over. One is enough: those before and after it are known to the store. */
  formerly?: readonly string[];
  /** Deliveries to one shared transaction at most. @default 100; in a SQLite store 250, unless the handler takes whole batches */
  batch?: number;
  retry?: false | Retry;
  /** Lanes in this process: runs beside each other at most, a key's always one after another. @default 16 */
  concurrency?: number;
  /**
   * For one run of the handler, in milliseconds; then `signal` is aborted and the transaction undone. Counts anew from when
   * its transaction is open, if it had to wait for that. @default 30_000
   */
  timeoutMs?: number;
  /** Where a subscription that is created now begins. @default 'now' */
  from?: 'now' | 'beginning' | Date;
  /** With `order: 'by-key'`: whether a key's later messages pass once one has failed for good. @default 'pass' */
  afterFailure?: 'pass' | 'hold';
}

export type Order = 'any' | 'by-key' | 'latest';
export type TransactionMode = 'shared' | 'own' | 'manual';
type OrderOf<M extends string> = 'any' | ('key' extends M ? 'by-key' | ('sequence' extends M ? 'latest' : never) : never);
type NeedOf<O extends string> = O extends 'by-key' ? 'key' : O extends 'latest' ? 'key' | 'sequence' : never;

export interface SubscribeOptions<
  M extends string = string,
  T extends TransactionMode = TransactionMode,
  O = any,
  Tx = any,
> extends CommonOptions {
  /** @default 'any' */
  order?: OrderOf<M>;
  /** @default 'shared' */
  transaction?: T;
  /** Runs in the transaction that parks the message; may publish a compensating event. */
  onFailed?: (event: NoInfer<O>, ctx: HandlerContext<Tx>, error: unknown) => Promise<void> | void;
}

export interface BatchOptions extends CommonOptions {
  /** Waits this long for a batch to fill, in milliseconds. @default 0 */
  lingerMs?: number;
}

export interface HandleOptions<T extends TransactionMode = TransactionMode> extends CommonOptions {
  transaction?: T;
}

export type ContextOf<T extends TransactionMode, Tx> = [T] extends ['manual'] ? ManualContext<Tx> : HandlerContext<Tx>;

/** A message that is sent again and again. */
export interface Schedule {
  readonly name: string;
  /** Ends it, for the whole service; false when it was gone. An instance that starts with it in its code begins it again. */
  cancel(): Promise<boolean>;
}

/** Of a saga's subscription. */
export interface SagaOptions extends Omit<CommonOptions, 'name' | 'afterFailure'> {
  /** Whether an instance's later messages pass once one has failed for good. @default 'hold' */
  afterFailure?: 'pass' | 'hold';
}

export interface Subscription {
  readonly name: string;
  /** Resolves once the queue is bound and this instance consumes, or stands by. */
  ready(): Promise<void>;
  /**
   * This process stops handling; the queue keeps filling. On the SQLite transport one instance at a time works on a
   * subscription: paused in that one it is paused for the service, until `resume`, or until that instance stops.
   */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** For the whole service: unbinds, applies what is queued (default) or drops it, removes the queue. */
  unsubscribe(options?: { queued?: 'apply' | 'drop' }): Promise<void>;
}

export interface MultiSubscription<out Tx = unknown, T extends TransactionMode = 'shared', Need extends string = never>
  extends Subscription {
  on<O, M extends string>(
    event: EventContract<string, any, O, M> &
      ([Need] extends [M] ? unknown : { readonly 'this order needs a contract with': Need }),
    handler: (event: O, ctx: ContextOf<T, Tx>) => Promise<void> | void,
  ): this;
}

/** A handler in a file of its own: `Handler<typeof bus, typeof ProductPriceChanged>`. */
export type Handler<B, C, T extends TransactionMode = 'shared'> =
  C extends CommandContract<any, any, infer O, infer RI, any>
    ? (command: O, ctx: ContextOf<T, TxOf<B>>) => RI | Promise<RI>
    : C extends EventContract<any, any, infer O, any>
      ? (event: O, ctx: ContextOf<T, TxOf<B>>) => Promise<void> | void
      : never;

/** The transaction type of a bus. */
export type TxOf<B> = B extends Bus<infer Tx> ? Tx : never;

export interface Middleware {
  /** Around each publish and send, before the message is encoded. Only headers may be changed. */
  publish?(message: OutgoingMessage, next: (message: OutgoingMessage) => Promise<void>): Promise<void>;
  /** Around each run of a handler, inside its transaction. */
  handle?(ctx: HandlerContext<unknown>, next: () => Promise<void>): Promise<void>;
}

export interface OnceOptions {
  /** What the key stands for (a hash of the request): the same key with another one is `ONCE_MISMATCH`. */
  fingerprint?: string;
  /** How long the result is kept, in milliseconds. @default 7 days */
  retainMs?: number;
  /** @default 5 */
  attempts?: number;
}

export interface Freshness {
  readonly source: string;
  readonly subscription: string;
  /**
   * Everything that the source had published until then has been applied, or is counted in `waiting` or failures. The
   * beginning of 1970, with state `unknown`: nothing has been heard of it yet since this process began.
   */
  readonly appliedUntil: Date;
  readonly waiting: number | undefined;
  readonly state: 'current' | 'behind' | 'failing' | 'unknown';
}

export interface Health {
  readonly live: boolean;
  /** A backlog is not unready; a store or broker that cannot be reached is. */
  readonly ready: boolean;
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly detail?: string }[];
}

export interface Bus<out Tx = unknown> extends AsyncDisposable {
  readonly service: string;

  publish<I>(
    contract: EventContract<string, I, unknown, string>,
    data: NoInfer<I>,
    options?: PublishOptions,
  ): Promise<Published>;
  send<I>(
    contract: CommandContract<string, I, unknown, any, unknown>,
    data: NoInfer<I>,
    options?: PublishOptions,
  ): Promise<Published>;
  publishAll(messages: readonly Draft[], options?: { tx?: TransactionLike | 'own' }): Promise<Published[]>;
  request<I, R>(
    command: CommandContract<string, I, unknown, any, R>,
    data: NoInfer<I>,
    options: { timeoutMs: number; signal?: AbortSignal; headers?: Record<string, string> },
  ): Promise<R>;
  cancel(id: string, options?: { tx?: TransactionLike }): Promise<boolean>;
  /**
   * Sends a message again and again: one schedule per name for the whole service, whichever instance is there. Times that
   * passed while none was happen once. Call it at each start; another `when` or message replaces the one before.
   * @param when `everyMs` (first after that time, from 100 on) or `cron` with its `timeZone` (default UTC), which needs the package `croner`
   * @throws WaybillError `INVALID_OPTION`, `DRIVER_MISSING`, and as `publish`
   */
  schedule(name: string, when: { everyMs: number } | { cron: string; timeZone?: string }, message: Draft): Promise<Schedule>;

  subscribe<O, M extends string>(
    event: EventContract<string, any, O, M>,
    handler: (event: O, ctx: HandlerContext<Tx>) => Promise<void> | void,
  ): Subscription;
  subscribe<O, M extends string, T extends TransactionMode = 'shared'>(
    event: EventContract<string, any, O, M>,
    options: SubscribeOptions<M, T, O, Tx>,
    handler: (event: O, ctx: ContextOf<T, Tx>) => Promise<void> | void,
  ): Subscription;
  subscription<O extends Order = 'any', T extends TransactionMode = 'shared'>(
    name: string,
    options?: CommonOptions & { order?: O; transaction?: T },
  ): MultiSubscription<Tx, T, NeedOf<O>>;
  subscribeBatch<O>(
    event: EventContract<string, any, O, string>,
    options: BatchOptions,
    handler: (events: O[], ctx: BatchContext<Tx>) => Promise<void> | void,
  ): Subscription;
  handle<O, RI>(
    command: CommandContract<string, any, O, RI, unknown>,
    handler: (command: O, ctx: HandlerContext<Tx>) => NoInfer<RI> | Promise<NoInfer<RI>>,
  ): Subscription;
  handle<O, RI, T extends TransactionMode = 'shared'>(
    command: CommandContract<string, any, O, RI, unknown>,
    options: HandleOptions<T>,
    handler: (command: O, ctx: ContextOf<T, Tx>) => NoInfer<RI> | Promise<NoInfer<RI>>,
  ): Subscription;

  /**
   * Runs a saga: a subscription named after it, in order by the saga's key. While one of an instance's messages is in
   * failures, its later ones wait (`afterFailure: 'hold'`).
   * @throws WaybillError `INVALID_SAGA` when something of it is missing, `DUPLICATE_SUBSCRIPTION`; `start` rejects with
   * `CAPABILITY_MISSING` on a store that keeps no sagas
   */
  run(saga: Saga, options?: SagaOptions): Subscription;

  /**
   * Runs `work` in a transaction of the store, again when the store says that it did not happen (`attempts`, default 5).
   * It has no deadline: whoever else wants to write waits, and is told `STORE_BUSY` in the end.
   */
  transaction<R>(work: (tx: Tx) => Promise<R>, options?: { attempts?: number }): Promise<R>;
  once<R>(
    scope: string,
    key: string,
    work: (tx: Tx) => Promise<R>,
    options?: OnceOptions,
  ): Promise<{ result: R; duplicate: boolean }>;
  lockKey<I, M extends string>(
    contract: EventContract<string, I, unknown, M> & (['key'] extends [M] ? unknown : { readonly 'lockKey needs a contract with': 'key' }),
    data: NoInfer<I>,
    options: { tx: TransactionLike },
  ): Promise<void>;

  caughtUp(token: string, options: { timeoutMs: number }): Promise<boolean>;
  freshness(source?: string): Promise<Freshness[]>;

  use(middleware: Middleware): void;
  on<N extends SignalName>(signal: N, listener: (detail: SignalMap[N]) => void): () => void;
  /** @throws WaybillError `UNSAFE` where the store or broker is set up so that a promise does not hold, unless `accept` names it */
  start(): Promise<void>;
  stop(options?: { drainMs?: number }): Promise<void>;
  health(): Promise<Health>;
}

export type RelayMode = 'inline' | 'worker' | 'log' | 'off';

export interface BusOptions<Tx = SqlTransaction> {
  /** Name of the service: prefixes queues, is the CloudEvents `source`. */
  service: string;
  /** Factory or URL. @default process.env.WAYBILL_STORE, else `sqlite:.waybill/<service>.db` */
  store?: Store<Tx> | string;
  /** Factory or URL. @default process.env.WAYBILL_TRANSPORT, else `sqlite:.waybill` */
  transport?: Transport | string;
  /** Who sends what was committed. @default 'inline' */
  relay?: RelayMode;
  /** @default 'auto' */
  migrate?: 'auto' | 'check';
  /** Refuse `publish` and `send` without `tx` anywhere. @default true for stores made from a client, false for URLs */
  requireTransaction?: boolean;
  /** Header names copied from the handled message to those it causes. */
  propagate?: readonly string[];
  /** pino-shaped. @default warnings and errors to the console */
  logger?: Logger;
  /** How long what was sent stays in the ledger, in milliseconds. @default 7 days */
  horizonMs?: number;
  /** Messages that may cause one another without a pause of a second; one more is `HOP_LIMIT`. @default 64 */
  hopsMax?: number;
  /** SIGTERM and SIGINT call `stop`. @default false */
  handleSignals?: boolean;
  /**
   * What `start` finds unsafe and does not refuse, by name (docs/doctor.md). @default process.env.WAYBILL_ACCEPT, names with
   * commas between; else nothing
   */
  accept?: readonly FindingCode[];
}
