import { AsyncLocalStorage } from 'node:async_hooks';
import { isLater } from '../contract/maybe.ts';
import type { Message } from '../contract/message.ts';
import type { MaybePromise, StoreTransaction } from '../contract/store.ts';

/**
 * Where the running code stands, as seen by one bus: in one of its transactions, or in one of its handlers. So a publish
 * that forgot its `tx` is an error instead of a silent dual write, and what a handler publishes knows its cause.
 */
export interface Scope {
  readonly kind: 'transaction' | 'handler';
  /** The open transaction; a manual handler has none until it asks. */
  readonly tx: StoreTransaction | undefined;
  /** The message being handled. */
  readonly cause: (Message & { readonly traceparent?: string }) | undefined;
  /** False once the block or handler is over: what it left running in the background stands outside again. */
  open: boolean;
  /** Publishes that are not over, or have failed, if any. The block or handler is not over before they are, awaited or not. */
  publishes: Set<Publishing<unknown>> | undefined;
}

export interface Scopes {
  current(): Scope | undefined;
  /** Runs `work` in a scope, which closes when `work` is over. */
  run<R>(scope: Pick<Scope, 'kind' | 'tx' | 'cause'>, work: () => R | Promise<R>): Promise<R>;
  /** A publish of the running code: its transaction waits for it, and fails with it unless somebody heard it fail before the end. */
  track<R>(publish: () => MaybePromise<R>): Promise<R>;
}

export function createScopes(): Scopes {
  const storage = new AsyncLocalStorage<Scope>();
  return {
    current() {
      const scope = storage.getStore();
      return scope?.open ? scope : undefined;
    },
    run({ kind, tx, cause }, work) {
      const scope: Scope = { kind, tx, cause, open: true, publishes: undefined };
      const over = <A>(result: A): A | Promise<A> => {
        if (scope.publishes) return afterAll(scope, scope.publishes, result);
        scope.open = false;
        return result;
      };
      const failed = (error: unknown): never => {
        scope.open = false;
        throw error;
      };
      try {
        return Promise.resolve(storage.run(scope, work)).then(over, failed);
      } catch (error) {
        scope.open = false;
        return Promise.reject(error as Error);
      }
    },
    track(publish) {
      let answer: ReturnType<typeof publish>;
      try {
        answer = publish();
      } catch (error) {
        answer = Promise.reject(error as Error);
      }
      if (!isLater(answer)) return Promise.resolve(answer); // nearly always, on SQLite: there is nothing to wait for
      const scope = storage.getStore();
      return scope?.open ? keep(answer, (scope.publishes ??= new Set())) : answer;
    },
  };
}

/** Knows whether anybody heard how it ended: `await`, `catch` and `Promise.all` all come through `then`. */
class Publishing<R> extends Promise<R> {
  /** What is made of it are plain promises again. */
  static override readonly [Symbol.species]: PromiseConstructor = Promise;
  heard = false;
  /** It has failed: whoever heard that could answer for it. */
  failed = false;

  // eslint-disable-next-line unicorn/no-thenable -- it is a promise
  override then<A = R, B = never>(kept?: ((value: R) => A | PromiseLike<A>) | null, failed?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<A | B> {
    this.heard = true;
    return super.then(kept, failed);
  }

  /** `then`, unheard. */
  over<A>(kept: () => A, failed: (error: unknown) => A): Promise<A> {
    return super.then(kept, failed);
  }
}

function keep<R>(answer: Promise<R>, among: Set<Publishing<unknown>>): Promise<R> {
  const publishing = new Publishing<R>((resolve, reject) => void answer.then(resolve, reject));
  among.add(publishing);
  void publishing.over(
    () => void among.delete(publishing),
    () => {
      publishing.failed = true;
      if (publishing.heard) among.delete(publishing);
    },
  );
  return publishing;
}

async function afterAll<R>(scope: Scope, publishes: Set<Publishing<unknown>>, result: R): Promise<R> {
  try {
    await ended(publishes);
    return result;
  } finally {
    scope.open = false;
  }
}

/** Waits for all, also for those that begin meanwhile. Throws what one fails with from now on, or had failed with unheard. */
async function ended(publishes: Set<Publishing<unknown>>): Promise<void> {
  for (const publishing of publishes) {
    publishes.delete(publishing);
    const isAnswered = publishing.failed && publishing.heard;
    await publishing.over(
      () => {},
      (error) => {
        if (!isAnswered) throw error;
      },
    );
  }
}
