import type { MessageKind } from './message.ts';
import type { FailedRow, InboxKey, WaitingRow } from './store.ts';

/** One row of the list of what was sent, with its state (G15). */
export interface OutboxEntry {
  readonly position: number;
  readonly id: string;
  readonly type: string;
  readonly kind: MessageKind;
  readonly recipient: string | undefined;
  readonly key: string | undefined;
  readonly timeMs: number;
  readonly state: 'ready' | 'published' | 'failed';
}

/** Paging: rows after `after`, at most `limit` (default 100, at most 1,000). */
export interface Page {
  readonly after?: number;
  readonly limit?: number;
}

export interface FailureFilter extends Page {
  /** `null`: what could not be sent. */
  readonly subscription?: string | null;
  readonly type?: string;
  readonly code?: string;
  readonly id?: string;
  readonly group?: string;
}

export interface FailureGroup {
  /** Names the group in a filter. */
  readonly group: string;
  readonly subscription: string | undefined;
  readonly type: string;
  readonly code: string;
  readonly message: string;
  readonly count: number;
  readonly firstMs: number;
  readonly lastMs: number;
}

/** `unknown`: no trace of it. What waits or has failed is not applied, although it was taken on. */
export type Standing = 'unknown' | 'applied' | 'waiting' | 'failed';

/**
 * What operations read, beside the ports that rooms write through. Reads committed rows in short statements; never
 * changes anything.
 */
export interface Inspect {
  outbox(page: Page & { readonly state?: OutboxEntry['state']; readonly id?: string }): Promise<readonly OutboxEntry[]>;
  waiting(page: Page & { readonly subscription?: string | null; readonly id?: string }): Promise<readonly WaitingRow[]>;
  failures(filter: FailureFilter): Promise<readonly FailedRow[]>;
  failureGroups(): Promise<readonly FailureGroup[]>;
  /** How each of these messages stands with this subscription, as of one moment. Some hundreds at a time. */
  standing(subscription: string, keys: readonly InboxKey[]): Promise<readonly Standing[]>;
  counts(): Promise<{ readonly ready: number; readonly waiting: number; readonly failed: number }>;
}
