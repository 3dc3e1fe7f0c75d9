/**
 * Room 6: message → handler.
 *
 * In: a message made ready by `decode`, and where its writes and publishes go. Out: what the handler returned, or what
 * it threw. Guaranteed: middleware runs around the handler; a run ends, in time or with `HANDLER_TIMEOUT`; after its end
 * its context publishes nothing more. A crash in here is a crash inside the inbox's transaction: all is undone.
 *
 * Cost per message: one context object, an entry in the watch (a timer for all of them), one AbortSignal when asked for.
 */
import { createHash } from 'node:crypto';
import type { HandlerContext, Middleware, Published } from '../contract/api.ts';
import type { Clock } from '../contract/clock.ts';
import { type ContractDefinition, type Draft, type MessageOptions, definitionOf, definitionOfDraft } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import { andThen } from '../contract/maybe.ts';
import { createWatch, leave } from './watch.ts';
import type { Plan, Ready } from '../contract/handling.ts';
import type { Logger } from '../contract/signals.ts';
import type { MaybePromise, StoreTransaction } from '../contract/store.ts';

/** What a run may write to. */
export interface RunScope {
  /** As the handler sees it. */
  readonly native: unknown;
  readonly tx: StoreTransaction;
}

export interface RunOptions {
  readonly attempt: number;
  readonly redelivered: boolean;
  readonly deliveryCount: number | undefined;
  /** Aborted when the bus stops. */
  readonly stopping: AbortSignal;
  /** Undefined: a manual handler, which opens its transaction by `manual`. */
  readonly scope: RunScope | undefined;
  readonly manual?: (work: (scope: RunScope) => Promise<unknown>) => Promise<unknown>;
  /** Lends whoever opens the transaction the run's clock, as the run begins. */
  readonly timing?: (clock: RunClock) => void;
}

/** A handler is not charged for the wait for its transaction: its time begins anew when that is open. */
export interface RunClock {
  /** It waits for its transaction, for a bounded time. */
  hold(): void;
  go(): void;
}

/** A transaction waits at most so long for its turn or a connection, retries included, in milliseconds. */
const waitMaxMs = 60_000;

interface PublishDraft {
  readonly contract: ContractDefinition;
  readonly data: unknown;
  readonly options: MessageOptions;
}

export interface PublishIn {
  (
    scope: RunScope,
    drafts: readonly PublishDraft[],
    cause: Ready['envelope'],
  ): MaybePromise<readonly Published[]>;
}

export interface Run {
  one(plan: Plan, ready: Ready, options: RunOptions): Promise<unknown>;
  /** A set-based handler over several messages. */
  batch(plan: Plan, all: readonly Ready[], options: RunOptions): Promise<void>;
  /** `onFailed`, in the transaction that parks. */
  failed(plan: Plan, ready: Ready, error: unknown, options: RunOptions): Promise<void>;
}

/** What a context needs of the bus. */
interface ContextHost {
  readonly logger: Logger;
  readonly publish: PublishIn;
  /** The transaction of the running code waits for it, awaited or not. */
  readonly track: <R>(publish: () => MaybePromise<R>) => Promise<R>;
  /** Runs `work` so that the bus knows where it stands. */
  readonly within: (ready: Ready, tx: StoreTransaction | undefined, work: () => unknown) => Promise<unknown>;
  readonly trouble: (where: string, error: unknown) => void;
}

