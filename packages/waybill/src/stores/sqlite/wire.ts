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

/** What the columns of a message say of its headers. */
export interface HeaderColumns {
  readonly kind: string;
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly recipient?: string | null | undefined;
  readonly key?: string | null | undefined;
  readonly time: number;
}

/** Headers that the columns tell, all of them. */
export const usualHeaders = '+';

/**
 * Headers that nearly every message has (CloudEvents', as the default format writes them) say what the columns say. They
 * are left out: `+`, and behind it what else there is, if anything, as JSON. A row takes half the room, and neither JSON
 * is written nor read. Headers that lack one of them are kept whole, as JSON.
 */
export function headersText(message: WireMessage): string {
  if (isCommonEvent(message)) return usualHeaders;
  const { headers } = message;
  const common = commonHeaders(message);
  for (const name of Object.keys(common)) if (headers[name] === undefined) return JSON.stringify(headers);
  if (Object.hasOwn(headers, '__proto__')) return JSON.stringify(headers); // assigning it would lose it
  const others: Record<string, string> = {};
  let some = false;
  for (const name of Object.keys(headers)) {
    if (headers[name] === common[name]) continue;
    others[name] = headers[name]!;
    some = true;
  }
  return some ? `${usualHeaders}${JSON.stringify(others)}` : usualHeaders;
}

/** An event with the common headers and no other, as nearly all are: seen without making those. */
export function isCommonEvent({ headers, kind, id, source, type, recipient, key, time }: WireMessage): boolean {
  return (
    kind === 'event' &&
    recipient === undefined &&
    headers['ce-id'] === id &&
    headers['ce-type'] === type &&
    headers['ce-partitionkey'] === key &&
    headers['ce-source'] === source &&
    headers['ce-correlationid'] === id &&
    headers['ce-time'] === timeText(time) &&
    headers['ce-specversion'] === '1.0' &&
    headers['content-type'] === 'application/json' &&
    Object.keys(headers).length === (key === undefined ? 7 : 8)
  );
}

/** What `headersText` was given. @throws SyntaxError where it is no JSON: somebody else wrote it */
export function headersFrom(text: string, columns: HeaderColumns): unknown {
  if (!text.startsWith(usualHeaders)) return JSON.parse(text);
  const common = commonHeaders(columns);
  return text.length === 1 ? common : Object.assign(common, JSON.parse(text.slice(1)));
}

function commonHeaders({ kind, id, source, type, recipient, key, time }: HeaderColumns): Record<string, string> {
  const headers: Record<string, string> = {
    'ce-specversion': '1.0',
    'ce-id': id,
    'ce-source': source,
    'ce-type': type,
    'ce-time': timeText(time),
    'ce-correlationid': id,
    'content-type': 'application/json',
  };
  if (key !== undefined && key !== null) headers['ce-partitionkey'] = key;
  if (kind !== 'event') headers['ce-waybillkind'] = kind;
  if (recipient !== undefined && recipient !== null) headers['ce-waybillto'] = recipient;
  return headers;
}

/** Many messages are of one millisecond: the last one's text is kept. */
let last = { ms: NaN, text: '' };

/** Of the time as the column has it. One that no date has is no header's either: such a message keeps its own. */
function timeText(time: number): string {
  const ms = wallMs(time);
  if (ms === last.ms) return last.text;
  const date = new Date(ms);
  last = { ms, text: Number.isNaN(date.getTime()) ? '' : date.toISOString() };
  return last.text;
}

/** In the order of `messageColumns`. */
export function messageValues(message: WireMessage): SqlValue[] {
  const { kind, id, source, type, recipient, key, time, body } = message;
  return [kind, id, source, type, recipient ?? null, key ?? null, wallMs(time), headersText(message), body];
}

export function messageOf(row: MessageRow): WireMessage {
  const { kind, id, source, type, time, body } = row;
  const headers = headersFrom(row.headers, row) as Record<string, string>;
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
