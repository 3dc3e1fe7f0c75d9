/** What travels, in its three forms: as a handler sees it, as rooms hand it on, as drivers store and carry it. */

/** An event goes to many, a command to one service, a reply to the one instance that waits for it. */
export type MessageKind = 'event' | 'command' | 'reply';

/** A message's metadata as handlers see it (`ctx.message`). The wire has CloudEvents' lower-case names. */
export interface Message {
  /** Unique per source, never reused: receivers apply one message per (source, id). */
  readonly id: string;
  /** Wire type: `${name}.v${version}`. */
  readonly type: string;
  /** The service that sent it. */
  readonly source: string;
  /** When it was published. */
  readonly time: Date;
  readonly key?: string;
  readonly sequence?: bigint;
  /** The conversation: the id of the first message, carried along by everything it caused. */
  readonly correlationId: string;
  /** The id of the message whose handler published this one. */
  readonly causationId?: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** A message as publish middleware sees it, before it is encoded. */
export interface OutgoingMessage extends Message {
  readonly data: unknown;
}

/** The full metadata, as formats read and write it. */
export interface Envelope extends Message {
  readonly kind: MessageKind;
  /** The service (command) or reply address (reply) it is for; an event has none. */
  readonly recipient?: string;
  /** Past this time it is not applied any more. */
  readonly expiresAt?: Date;
  /** Where the reply to this command goes. */
  readonly replyTo?: string;
  /** The reply's key: of the saga that asked. */
  readonly replyKey?: string;
  /** How many messages caused this one, one after the other; none for the first. */
  readonly hops?: number;
  /** W3C trace context. */
  readonly traceparent?: string;
  /** On a downcast copy: the newer wire type that travels under the same id. */
  readonly downcastOf?: string;
}

/** What outboxes store and transports carry: bytes, made once, never encoded again. */
export interface WireMessage {
  readonly kind: MessageKind;
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly recipient: string | undefined;
  readonly key: string | undefined;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Everything a receiver needs to know besides the body; names are lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** An envelope and what a format made of it, or read it from. */
export function wireOf(envelope: Envelope, { headers, body }: Pick<WireMessage, 'headers' | 'body'>): WireMessage {
  return {
    kind: envelope.kind,
    id: envelope.id,
    source: envelope.source,
    type: envelope.type,
    recipient: envelope.recipient,
    key: envelope.key,
    time: envelope.time.getTime(),
    headers,
    body,
  };
}

/**
 * Limits, checked at publish and on receipt (`MESSAGE_TOO_LARGE`). The body's is below NATS' default maximum payload of
 * 1 MiB together with headers only if those are small: a driver with a smaller limit says so by itself.
 */
export const limits: Readonly<{
  bodyBytes: number;
  nesting: number;
  headers: number;
  headerBytes: number;
  idLength: number;
  keyLength: number;
}> = {
  bodyBytes: 1024 * 1024,
  nesting: 64,
  headers: 64,
  headerBytes: 8 * 1024,
  idLength: 200,
  keyLength: 500,
};

/** When a message is to leave: at a moment, or so long after it is written, by the clock of the sender's store. */
export type Later = { readonly atMs: number; readonly afterMs?: undefined } | { readonly afterMs: number; readonly atMs?: undefined };

/** The type of every reply on the wire. */
export const replyType: string = 'waybill.reply.v1';
