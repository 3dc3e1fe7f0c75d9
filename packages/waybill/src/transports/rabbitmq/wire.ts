import { heartbeatLifeMs, heartbeatType } from '../../contract/control.ts';
import type { WireMessage } from '../../contract/message.ts';
import type { Delivery } from '../../contract/transport.ts';
import type { AmqpMessage } from './client.ts';

/**
 * A message on the wire, for whoever looks at the queue: `message_id`, `type`, `app_id` (the source), `content_type`, and
 * the headers of its format. AMQP 0-9-1 has no CloudEvents binding; the attributes are named as in the one for AMQP 1.0
 * (`cloudEvents:id`). Names that begin with `waybill-` are this transport's own.
 */
const attribute = 'cloudEvents:';
const timeHeader = 'waybill-time';
/** Where a message that was moved to a queue came from: its first routing key. */
export const routeHeader = 'waybill-route';

/** What a message needs besides routing key and body. Its headers are good until this is called again. */
export function propertiesOf({ id, source, type, time, headers }: WireMessage): object {
  const expiration = type === heartbeatType ? String(heartbeatLifeMs) : undefined; // nobody reads an old one
  return {
    persistent: true, mandatory: true, messageId: id, type, appId: source, contentType: headers['content-type'], expiration,
    headers: usualHeaders(time, headers) ?? anyHeaders(time, headers),
  }; // prettier-ignore
}

/** Headers that nearly every message has some of, and nothing else. */
const attributes: ReadonlyMap<string, string> = new Map(
  ['specversion', 'id', 'source', 'type', 'time', 'correlationid', 'causationid', 'partitionkey', 'sequence', 'traceparent', 'waybillhops'].map(
    (name) => [`ce-${name}`, attribute + name] as const,
  ),
);
const absent: readonly string[] = [...attributes.values()];

/**
 * One object for all messages: amqplib makes the headers that it is given the prototype of its own, which costs V8 as much
 * as putting the whole message into bytes (8 µs of 16) where each message brings a new one. It reads them at once, and
 * leaves out what is undefined.
 */
const usual: Record<string, string | number | undefined> = Object.fromEntries([timeHeader, ...absent].map((name) => [name, undefined]));

function usualHeaders(time: number, headers: WireMessage['headers']): object | undefined {
  for (const name of absent) usual[name] = undefined;
  usual[timeHeader] = time;
  for (const name in headers) {
    const known = attributes.get(name);
    if (known !== undefined) usual[known] = headers[name];
    else if (name !== 'content-type') return undefined;
  }
  return usual;
}

function anyHeaders(time: number, headers: WireMessage['headers']): object {
  const carried: Record<string, string | number> = { [timeHeader]: time };
  for (const name in headers) if (name !== 'content-type') carried[name.startsWith('ce-') ? attribute + name.slice(3) : name] = headers[name]!;
  return carried;
}

/** The bytes, without a copy. */
export function contentOf({ body }: WireMessage): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}

export interface Received {
  readonly delivery: Delivery;
  readonly source: string;
  /** Milliseconds since 1970. */
  readonly time: number;
}

const countHeader = 'x-delivery-count';

/** What RabbitMQ adds on the way, and what is ours. */
const added: ReadonlySet<string> = new Set([
  timeHeader, routeHeader, 'x-death', countHeader, 'x-acquired-count', 'x-opt-rabbitmq-received-time',
  'x-first-death-exchange', 'x-first-death-queue', 'x-first-death-reason',
  'x-last-death-exchange', 'x-last-death-queue', 'x-last-death-reason',
]); // prettier-ignore

/** A received message, or the reason why it cannot be one: some other program put it there. */
export function received(message: AmqpMessage, suspect: boolean): Received | string {
  const { headers: carried = {}, contentType, appId } = message.properties;
  const headers: Record<string, string> = {};
  if (typeof contentType === 'string') headers['content-type'] = contentType;
  for (const name of Object.keys(carried)) {
    if (added.has(name)) continue;
    const value = carried[name];
    const text = typeof value === 'string' ? value : isScalar(value) ? String(value) : undefined;
    if (text === undefined) return `the header ${JSON.stringify(name.slice(0, 80))} is neither text, number nor boolean`;
    headers[plainName(name)] = text;
  }
  const time = carried[timeHeader];
  return {
    delivery: {
      kind: kindOf(String(carried[routeHeader] ?? message.fields.routingKey)),
      headers,
      body: message.content,
      redelivered: message.fields.redelivered,
      deliveryCount: countOf(message),
      suspect,
    },
    source: typeof appId === 'string' ? appId : '',
    time: typeof time === 'number' ? time : 0,
  };
}

/** Quorum queues count, and say so from the second delivery on. */
function countOf({ fields, properties }: AmqpMessage): number | undefined {
  const count = properties.headers?.[countHeader];
  if (typeof count === 'number') return count;
  return fields.redelivered ? undefined : 0;
}

function isScalar(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint';
}

/** Back again, put together once: a name that is made anew for each message has to be looked up anew among all that there are. */
const plain: ReadonlyMap<string, string> = new Map([...attributes].map(([name, carried]) => [carried, name] as const));

/** The names that the AMQP 1.0 binding allows for an attribute, and HTTP's. */
function plainName(name: string): string {
  const known = plain.get(name);
  if (known !== undefined) return known;
  if (name.startsWith(attribute) || name.startsWith('cloudEvents_')) return `ce-${name.slice(attribute.length)}`;
  return name;
}

function kindOf(routingKey: string): Delivery['kind'] {
  if (routingKey.startsWith('command.')) return 'command';
  return routingKey.startsWith('reply.') ? 'reply' : 'event';
}
