/**
 * Messages as Azure carries them. CloudEvents' AMQP binding (https://github.com/cloudevents/spec, amqp-protocol-binding.md):
 * attributes are application properties with the prefix `cloudEvents_`, or `cloudEvents:` from older senders, which is read
 * too; `datacontenttype` is the content type. Our own additions begin with a capital letter, as no header of ours does.
 *
 * `subject` is the wire type, for the filters; `sessionId` a bucket of the key, which is Azure's partition key too where there is one
 * (it must be the same); senders that are not ours have their key there, if they do not say it in the attribute `partitionkey`; `messageId` says which message it is, for
 * duplicate detection where the entity has it: source, type and id, as versions of one message share an id.
 */
import { createHash } from 'node:crypto';
import type { MessageKind, WireMessage } from '../../contract/message.ts';
import type { Delivery } from '../../contract/transport.ts';
import type { AzureMessage, AzureReceived } from './client.ts';
import { sessionOf } from './names.ts';

/** Azure's limit. */
const messageIdMax = 128;

const ours = {
  kind: 'Waybill-Kind',
  source: 'Waybill-Source',
  time: 'Waybill-Time',
  released: 'Waybill-Released',
} as const;
/** What Azure, its SDKs and this transport write beside the headers. */
const notHeaders = new Set<string>([...Object.values(ours), 'Diagnostic-Id', 'DeadLetterReason', 'DeadLetterErrorDescription']);

export function toAzure(message: WireMessage): AzureMessage {
  const properties: Record<string, string> = {};
  for (const name of Object.keys(message.headers)) {
    const value = message.headers[name]!;
    if (name.startsWith('ce-')) properties[`cloudEvents_${name.slice('ce-'.length)}`] = value;
    else if (name !== 'content-type') properties[name] = value;
  }
  const { headers } = message;
  if (headers['ce-source'] === undefined) properties[ours.source] = message.source;
  if (headers['ce-time'] === undefined) properties[ours.time] = String(message.time);
  if (headers['ce-traceparent'] !== undefined) properties['Diagnostic-Id'] = headers['ce-traceparent']; // what Azure's SDKs link traces by
  const sent: AzureMessage = {
    body: message.body,
    messageId: messageIdOf(message),
    subject: message.type,
    sessionId: sessionOf(message.key ?? message.id),
    applicationProperties: properties,
  };
  if (headers['content-type'] !== undefined) sent.contentType = headers['content-type'];
  if (headers['ce-correlationid'] !== undefined) sent.correlationId = headers['ce-correlationid'];
  return sent;
}

function messageIdOf({ source, type, id }: Pick<WireMessage, 'source' | 'type' | 'id'>): string {
  const whole = `${source} ${type} ${id}`;
  return whole.length <= messageIdMax ? whole : createHash('sha256').update(whole).digest('base64url');
}

export interface Arrived {
  readonly headers: Record<string, string>;
  readonly source: string;
  /** When it was published: wall time. */
  readonly timeMs: number;
  /** Deliveries so far that nobody accounts for: a process died with it, or its lock ran out. */
  readonly unexplained: number;
  readonly released: number;
}

export function fromAzure(message: AzureReceived): Arrived {
  const headers: Record<string, string> = {};
  const properties = message.applicationProperties ?? {};
  for (const name of Object.keys(properties)) {
    if (notHeaders.has(name)) continue;
    const value = properties[name];
    if (name.startsWith('cloudEvents')) headers[`ce-${name.slice('cloudEvents_'.length).toLowerCase()}`] = textOf(name, value);
    else headers[name.toLowerCase()] = textOf(name, value);
  }
  if (message.contentType !== undefined) headers['content-type'] = message.contentType;
  const trace = properties['Diagnostic-Id'];
  if (typeof trace === 'string' && headers['ce-specversion'] !== undefined) headers['ce-traceparent'] ??= trace;
  const key = message.partitionKey ?? message.sessionId;
  if (key !== undefined && headers['ce-specversion'] !== undefined && !isOurs(message, headers)) headers['ce-partitionkey'] ??= key;
  const released = Number(properties[ours.released] ?? 0);
  return {
    headers,
    source: headers['ce-source'] ?? String(properties[ours.source] ?? ''),
    timeMs: Number(properties[ours.time] ?? Date.parse(headers['ce-time'] ?? '')) || (message.enqueuedTimeUtc?.getTime() ?? 0),
    unexplained: Math.max(0, (message.deliveryCount ?? 0) - released),
    released,
  };
}

/** Then the session is a bucket of many keys. */
function isOurs({ messageId }: AzureReceived, headers: Readonly<Record<string, string>>): boolean {
  const { 'ce-source': source = '', 'ce-type': type = '', 'ce-id': id = '' } = headers;
  return messageId === messageIdOf({ source, type, id });
}

/** A foreign sender's time may be an AMQP timestamp, which the SDK makes a number. */
function textOf(name: string, value: unknown): string {
  if (typeof value === 'number' && /^cloudEvents.time$/i.test(name)) return new Date(value).toISOString();
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'string' ? value : String(value);
}

/** With bytes of its own: the same message may be delivered again. */
export function deliveryOf(message: AzureReceived, arrived: Arrived, kind: MessageKind, flags: Pick<Delivery, 'redelivered' | 'suspect'>): Delivery {
  return { kind, headers: { ...arrived.headers }, body: bytesOf(message.body), deliveryCount: message.deliveryCount, ...flags };
}

function bytesOf(body: unknown): Uint8Array {
  if (body instanceof Uint8Array) return new Uint8Array(body);
  if (body === null || body === undefined) return new Uint8Array();
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body), 'utf8');
}

/** What an abandoned message says of itself when it comes again: that it was given back in peace. */
export function givenBack({ released }: Arrived): { [name: string]: number } {
  return { [ours.released]: released + 1 };
}
