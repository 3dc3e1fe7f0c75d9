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
    ...envelope.headers,
    'ce-specversion': '1.0',
    'ce-id': envelope.id,
    'ce-source': envelope.source,
    'ce-type': envelope.type,
    'ce-time': envelope.time.toISOString(),
    'ce-correlationid': envelope.correlationId,
    'content-type': 'application/json',
  };
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
  optional('ce-waybillexpires', envelope.expiresAt?.toISOString());
  optional('ce-waybilldowncastof', envelope.downcastOf);
  return { headers, body: Buffer.from(json, 'utf8') };
}

function decode(headers: Readonly<Record<string, string>>, body: Uint8Array): { envelope: Envelope; json: string } {
  const attribute = (name: string): string | undefined => headers[`ce-${name}`];
  const required = (name: string): string => {
    const value = attribute(name);
    if (typeof value === 'string' && value !== '') return value;
    throw new WaybillError('MESSAGE_UNDECODABLE', `no CloudEvent: the attribute "${name}" is missing`);
  };
  const moment = (name: string, value: string): Date => {
    const date = new Date(value);
    if (!Number.isNaN(date.getTime())) return date;
    throw new WaybillError('MESSAGE_UNDECODABLE', `the attribute "${name}" is no time: ${JSON.stringify(value.slice(0, 40))}`);
  };
  if (!required('specversion').startsWith('1.')) {
    throw new WaybillError('MESSAGE_UNDECODABLE', `CloudEvents ${headers['ce-specversion']?.slice(0, 20)} is not known, 1.0 is`);
  }
  const id = required('id');
  const kind = attribute('waybillkind') ?? 'event';
  if (kind !== 'event' && kind !== 'command' && kind !== 'reply') {
    throw new WaybillError('MESSAGE_UNDECODABLE', `neither event, command nor reply: ${JSON.stringify(kind.slice(0, 20))}`);
  }
  const sequence = attribute('sequence');
  if (sequence !== undefined && !/^-?\d{1,19}$/.test(sequence)) {
    throw new WaybillError('MESSAGE_UNDECODABLE', `"sequence" is no whole number: ${JSON.stringify(sequence.slice(0, 40))}`);
  }
  const time = attribute('time');
  const expires = attribute('waybillexpires');
  const optional = <K extends string>(name: K, value: string | undefined): { [P in K]?: string } =>
    (value === undefined ? {} : { [name]: value }) as { [P in K]?: string };
  const envelope: Envelope = {
    kind: kind as MessageKind,
    id,
    source: required('source'),
    type: required('type'),
    time: time === undefined ? new Date(0) : moment('time', time),
    correlationId: attribute('correlationid') ?? id,
    headers: ownHeaders(headers),
    ...optional('causationId', attribute('causationid')),
    ...optional('key', attribute('partitionkey')),
    ...(sequence === undefined ? {} : { sequence: BigInt(sequence) }),
    ...optional('traceparent', attribute('traceparent')),
    ...optional('recipient', attribute('waybillto')),
    ...optional('replyTo', attribute('waybillreplyto')),
    ...(expires === undefined ? {} : { expiresAt: moment('waybillexpires', expires) }),
    ...optional('downcastOf', attribute('waybilldowncastof')),
  };
  try {
    return { envelope, json: text.decode(body) };
  } catch (cause) {
    throw new WaybillError('MESSAGE_UNDECODABLE', 'the body is no UTF-8', { cause });
  }
}

/** The user's headers: all but ours, on an object without prototype. */
function ownHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const own = Object.create(null) as Record<string, string>;
  for (const name of Object.keys(headers)) {
    if (!name.startsWith('ce-') && name !== 'content-type') own[name] = headers[name]!;
  }
  return own;
}
