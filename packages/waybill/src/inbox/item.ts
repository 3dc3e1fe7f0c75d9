import type { Incoming } from '../contract/handling.ts';
import type { WireMessage } from '../contract/message.ts';
import type { WaitingRow } from '../contract/store.ts';
import type { Delivery } from '../contract/transport.ts';

/** One message in a worker's hands: just delivered, or taken from what waits. */
export interface Item {
  readonly incoming: Incoming;
  readonly delivery: Delivery | undefined;
  /** How often the broker had handed it out before; of one that waited, when it was taken on. */
  readonly deliveryCount: number | undefined;
  /** With its owner once it is claimed. */
  row: WaitingRow | undefined;
  /** Runs that ended with a verdict, before this one; counted up in memory where the next follows at once. */
  attempt: number;
  /** Runs that began and had no verdict: the process died. */
  readonly crashes: number;
  /** This run's start has been recorded. */
  started: boolean;
  /** The part of a line that was taken with it: of a row that stands in one. */
  readonly line: Line | undefined;
  /** A newer form of it that waits here because this instance cannot read that: it goes instead, if that is still so. */
  newer: WaitingRow | undefined;
  /** At most this many share a transaction with it, itself included: fewer after a batch with it had to be undone. */
  together: number;
  /** Its last run, in a transaction that is undone: its verdict is still to be written. */
  threw: { readonly error: unknown; readonly attempt: number } | undefined;
}

/** A row that was first in its line, and those behind it that were taken with it: they run in this order or not at all. */
export interface Line {
  /** Of them in hand. */
  left: number;
  /** One of them has not been done: those behind it are let go of. */
  broken: boolean;
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
export function takenBefore(item: Item): Outcome {
  return isOlderForm(item) ? { kind: 'skipped', reason: 'downcast' } : { kind: 'duplicate' };
}

/** Whether it is the older form of a message that travels in a newer one too. */
export function isOlderForm({ incoming }: Item): boolean {
  return incoming.kind === 'run' && incoming.envelope.downcastOf !== undefined;
}

/**
 * An older form goes before the newer one, where this instance can read the older one alone: the newer one is then the
 * duplicate. They are sent together under one key, so nothing is overtaken.
 */
export function readableFirst(items: readonly Item[]): Item[] {
  const older = new Map(items.filter(isOlderForm).toReversed().map((item) => [identity(item), item])); // the newest of them
  if (older.size === 0) return [...items];
  const ahead = new Set<Item>();
  for (const item of items) {
    const other = item.incoming.kind === 'leave' ? older.get(identity(item)) : undefined;
    if (other) ahead.add(other);
  }
  return items.flatMap((item) => {
    if (ahead.has(item)) return [];
    const other = item.incoming.kind === 'leave' ? older.get(identity(item)) : undefined;
    return other ? [other, item] : [item];
  });
}

function identity({ incoming: { wire } }: Item): string {
  return JSON.stringify([wire.source, wire.id]);
}

/** What waits remembers the broker's count among its headers, and only there: no handler and no failure sees it. */
const countHeader = 'ce-waybilldeliverycount';

export function withCount(message: WireMessage, deliveryCount: number | undefined): WireMessage {
  return deliveryCount === undefined ? message : { ...message, headers: { ...message.headers, [countHeader]: String(deliveryCount) } };
}

export function withoutCount(message: WireMessage): Pick<Item, 'deliveryCount'> & { readonly message: WireMessage } {
  const { [countHeader]: text, ...headers } = message.headers;
  if (text === undefined) return { message, deliveryCount: undefined };
  const count = Number(text);
  return { message: { ...message, headers }, deliveryCount: Number.isSafeInteger(count) ? count : undefined };
}

export function keyOf(item: Item): string | undefined {
  return item.incoming.kind === 'run' ? item.incoming.key : item.incoming.wire.key;
}

export function deliveriesOf(items: readonly Item[]): Delivery[] {
  const deliveries: Delivery[] = [];
  for (const { delivery } of items) if (delivery) deliveries.push(delivery);
  return deliveries;
}

/** Nobody knows whose fault it is that they could not commit together: next time in halves, until it stands alone. */
export function halve(items: readonly Item[]): void {
  const half = items.length >> 1;
  items.forEach((item, i) => (item.together = Math.max(1, i < half ? half : items.length - half)));
}
