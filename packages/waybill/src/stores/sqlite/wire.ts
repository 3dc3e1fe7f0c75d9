/** A message as columns: the same nine wherever one is stored. */
import type { MessageKind, WireMessage } from '../../contract/message.ts';
import type { StoredError } from '../../contract/store.ts';
import type { SqlValue } from './port.ts';

export const messageColumns = 'kind, id, source, type, recipient, key, time, headers, body';

export interface MessageRow {
  readonly kind: MessageKind;
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly recipient: string | null;
  readonly key: string | null;
  readonly time: number;
  readonly headers: string;
  readonly body: Uint8Array;
}

/** A wall time as a strict column takes it: whole milliseconds, and "for ever" as the latest that can be read back. */
export function wallMs(ms: number): number {
  return Math.min(Math.floor(ms), Number.MAX_SAFE_INTEGER);
}

/** In the order of `messageColumns`. */
export function messageValues(message: WireMessage): SqlValue[] {
  const { kind, id, source, type, recipient, key, time, headers, body } = message;
  return [kind, id, source, type, recipient ?? null, key ?? null, wallMs(time), JSON.stringify(headers), body];
}

export function messageOf(row: MessageRow): WireMessage {
  const { kind, id, source, type, time, body } = row;
  const headers = JSON.parse(row.headers) as Record<string, string>;
  return { kind, id, source, type, recipient: row.recipient ?? undefined, key: row.key ?? undefined, time, headers, body };
}

export interface ErrorRow {
  readonly error_code: string | null;
  readonly error_message: string | null;
  readonly error_stack: string | null;
}

export function errorValues(error: StoredError | undefined): SqlValue[] {
  return [error?.code ?? null, error?.message ?? null, error?.stack ?? null];
}

export function errorOf(row: ErrorRow): StoredError | undefined {
  if (row.error_code === null) return undefined;
  return { code: row.error_code, message: row.error_message ?? '', stack: row.error_stack ?? undefined };
}
