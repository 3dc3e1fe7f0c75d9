import { type Clock, sleep } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';

/** What is used of amqplib 2: structurally, so that nothing of it is named in our declarations. */
export interface AmqpConnection {
  createChannel(): Promise<AmqpChannel>;
  createConfirmChannel(): Promise<AmqpChannel>;
  close(): Promise<void>;
  on(event: string, listener: (detail?: any) => void): unknown;
  /** The socket, to cut a connection that does not answer; what the broker says of itself. */
  readonly connection?: { readonly serverProperties?: { readonly version?: unknown }; readonly stream?: { destroy(error?: Error): unknown; cork?(): void; uncork?(): void; prependListener?(event: 'drain', listener: () => void): unknown } };
}

export interface AmqpChannel {
  close(): Promise<void>;
  on(event: string, listener: (detail?: any) => void): unknown;
  assertExchange(exchange: string, type: string, options?: object): Promise<unknown>;
  checkExchange(exchange: string): Promise<unknown>;
  assertQueue(queue: string, options?: object): Promise<AmqpQueue>;
  checkQueue(queue: string): Promise<AmqpQueue>;
  deleteQueue(queue: string): Promise<unknown>;
  bindQueue(queue: string, exchange: string, pattern: string): Promise<unknown>;
  unbindQueue(queue: string, exchange: string, pattern: string): Promise<unknown>;
  prefetch(count: number): Promise<unknown>;
  consume(queue: string, onMessage: (message: AmqpMessage | null) => void, options?: object): Promise<{ consumerTag: string }>;
  ack(message: AmqpMessage, allUpTo?: boolean): void;
  nack(message: AmqpMessage, allUpTo?: boolean, requeue?: boolean): void;
  cancel(consumerTag: string): Promise<unknown>;
  publish(exchange: string, routingKey: string, content: Buffer, options?: object): boolean;
  /** On a confirm channel. */
  waitForConfirms(): Promise<void>;
  removeListener(event: string, listener: () => void): unknown;
  /** amqplib's own, since its first version: where each frame of the channel goes, and the parts of messages. */
  accept?(frame: AmqpFrame): void;
  acceptMessageFrame?(frame: AmqpFrame): void;
}

interface AmqpFrame {
  readonly id: number | undefined;
}

export interface AmqpQueue {
  readonly messageCount: number;
  readonly consumerCount: number;
}

export interface AmqpMessage {
  readonly content: Buffer;
  readonly fields: {
    readonly deliveryTag: number;
    readonly redelivered: boolean;
    readonly exchange: string;
    readonly routingKey: string;
  };
  readonly properties: {
    readonly messageId?: unknown;
    readonly appId?: unknown;
    readonly type?: unknown;
    readonly contentType?: unknown;
    readonly headers?: Readonly<Record<string, unknown>> | undefined;
  };
}

/** Opens a connection with the user's own amqplib: for bundled programs, and for what a URL cannot say. */
export type Dial = () => Promise<unknown>;

/** TLS as `tls.connect` takes it. */
export interface TlsOptions {
  /** Certificates of the authorities that sign the broker's. */
  readonly ca?: string | Uint8Array | readonly (string | Uint8Array)[];
  /** This client's certificate and key, for mutual TLS. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  readonly pfx?: string | Uint8Array;
  readonly passphrase?: string;
  /** The name that the broker's certificate must bear, where it is not the URL's host. */
  readonly servername?: string;
}

/** A peer that is silent for two of these is gone; said by client and server alike. */
const heartbeatSeconds = 10;
const handshakeMs = 10_000;

/** Connections by URL, with amqplib loaded when the first is opened; each attempt takes the next URL. */
export function dialUrls(urls: readonly string[], options: { tls?: TlsOptions | undefined; auth?: 'external' | undefined }): Dial {
  let attempt = 0;
  return async () => {
    const { connect } = await loadAmqplib();
    const url = new URL(urls[attempt++ % urls.length]!);
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', `${heartbeatSeconds}`);
    // With an empty path amqplib takes the virtual host for "/", as RabbitMQ's URI specification lets it.
    return connect(url.href, {
      noDelay: true, // with Nagle's algorithm a get and its ack took 40 ms each
      keepAlive: true,
      timeout: handshakeMs,
      ...options.tls,
      ...(options.auth === 'external' && { credentials: { mechanism: 'EXTERNAL', response: () => Buffer.from('') } }),
    });
  };
}

async function loadAmqplib(): Promise<{ connect(url: string, options: object): Promise<unknown> }> {
  try {
    const amqplib = (await import('amqplib')) as { default?: unknown };
    return (amqplib.default ?? amqplib) as never;
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new WaybillError('DRIVER_MISSING', 'RabbitMQ needs the package amqplib: npm install amqplib', { cause });
  }
}

/** A broker that is frozen or cut off answers no goodbye. */
const goodbyeMs = 2_000;

/** Closes a channel or connection, without an error and without waiting for ever. */
export async function goodbye(closable: { close(): Promise<void> }, clock: Clock): Promise<void> {
  const late = new AbortController();
  await Promise.race([closable.close().catch(() => {}), sleep(clock, goodbyeMs, late.signal)]);
  late.abort();
}

/** AMQP 0-9-1: basic.deliver, the properties behind it; the bytes have none. */
const parts: ReadonlySet<number | undefined> = new Set([(60 << 16) | 60, 60, undefined]);

/**
 * The same, and what the broker had sent before it heard of it still comes to whoever consumes: amqplib drops it, and nobody
 * would know that this process, which lives, had it when it comes again.
 */
export function goodbyeHearing(channel: AmqpChannel, clock: Clock): Promise<void> {
  const over = goodbye(channel, clock);
  const { accept, acceptMessageFrame } = channel;
  if (accept && acceptMessageFrame) channel.accept = (frame) => (parts.has(frame.id) ? acceptMessageFrame : accept).call(channel, frame);
  return over;
}

/** An error of the client as ours. Its text may hold an address, never a password. */
export function unreachable(what: string, cause: unknown): WaybillError {
  if (WaybillError.is(cause)) return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  if (isDenied(cause)) {
    return new WaybillError('TRANSPORT_DENIED', `RabbitMQ refuses this user (${what}: ${text}); see the permissions in docs/rabbitmq.md`, { cause });
  }
  return new WaybillError('TRANSPORT_UNREACHABLE', `RabbitMQ cannot be reached now (${what}: ${text || 'connection lost'})`, { cause });
}

/** AMQP 0-9-1 §1.8, constants: reply codes that a channel or connection is closed with. */
export const replyCode = { contentTooLarge: 311, accessRefused: 403, notFound: 404, locked: 405, preconditionFailed: 406 } as const;

export function codeOf(error: unknown): number | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'number' ? code : undefined;
}

/** Wrong password, or no permission. In the handshake amqplib gives the code in its text alone. */
function isDenied(error: unknown): boolean {
  if (codeOf(error) === replyCode.accessRefused) return true;
  // … and of a virtual host that is not there, or not for this user, only that it was not opened.
  return error instanceof Error && /^(Handshake terminated by server: (403|530) |Expected ConnectionOpenOk; got <ConnectionClose )/.test(error.message);
}
