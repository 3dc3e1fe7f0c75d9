/**
 * Messages → the exchange, confirmed. In: batches, several at once. Out: one outcome each. Guaranteed: `stored` only after
 * the broker's confirm and without a return; while a message of a key is unconfirmed, no later one of that key leaves, so
 * that one which the broker does not take is never overtaken by its own key (design: a refused message amid a window). A
 * connection that is lost leaves everything unconfirmed unknown: every batch in flight rejects, and comes again under the
 * same ids.
 *
 * A message, from `send` to its outcome:
 *
 *     queued (its key is in flight, or the window is full) ─► in flight ─┬─ ack ──────────────► stored, or unroutable (returned)
 *                  ▲                                                     ├─ nack ─ pause ─► in flight; the fourth: refused
 *                  └───── alone, one by one ◄── channel closed by one ◄──┘
 *
 * The broker closes the channel for a message that it cannot take (too large, say) and says not which: those in flight are
 * then sent alone, one after another; who closes the channel alone is refused.
 */
import type { Clock } from '../../contract/clock.ts';
import type { WaybillError } from '../../contract/errors.ts';
import type { WireMessage } from '../../contract/message.ts';
import type { SendOutcome } from '../../contract/transport.ts';
import { type AmqpChannel, codeOf, replyCode, unreachable } from './client.ts';
import type { Link } from './link.ts';
import { route } from './names.ts';
import { contentOf, propertiesOf } from './wire.ts';

/** Unconfirmed at once: beyond that only latency grows (measured: 1,000 for a quorum queue). */
const windowMax = 2_000;
/** Bytes unconfirmed at once, so that large messages do not fill the memory; one message may always go. */
const windowBytesMax = 16 * 1024 * 1024;
/** A nack: a queue is full (overflow `reject-publish`), or has lost its leader. */
const nackPausesMs = [100, 400, 1_600] as const;
/** Without any confirm for so long, though the broker is not blocked, the connection is given up. */
const silenceMs = 30_000;
/** The exchange was gone, and its bindings with it: in that time subscribers notice (see `echo.ts`). */
const bindingMs = 5_000;

/** Most chains have nothing behind: they share this. */
const noneBehind: Flight[] = [];

interface Batch {
  readonly outcomes: SendOutcome[];
  left: number;
  resolve(outcomes: readonly SendOutcome[]): void;
  reject(error: unknown): void;
}

interface Flight {
  readonly message: WireMessage;
  readonly routingKey: string;
  readonly batch: Batch;
  readonly at: number;
  nacks: number;
  returned: boolean;
}

export class Publisher {
  readonly #link: Link;
  readonly #exchange: string;
  readonly #clock: Clock;
  /** Makes sure that the exchange is there, on a connection's first channel. */
  readonly #prepare: (channel: AmqpChannel) => Promise<void>;
  #channel: AmqpChannel | undefined;
  #opening = false;
  /** Calls that have no answer yet. */
  readonly #batches = new Set<Batch>();
  /** Ready to leave, in order. */
  #ready: Flight[] = [];
  /**
   * Until everybody whose call has just been rejected has heard of it: a call made in the same moment would otherwise leave
   * on the next connection, before what it was behind.
   */
  #justFailed: WaybillError | undefined;
  /** After a nack. */
  readonly #pausing = new Set<Flight>();
  /** Chains of which one message is ready, in flight or pausing; the rest of each. */
  readonly #chains = new Map<string, Flight[]>();
  /** By delivery tag, from `#firstTag` on; undefined once confirmed. */
  #window: (Flight | undefined)[] = [];
  #firstTag = 1;
  /** So many of them, from the first one on, are confirmed. */
  #done = 0;
  #unconfirmed = 0;
  #bytes = 0;
  #full = false;
  /** To be sent one at a time, until one of them has shown itself to be the bad one or all are through. */
  readonly #alone = new Set<Flight>();
  #heardMs = 0;
  /** Queues are being bound: nothing leaves. */
  #held = false;
  #watching = false;
  /** What became of the last event of each type. */
  readonly taken: Map<string, boolean> = new Map();

  constructor(options: { link: Link; exchange: string; clock: Clock; prepare: (channel: AmqpChannel) => Promise<void> }) {
    this.#link = options.link;
    this.#exchange = options.exchange;
    this.#clock = options.clock;
    this.#prepare = options.prepare;
    this.#link.onChange.add(() => this.#pump());
  }

