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
}

export interface Scopes {
  current(): Scope | undefined;
  /** Runs `work` in a scope, which closes when `work` is over. */
  run<R>(scope: Omit<Scope, 'open'>, work: () => R | Promise<R>): Promise<R>;
}

export function createScopes(): Scopes {
  const storage = new AsyncLocalStorage<Scope>();
  return {
    current() {
      const scope = storage.getStore();
      return scope?.open ? scope : undefined;
    },
    async run(fields, work) {
      const scope: Scope = { ...fields, open: true };
      try {
        return await storage.run(scope, work);
      } finally {
        scope.open = false;
      }
    },
  };
}
