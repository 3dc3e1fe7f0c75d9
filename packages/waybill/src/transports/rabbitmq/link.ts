import type { Clock } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import { type AmqpChannel, type AmqpConnection, type Dial, goodbye, unreachable } from './client.ts';

/** After a failed attempt the next one waits this long, doubled each time, jittered by half. */
const pauseFirstMs = 100;
const pauseMaxMs = 5_000;
/** For an attempt that neither succeeds nor fails. */
const dialMs = 15_000;

/**
 * One connection to the broker, made when somebody needs it and made again when it was lost:
 *
 *     down ─get─► dialling ─► up ─lost─► down … ─close─► closed
 *
 * There is no loop here: whoever needs the broker asks again, at a pace of its own (the relay's, the worker's). Between
 * two attempts of one process lies a pause, within which asking fails at once.
 */
export class Link {
  readonly #dial: Dial;
  readonly #clock: Clock;
  #connection: AmqpConnection | undefined;
  #dialling: Promise<AmqpConnection> | undefined;
  #closed = false;
  #failures = 0;
  #notBeforeMs = 0;
  #lastError: unknown;
  #corked = false;
  /** Asked for again while it was corked. */
  #corkAgain = false;
  /** The broker takes no publishes now (an alarm: memory or disk). */
  blocked = false;
  /** Called when a connection is lost or closed, and when the broker blocks or unblocks. */
  readonly onChange: Set<() => void> = new Set();

  constructor(dial: Dial, clock: Clock) {
    this.#dial = dial;
    this.#clock = clock;
  }

  get up(): boolean {
    return this.#connection !== undefined;
  }

  /** Of the broker, as it says; undefined while there is no connection. */
  get version(): string | undefined {
    const version = this.#connection?.connection?.serverProperties?.version;
    return typeof version === 'string' ? version : undefined;
  }

  /** @throws WaybillError `TRANSPORT_UNREACHABLE`, `TRANSPORT_DENIED`, `STOPPED` */
  get(): Promise<AmqpConnection> {
    if (this.#closed) return Promise.reject(stopped());
    if (this.#connection) return Promise.resolve(this.#connection);
    if (this.#dialling) return this.#dialling;
    if (this.#clock.monotonic() < this.#notBeforeMs) return Promise.reject(unreachable('tried just now', this.#lastError));
    this.#dialling = this.#attempt().finally(() => {
      this.#dialling = undefined;
    });
    return this.#dialling;
  }

  async channel(): Promise<AmqpChannel> {
    return open(await this.get(), 'createChannel');
  }

  async confirmChannel(): Promise<AmqpChannel> {
    return open(await this.get(), 'createConfirmChannel');
  }

  async #attempt(): Promise<AmqpConnection> {
    let connection: AmqpConnection;
    try {
      connection = await this.#dialInTime();
    } catch (error) {
      const pauseMs = Math.min(pauseMaxMs, pauseFirstMs * 2 ** this.#failures++);
      this.#notBeforeMs = this.#clock.monotonic() + pauseMs * (0.5 + this.#clock.random() / 2);
      this.#lastError = unreachable('connecting', error);
      throw this.#lastError;
    }
    if (this.#closed) {
      await connection.close().catch(() => {});
      throw stopped();
    }
    this.#failures = 0;
    this.#connection = connection;
    return connection;
  }

  #dialInTime(): Promise<AmqpConnection> {
    return new Promise((resolve, reject) => {
      let late = false;
      const cancel = this.#clock.after(dialMs, () => {
        late = true;
        reject(new Error(`no answer within ${dialMs} ms`));
      });
      this.#dial().then(
        (opened) => {
          const connection = opened as AmqpConnection;
          this.#watch(connection); // at once: an error event that nobody hears ends the process
          cancel();
          if (late) void connection.close().catch(() => {});
          else resolve(connection);
        },
        (error: unknown) => {
          cancel();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }

  #watch(connection: AmqpConnection): void {
    const lost = (): void => {
      if (this.#connection !== connection) return;
      this.#connection = undefined;
      this.blocked = false;
      this.#changed();
    };
    const blocked = (is: boolean) => (): void => {
      if (this.#connection !== connection) return;
      this.blocked = is;
      this.#changed();
    };
    connection.connection?.stream?.prependListener?.('drain', () => this.together()); // before amqplib goes on writing
    connection.on('error', lost); // followed by 'close'
    connection.on('close', lost);
    connection.on('blocked', blocked(true));
    connection.on('unblocked', blocked(false));
  }

  #changed(): void {
    for (const listener of this.onChange) listener();
  }

  /**
   * What is written until the next turn of the event loop but one leaves with one system call: amqplib hands each message to
   * the socket by itself, from the next turn on. Who asks again meanwhile gets two turns of its own.
   */
  together(): void {
    const stream = this.#connection?.connection?.stream;
    if (!stream?.cork) return;
    if (this.#corked) {
      this.#corkAgain = true;
      return;
    }
    this.#corked = true;
    stream.cork();
    void this.#clock.turn().then(() => this.#clock.turn()).then(() => {
      this.#corked = false;
      stream.uncork?.();
      if (!this.#corkAgain) return;
      this.#corkAgain = false;
      this.together();
    });
  }

  /** Cuts the connection without a goodbye: it does not answer, or a test wants the process dead. */
  cut(): void {
    // With an error: amqplib hears of no other end.
    this.#connection?.connection?.stream?.destroy(new Error('cut off'));
  }

  async close(): Promise<void> {
    this.#closed = true;
    const connection = this.#connection ?? (await this.#dialling?.catch(() => undefined));
    this.#connection = undefined;
    this.#changed();
    if (!connection) return;
    await goodbye(connection, this.#clock);
    connection.connection?.stream?.destroy();
  }
}

async function open(connection: AmqpConnection, how: 'createChannel' | 'createConfirmChannel'): Promise<AmqpChannel> {
  try {
    const channel = await connection[how]();
    channel.on('error', () => {}); // 'close' follows; whoever waits for a reply is told
    return channel;
  } catch (error) {
    throw unreachable('opening a channel', error);
  }
}

export function stopped(): WaybillError {
  return new WaybillError('STOPPED', 'RabbitMQ transport: this session was closed');
}