export function createRun(options: ContextHost & { clock: Clock; middleware: readonly Middleware[] }): Run {
  const { clock, middleware, within } = options;

  const watch = createWatch(clock);

  /** A run that does not end is abandoned: its signal is aborted, and its context and transaction are closed to it. */
  const bounded = (plan: Plan, context: Context, work: () => Promise<unknown>, { stopping, timing }: RunOptions): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const abandon = (why: 'late' | 'stopped'): void => {
        const error =
          why === 'stopped'
            ? new WaybillError('STOPPED', `${plan.name}: the bus was stopped before the handler ended; the message runs again`)
            : new WaybillError('HANDLER_TIMEOUT', `${plan.name}: the handler ran longer than ${plan.timeoutMs} ms; shorten it, or raise timeoutMs`);
        context.abort(error);
        context.close();
        isOver = true;
        reject(error);
      };
      let isOver = false;
      let watched = watch(plan.timeoutMs, stopping, abandon);
      if (timing) {
        const again = (limitMs: number): void => {
          if (isOver) return;
          leave(watched);
          watched = watch(limitMs, stopping, abandon);
        };
        timing({ hold: () => again(waitMaxMs + plan.timeoutMs), go: () => again(plan.timeoutMs) });
      }
      const over = (): void => {
        isOver = true;
        leave(watched);
        context.close();
      };
      work().then(
        (value) => {
          over();
          resolve(value);
        },
        (error: unknown) => {
          over();
          reject(error as Error);
        },
      );
    });

  /** The handler within the layers around it, if there are any. */
  const layered = (context: Context, handler: () => unknown): unknown => (middleware.length === 0 ? handler() : throughLayers(context, handler));

  /** A layer that does not await `next()` does not end the run: it lasts, and fails, as long as what it called. */
  const throughLayers = async (context: Context, handler: () => unknown): Promise<unknown> => {
    let result: unknown;
    let under = 0;
    let outlived = false;
    let late: { readonly error: unknown } | undefined;
    let ended = (): void => {};
    const next = async (index: number): Promise<void> => {
      under++;
      try {
        await step(index);
      } catch (error) {
        if (!outlived) throw error;
        late ??= { error };
      } finally {
        if (--under === 0) ended();
      }
    };
    const step = async (index: number): Promise<void> => {
      const layer = middleware[index];
      if (!layer) result = await handler();
      else if (layer.handle) await layer.handle(context as unknown as HandlerContext<unknown>, () => next(index + 1));
      else await step(index + 1);
    };
    await step(0);
    outlived = true;
    if (under > 0) await new Promise<void>((resolve) => (ended = resolve));
    if (late) throw (late as { readonly error: unknown }).error;
    return result;
  };

  return {
    one(plan, ready, how) {
      const context = new Context(plan, [ready], how, options);
      const work = (): Promise<unknown> => within(ready, how.scope?.tx, () => layered(context, () => ready.taker.handler(ready.data, context)));
      return bounded(plan, context, work, how);
    },
    async batch(plan, all, how) {
      const context = new Context(plan, all, how, options);
      const first = all[0]!;
      const events = all.map((ready) => ready.data);
      await bounded(plan, context, () => within(first, how.scope?.tx, () => layered(context, () => first.taker.handler(events, context))), how);
    },
    async failed(plan, ready, error, how) {
      const context = new Context(plan, [ready], how, options);
      await bounded(plan, context, () => within(ready, how.scope?.tx, async () => plan.onFailed?.(ready.data, context, error)), how);
    },
  };
}

/** The handler's context; a class, so that what is seldom used is made when asked for. */
class Context {
  readonly message: Ready['message'];
  readonly attempt: number;
  readonly redelivered: boolean;
  readonly deliveryCount: number | undefined;
  readonly logger: Logger;
  readonly #plan: Plan;
  readonly #all: readonly Ready[];
  readonly #how: RunOptions;
  readonly #host: ContextHost;
  #scope: RunScope | undefined;
  #abort: AbortController | undefined;
  /** Rejects when the run is abandoned; made by a manual handler's transaction, which is undone then. */
  #abandoned: PromiseWithResolvers<never> | undefined;
  #open = true;
  #asked = false;

  constructor(plan: Plan, all: readonly Ready[], how: RunOptions, host: ContextHost) {
    this.#plan = plan;
    this.#all = all;
    this.#how = how;
    this.#host = host;
    this.#scope = how.scope;
    this.message = all[0]!.message;
    this.attempt = how.attempt;
    this.redelivered = how.redelivered;
    this.deliveryCount = how.deliveryCount;
    this.logger = host.logger;
  }

  get tx(): unknown {
    return this.#scope?.native;
  }

  get messages(): readonly Ready['message'][] {
    return this.#all.map((ready) => ready.message);
  }

