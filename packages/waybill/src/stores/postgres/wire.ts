/** A message as columns and as JSON: sets of them travel in one text parameter, which every client library passes alike. */
import type { MessageKind, WireMessage } from '../../contract/message.ts';
import type { StoredError } from '../../contract/store.ts';

export const messageColumns = 'kind, id, source, type, recipient, key, time, headers, body';
/** The same out of `json_to_recordset` as `m`: bytes travel as base64. */
export const messageFields = `m.kind, m.id, m.source, m.type, m.recipient, m.key, m.time, m.headers, decode(m.body, 'base64')`;
export const messageRecord = 'kind text, id text, source text, type text, recipient text, key text, time bigint, headers text, body text';

/** The same as parameters 1 to 9, each a text. */
export const messageParameters = `$1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text::bigint, $8::text, decode($9::text, 'base64')`;

/** The same as a client's rows, out of the table `t`. */
export function messageText(t: string): string {
  return `${t}.kind, ${t}.id, ${t}.source, ${t}.type, ${t}.recipient, ${t}.key, ${t}.time::text, ${t}.headers, encode(${t}.body, 'base64') as body`;
}

export interface MessageRow {
  readonly kind: MessageKind;
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly recipient: string | null;
  readonly key: string | null;
  readonly time: string;
  readonly headers: string;
  /** base64 */
  readonly body: string;
}

/** A wall time as a column takes it: whole milliseconds, and "for ever" as the latest that can be read back. */
export function wallMs(ms: number): number {
  return Math.min(Math.floor(ms), Number.MAX_SAFE_INTEGER);
}

export function messageJson(message: WireMessage): object {
  const { kind, id, source, type, recipient, key, time, headers, body } = message;
  return {
    kind,
    id,
    source,
    type,
    recipient: recipient ?? null,
    key: key ?? null,
    time: wallMs(time),
    headers: JSON.stringify(headers), // as text in text: PostgreSQL's own reading of JSON knows no NUL
    body: base64(body),
  };
}

export function messageValues(message: WireMessage): (string | null)[] {
  const { kind, id, source, type, recipient, key, time, headers, body } = message;
  return [kind, id, source, type, recipient ?? null, key ?? null, String(wallMs(time)), JSON.stringify(headers), base64(body)];
}

function base64(body: Uint8Array): string {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('base64');
}

export function messageOf(row: MessageRow): WireMessage {
  const { kind, id, source, type } = row;
  const body = Buffer.from(row.body, 'base64');
  const headers = JSON.parse(row.headers) as Record<string, string>;
  return { kind, id, source, type, recipient: row.recipient ?? undefined, key: row.key ?? undefined, time: Number(row.time), headers, body };
}

export interface ErrorRow {
  readonly code: string | null;
  readonly message: string | null;
  readonly stack: string | null;
}
export function errorText(t: string): string {
  return `${t}.error_code as code, ${t}.error_message as message, ${t}.error_stack as stack`;
}

export function errorJson(error: StoredError | undefined): object {
  return {
    error_code: error?.code ?? null,
    error_message: error === undefined ? null : plainText(error.message),
    error_stack: error?.stack === undefined ? null : plainText(error.stack),
  };
}
export const errorRecord = 'error_code text, error_message text, error_stack text';

export function errorOf(row: ErrorRow): StoredError | undefined {
  if (row.code === null) return undefined;
  return { code: row.code, message: row.message ?? '', stack: row.stack ?? undefined };
}

/** What PostgreSQL's text takes: no NUL, no half of a surrogate pair. */
export function plainText(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\uFFFD');
}

/** Subscriptions as columns: '' is the sender, because an index finds no null by equality. */
export function subscriptionColumn(subscription: string | undefined): string {
  return subscription ?? '';
}
export function subscriptionOf(column: string): string | undefined {
  return column === '' ? undefined : column;
}
