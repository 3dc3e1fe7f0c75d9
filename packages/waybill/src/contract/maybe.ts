/**
 * What is there already, or will be. Most schemas, stores and handlers answer at once, and a promise for each step of each
 * message costs more than the steps: so the hot path waits only where there is something to wait for.
 */
import type { MaybePromise } from './store.ts';

export function isLater<T>(value: MaybePromise<T>): value is Promise<T> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/** Goes on with `value` now, or when it is there. What `use` throws now is thrown now. */
export function andThen<A, B>(value: MaybePromise<A>, use: (value: A) => MaybePromise<B>): MaybePromise<B> {
  return isLater(value) ? value.then(use) : use(value);
}