  send(messages: readonly WireMessage[]): Promise<readonly SendOutcome[]> {
    if (messages.length === 0) return Promise.resolve([]);
    if (this.#justFailed) return Promise.reject(this.#justFailed);
    return new Promise((resolve, reject) => {
      const batch: Batch = { outcomes: [], left: messages.length, resolve, reject };
      this.#batches.add(batch);
      messages.forEach((message, at) => this.#enqueue({ message, routingKey: route.of(message), batch, at, nacks: 0, returned: false }));
      this.#pump();
    });
  }

  /** The exchange was gone: what is sent before the queues are bound to the new one would go nowhere. */
  hold(): void {
    if (this.#held) return;
    this.#held = true;
    this.#clock.after(bindingMs, () => {
      this.#held = false;
      this.#pump();
    });
  }

  #enqueue(flight: Flight): void {
    const chain = chainOf(flight);
    const behind = this.#chains.get(chain);
    if (behind === undefined) {
      this.#chains.set(chain, noneBehind);
      this.#ready.push(flight);
    } else if (behind === noneBehind) this.#chains.set(chain, [flight]);
    else behind.push(flight);
  }

  /** Lets leave what may leave. */
  #pump(): void {
    if (this.#ready.length === 0) return;
    const channel = this.#channel;
    if (!channel) return this.#open();
    this.#link.together();
    while (this.#ready.length > 0 && this.#channel === channel && this.#mayLeave()) this.#publish(channel, this.#ready.shift()!);
  }

  #mayLeave(): boolean {
    if (this.#full || this.#held || this.#link.blocked) return false;
    if (this.#unconfirmed === 0) return true;
    return this.#alone.size === 0 && this.#unconfirmed < windowMax && this.#bytes < windowBytesMax;
  }

  #publish(channel: AmqpChannel, flight: Flight): void {
    const { message } = flight;
    try {
      // false: the socket's buffer is full; the message is in it all the same
      this.#full = !channel.publish(this.#exchange, flight.routingKey, contentOf(message), propertiesOf(message));
    } catch (error) {
      // The channel has been closed and its event comes only now, or the message cannot be put into frames.
      if (isClosed(error)) this.#closed(channel, error);
      else this.#finish(flight, { kind: 'refused', reason: textOf(error) });
      return;
    }
    flight.returned = false;
    this.#window.push(flight);
    if (this.#unconfirmed++ === 0) this.#heardMs = this.#clock.monotonic();
    this.#bytes += message.body.length;
    if (!this.#watching) this.#watch();
  }

  // --- the broker's word ------------------------------------------------------------------------------------------------

  #confirmed({ deliveryTag, multiple }: { deliveryTag: number; multiple: boolean }, how: 'ack' | 'nack'): void {
    this.#heardMs = this.#clock.monotonic();
    const end = deliveryTag - this.#firstTag;
    for (let i = multiple ? this.#done : end; i <= end; i++) {
      const flight = this.#window[i];
      if (!flight) continue;
      this.#window[i] = undefined;
      this.#unconfirmed--;
      this.#bytes -= flight.message.body.length;
      if (how === 'ack') this.#finish(flight, { kind: flight.returned ? 'unroutable' : 'stored' });
      else this.#nacked(flight);
    }
    this.#forgetConfirmed();
    this.#pump();
  }

  /** What the window begins with, a good piece at a time. */
  #forgetConfirmed(): void {
    while (this.#done < this.#window.length && !this.#window[this.#done]) this.#done++;
    if (this.#done < this.#window.length && this.#done < windowMax) return;
    this.#window.splice(0, this.#done);
    this.#firstTag += this.#done;
    this.#done = 0;
  }

  /** A return comes before the confirm of the same message, but not right before it, and names it by its properties alone. */
  #returned(returned: { fields: { routingKey: string }; properties: { messageId?: unknown } }): void {
    const { routingKey } = returned.fields;
    const id = returned.properties.messageId;
    const flight = this.#window.find((one) => one && !one.returned && one.message.id === id && one.routingKey === routingKey);
    if (flight) flight.returned = true;
  }

  #nacked(flight: Flight): void {
    const pauseMs = nackPausesMs[flight.nacks++];
    if (pauseMs === undefined) {
      return this.#finish(flight, {
        kind: 'refused',
        reason: `not taken in ${flight.nacks} attempts (basic.nack): a queue is full with overflow reject-publish, or has no leader`,
      });
    }
    this.#pausing.add(flight);
    this.#clock.after(pauseMs * (0.5 + this.#clock.random() / 2), () => {
      if (!this.#pausing.delete(flight)) return; // given up meanwhile
      this.#ready.push(flight);
      this.#pump();
    });
  }

  #finish(flight: Flight, outcome: SendOutcome): void {
    this.#alone.delete(flight);
    const { batch, message } = flight;
    if (message.kind === 'event') this.taken.set(message.type, outcome.kind === 'stored');
    const chain = chainOf(flight);
    const next = this.#chains.get(chain)?.shift();
    if (next) this.#ready.push(next);
    else this.#chains.delete(chain);
    batch.outcomes[flight.at] = outcome;
    if (--batch.left > 0) return;
    this.#batches.delete(batch);
    batch.resolve(batch.outcomes);
  }

  // --- the channel's life -----------------------------------------------------------------------------------------------

  #open(): void {
    if (this.#opening) return;
    this.#opening = true;
    void this.#openChannel().then(
      () => {
        this.#opening = false;
        this.#pump();
      },
      (error: unknown) => {
        this.#opening = false;
        this.#fail(unreachable('publishing', error));
      },
    );
  }

  async #openChannel(): Promise<void> {
    const channel = await this.#link.confirmChannel();
    let closedWith: unknown;
    let closed = false;
    channel.on('error', (error) => (closedWith = error));
    channel.on('close', () => {
      closed = true;
      this.#closed(channel, closedWith);
    });
    channel.on('ack', (fields) => this.#channel === channel && this.#confirmed(fields, 'ack'));
    channel.on('nack', (fields) => this.#channel === channel && this.#confirmed(fields, 'nack'));
    channel.on('return', (message) => this.#channel === channel && this.#returned(message));
    channel.on('drain', () => {
      this.#full = false;
      this.#pump();
    });
    await this.#prepare(channel);
    if (closed) throw new Error('the channel was closed');
    this.#channel = channel;
    this.#firstTag = 1;
  }

  #closed(channel: AmqpChannel, error: unknown): void {
    if (this.#channel !== channel) return;
    const inFlight = this.#window.filter((flight) => flight !== undefined);
    this.#channel = undefined;
    this.#forgetWindow();
    const code = codeOf(error);
    if (code === replyCode.notFound) this.hold();
    if (code !== replyCode.preconditionFailed && code !== replyCode.contentTooLarge) return this.#fail(unreachable('publishing', error));
    if (inFlight.length === 1) this.#finish(inFlight[0]!, { kind: 'refused', reason: textOf(error) });
    else for (const flight of inFlight) this.#alone.add(flight);
    this.#ready = [...this.#alone, ...this.#ready.filter((flight) => !this.#alone.has(flight))];
    this.#pump();
  }

  /** Whatever has no outcome is unknown, and nothing may leave before it: all of it comes again. */
  #fail(error: WaybillError): void {
    const batches = [...this.#batches];
    this.#forgetWindow();
    this.#ready = [];
    for (const all of [this.#batches, this.#chains, this.#alone, this.#pausing]) all.clear();
    this.#justFailed = error;
    void this.#clock.turn().then(() => (this.#justFailed = undefined));
    for (const batch of batches) batch.reject(error);
  }

  #forgetWindow(): void {
    this.#window = [];
    this.#done = 0;
    this.#unconfirmed = 0;
    this.#bytes = 0;
    this.#full = false;
  }

  /** A broker that neither confirms nor says why is cut off; the heartbeat finds a dead one sooner. */
  #watch(): void {
    this.#watching = this.#unconfirmed > 0;
    if (!this.#watching) return;
    this.#clock.after(silenceMs / 3, () => {
      const silentMs = this.#clock.monotonic() - this.#heardMs;
      if (this.#link.blocked) this.#heardMs = this.#clock.monotonic();
      else if (this.#unconfirmed > 0 && silentMs >= silenceMs) this.#link.cut();
      this.#watch();
    });
  }
}

/** Messages of one chain leave one by one. Without a key: the id, so that none is in flight twice. No key has control characters. */
function chainOf({ message: { key, id } }: Flight): string {
  return key ?? `\u0000${id}`;
}

/** amqplib, of a channel that it has closed. */
function isClosed(error: unknown): boolean {
  return error instanceof Error && error.name === 'IllegalOperationError';
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