  /** 64 hexadecimal digits: short enough for every payment provider's idempotency header. */
  get idempotencyKey(): string {
    return createHash('sha256')
      .update(JSON.stringify([this.#plan.name, this.message.source, this.message.id]))
      .digest('hex');
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    return this.#abort.signal;
  }

  // Handlers take their context apart (`({ tx, publish }) => …`), so its functions know whose they are; made when asked for.

  get publish() {
    return (contract: unknown, data: unknown, options: MessageOptions = {}): Promise<Published> =>
      this.#publishOne('event', contract, data, options);
  }

  get send() {
    return (contract: unknown, data: unknown, options: MessageOptions = {}): Promise<Published> =>
      this.#publishOne('command', contract, data, options);
  }

  get publishAll() {
    return (drafts: readonly Draft[]): Promise<readonly Published[]> =>
      this.#host.track(() => this.#publish(drafts.map((draft) => ({ contract: definitionOfDraft(draft), data: draft.data, options: draft.options }))));
  }

  get afterCommit() {
    return (fn: () => void | Promise<void>): void => this.#afterCommit(fn);
  }

  get transaction() {
    return (work: (tx: unknown) => Promise<unknown>): Promise<unknown> => this.#transaction(work);
  }

  #publishOne(kind: 'event' | 'command', contract: unknown, data: unknown, options: MessageOptions): Promise<Published> {
    return this.#host.track(() => andThen(this.#publish([{ contract: expectKind(contract, kind), data, options }]), ([first]) => first!));
  }

  #publish(drafts: readonly PublishDraft[]): MaybePromise<readonly Published[]> {
    this.#check('publish');
    if (!this.#scope) {
      throw new WaybillError('TX_MISSING', `${this.#plan.name}: a 'manual' handler publishes inside ctx.transaction()`);
    }
    return this.#host.publish(this.#scope, drafts, this.#all[0]!.envelope);
  }

  #afterCommit(fn: () => void | Promise<void>): void {
    this.#check('afterCommit');
    if (!this.#scope) throw new WaybillError('TX_MISSING', `${this.#plan.name}: call afterCommit inside ctx.transaction()`);
    const failed = (error: unknown): void => this.#host.trouble(`afterCommit of ${this.#plan.name}`, error);
    this.#scope.tx.afterCommit(() => {
      try {
        const result = fn();
        if (result instanceof Promise) result.catch(failed);
      } catch (error) {
        failed(error);
      }
    });
  }

  async #transaction(work: (tx: unknown) => Promise<unknown>): Promise<unknown> {
    this.#check('transaction');
    const { manual } = this.#how;
    if (!manual) throw new WaybillError('NESTED_TRANSACTION', `${this.#plan.name}: this handler has a transaction: use ctx.tx`);
    if (this.#asked) throw new WaybillError('NESTED_TRANSACTION', `${this.#plan.name}: ctx.transaction() is there once; put all writes into it`);
    this.#asked = true;
    this.#abandoned = Promise.withResolvers<never>();
    this.#abandoned.promise.catch(() => {}); // heard while its block runs
    const { promise: abandoned } = this.#abandoned;
    return manual(async (scope) => {
      this.#check('transaction');
      this.#scope = scope;
      try {
        const done = this.#host.within(this.#all[0]!, scope.tx, () => work(scope.native));
        return await Promise.race([done, abandoned]);
      } finally {
        this.#scope = undefined;
      }
    });
  }

  abort(reason: unknown): void {
    this.#abort ??= new AbortController();
    this.#abort.abort(reason);
    this.#abandoned?.reject(reason);
  }

  close(): void {
    this.#open = false;
  }

  #check(what: string): void {
    if (!this.#open) {
      throw new WaybillError('NOT_A_TRANSACTION', `${this.#plan.name}: ctx.${what}() after the handler was over; await everything inside it`);
    }
  }
}

function expectKind(contract: unknown, kind: 'event' | 'command'): ContractDefinition {
  const definition = definitionOf(contract);
  if (definition.kind === kind) return definition;
  throw new WaybillError('INVALID_CONTRACT', `${definition.type} is a ${definition.kind}: ${definition.kind === 'event' ? 'publish' : 'send'} it`);
}
