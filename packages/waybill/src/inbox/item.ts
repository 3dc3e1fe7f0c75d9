import type { Incoming } from '../contract/handling.ts';
import type { WaitingRow } from '../contract/store.ts';
import type { Delivery } from '../contract/transport.ts';

/** One message in a worker's hands: just delivered, or taken from what waits. */
export interface Item {
  readonly incoming: Incoming;
  readonly delivery: Delivery | undefined;
  readonly row: WaitingRow | undefined;
  /** Runs that ended with a verdict, before this one. */
  readonly attempt: number;
  /** Runs that began and had no verdict: the process died. */
  readonly crashes: number;
  /** This run's start has been recorded. */
  started: boolean;
  /** A batch with it could not be committed: it goes alone. */
  alone: boolean;
}

/** What became of an item in a transaction; reported once that has committed. */
export type Outcome =
  | { readonly kind: 'applied'; readonly attempt: number }
  | { readonly kind: 'duplicate' | 'stale' | 'expired' | 'gone' | 'moved' }
  | { readonly kind: 'skipped'; readonly reason: 'downcast' }
  | { readonly kind: 'retrying'; readonly attempt: number; readonly dueMs: number; readonly error: unknown }
  | { readonly kind: 'failed'; readonly attempts: number; readonly error: unknown };

/**
 * What has an inbox row already was delivered before; or it is the older form of a message whose newer one was taken on.
 * The form alone says nothing: what was queued before this subscription was bound to the newer version came as the older
 * one only.
 */
export function takenBefore({ incoming }: Item): Outcome {
  const older = incoming.kind === 'run' && incoming.envelope.downcastOf !== undefined;
  return older ? { kind: 'skipped', reason: 'downcast' } : { kind: 'duplicate' };
}

export function keyOf(item: Item): string | undefined {
  return item.incoming.kind === 'run' ? item.incoming.key : item.incoming.wire.key;
}

export function deliveriesOf(items: readonly Item[]): Delivery[] {
  return items.flatMap((item) => item.delivery ?? []);
}
