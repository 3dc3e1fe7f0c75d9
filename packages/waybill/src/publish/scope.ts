import { AsyncLocalStorage } from 'node:async_hooks';
import type { Message } from '../contract/message.ts';
import type { StoreTransaction } from '../contract/store.ts';

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
  /** Publishes that have begun, if any. The block or handler is not over before they are, awaited or not. */
  pending: Set<Promise<unknown>> | undefined;
}

export interface Scopes {
  current(): Scope | undefined;
  /** Runs `work` in a scope, which closes when `work` is over. */
  run<R>(scope: Pick<Scope, 'kind' | 'tx' | 'cause'>, work: () => R | Promise<R>): Promise<R>;
  /** A publish of the running code: its transaction waits for it, and fails with it. */
  track<R>(publish: Promise<R>): Promise<R>;
}

export function createScopes(): Scopes {
  const storage = new AsyncLocalStorage<Scope>();
  return {
    current() {
      const scope = storage.getStore();
      return scope?.open ? scope : undefined;
    },
    async run({ kind, tx, cause }, work) {
      const scope: Scope = { kind, tx, cause, open: true, pending: undefined };
      try {
        const result = await storage.run(scope, work);
        while (scope.pending && scope.pending.size > 0) await Promise.all(scope.pending);
        return result;
      } finally {
        scope.open = false;
      }
    },
    track(publish) {
      const scope = storage.getStore();
      if (!scope?.open) return publish;
      const pending = (scope.pending ??= new Set());
      pending.add(publish);
      // Heard, so that nobody has to: it fails the scope, or the scope has failed.
      const over = (): void => void pending.delete(publish);
      publish.then(over, over);
      return publish;
    },
  };
}
