import { WaybillError } from '../contract/errors.ts';
import type { Format } from '../contract/format.ts';
import type { Envelope, MessageKind } from '../contract/message.ts';

/**
 * CloudEvents 1.0 (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md) in binary mode: attributes are
 * headers with the prefix `ce-`, the body is the data as JSON. `partitionkey`, `sequence` and `traceparent` are its
 * documented extensions; names that begin with `waybill` are ours. A transport with another prefix in its binding
 * (AMQP: `cloudEvents:`) renames on its own.
 */
export const cloudEvents: Format = { name: 'cloudevents', encode, decode };

const text = new TextDecoder('utf-8', { fatal: true });

function encode(envelope: Envelope, json: string): { headers: Record<string, string>; body: Uint8Array } {
  const headers: Record<string, string> = {
    'ce-specversion': '1.0',
    'ce-id': envelope.id,
    'ce-source': envelope.source,
    'ce-type': envelope.type,
    'ce-time': textOf(envelope.time),
    'ce-correlationid': envelope.correlationId,
    'content-type': 'application/json',
  };
  for (const name of Object.keys(envelope.headers)) {
    if (!Object.hasOwn(headers, name)) headers[name] = envelope.headers[name]!; // ours stand first, and stand
  }
  if (envelope.kind !== 'event') headers['ce-waybillkind'] = envelope.kind;
  const optional = (name: string, value: string | undefined): void => {
    if (value !== undefined) headers[name] = value;
  };
  optional('ce-causationid', envelope.causationId);
  optional('ce-partitionkey', envelope.key);
  optional('ce-sequence', envelope.sequence?.toString());
  optional('ce-traceparent', envelope.traceparent);
  optional('ce-waybillto', envelope.recipient);
  optional('ce-waybillreplyto', envelope.replyTo);
  optional('ce-waybillreplykey', envelope.replyKey);
  optional('ce-waybillhops', envelope.hops?.toString());
  if (envelope.expiresAt !== undefined) headers['ce-waybillexpires'] = envelope.expiresAt.toISOString();
  optional('ce-waybilldowncastof', envelope.downcastOf);
  return { headers, body: Buffer.from(json, 'utf8') };
}

function decode(headers: Readonly<Record<string, string>>, body: Uint8Array): { envelope: Envelope; json: string } {
  if (!required(headers, 'ce-specversion').startsWith('1.')) {
    throw undecodable(`CloudEvents ${headers['ce-specversion']?.slice(0, 20)} is not known, 1.0 is`);
  }
  const id = required(headers, 'ce-id');
  const kind = headers['ce-waybillkind'] ?? 'event';
  if (kind !== 'event' && kind !== 'command' && kind !== 'reply') {
    throw undecodable(`neither event, command nor reply: ${JSON.stringify(String(kind).slice(0, 20))}`);
  }
  const time = headers['ce-time'];
  const envelope: Writable<Envelope> = {
    kind: kind as MessageKind,
    id,
    source: required(headers, 'ce-source'),
    type: required(headers, 'ce-type'),
    time: time === undefined ? new Date(0) : moment('time', time),
    correlationId: headers['ce-correlationid'] ?? id,
    headers: ownHeaders(headers),
  };
  // One by one: this runs once per message, and most of them are absent.
  const causationId = headers['ce-causationid'];
  if (causationId !== undefined) envelope.causationId = causationId;
  const key = headers['ce-partitionkey'];
  if (key !== undefined) envelope.key = key;
  const sequence = headers['ce-sequence'];
  if (sequence !== undefined) envelope.sequence = wholeNumber(sequence);
  const traceparent = headers['ce-traceparent'];
  if (traceparent !== undefined) envelope.traceparent = traceparent;
  const recipient = headers['ce-waybillto'];
  if (recipient !== undefined) envelope.recipient = recipient;
  const replyTo = headers['ce-waybillreplyto'];
  if (replyTo !== undefined) envelope.replyTo = replyTo;
  const replyKey = headers['ce-waybillreplykey'];
  if (replyKey !== undefined) envelope.replyKey = replyKey;
  const expires = headers['ce-waybillexpires'];
  if (expires !== undefined) envelope.expiresAt = moment('waybillexpires', expires);
  const hops = headers['ce-waybillhops'];
  if (hops !== undefined) envelope.hops = count('waybillhops', hops);
  const downcastOf = headers['ce-waybilldowncastof'];
  if (downcastOf !== undefined) envelope.downcastOf = downcastOf;
  try {
    return { envelope, json: text.decode(body) };
  } catch (cause) {
    throw undecodable('the body is no UTF-8', cause);
  }
}

/** A busy service writes many messages in one millisecond, and reads many of one: the last time of either is kept. */
let written = { ms: 0, text: new Date(0).toISOString() };
let read = written;

function textOf(time: Date): string {
  const ms = time.getTime();
  if (ms !== written.ms) written = { ms, text: time.toISOString() };
  return written.text;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function undecodable(why: string, cause?: unknown): WaybillError {
  return new WaybillError('MESSAGE_UNDECODABLE', why, cause === undefined ? undefined : { cause });
}

function required(headers: Readonly<Record<string, string>>, name: string): string {
  const value: unknown = headers[name];
  if (typeof value === 'string' && value !== '') return value;
  throw undecodable(`no CloudEvent: the attribute "${name.slice('ce-'.length)}" is missing`);
}

function moment(name: string, value: string): Date {
  if (value === read.text) return new Date(read.ms);
  const date = new Date(value);
  const ms = date.getTime();
  if (!Number.isNaN(ms)) {
    read = { ms, text: value };
    return date;
  }
  throw undecodable(`the attribute "${name}" is no time: ${JSON.stringify(String(value).slice(0, 40))}`);
}

function count(name: string, value: string): number {
  if (/^\d{1,9}$/.test(value)) return Number(value);
  throw undecodable(`the attribute "${name}" is no number: ${JSON.stringify(String(value).slice(0, 40))}`);
}

function wholeNumber(value: string): bigint {
  if (/^-?\d{1,19}$/.test(value)) return BigInt(value);
  throw undecodable(`"sequence" is no whole number: ${JSON.stringify(String(value).slice(0, 40))}`);
}

/** The user's headers: all but ours, on an object without prototype; most messages have none, and share one. */
function ownHeaders(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  let own: Record<string, string> | undefined;
  for (const name of Object.keys(headers)) {
    if (!name.startsWith('ce-') && name !== 'content-type') (own ??= Object.create(null) as Record<string, string>)[name] = headers[name]!;
  }
  return own ?? none;
}
const none = Object.freeze(Object.create(null) as Record<string, string>);
