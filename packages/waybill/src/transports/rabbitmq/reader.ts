import type { Clock } from '../../contract/clock.ts';
import type { Delivery } from '../../contract/transport.ts';
import { type AmqpChannel, type AmqpMessage, goodbye, goodbyeHearing } from './client.ts';
import type { Link } from './link.ts';
import { type Received, received } from './wire.ts';

/** A message on this process's side: waiting to be received, or held by the inbox until settled or released. */
export interface Entry extends Omit<Received, 'delivery'> {
  delivery: Delivery;
  readonly message: AmqpMessage;
  readonly reader: Reader;
  settled: boolean;
  acknowledged: boolean;
}

/** Of the prefetch: acknowledgements that may wait for what lies before them. */
const behindPart = 1 / 2;

/**
 * One queue on one channel of its own:
 *
 *     opening ─► open ─leave─► leaving ─(nothing held)─► closed
 *                  └──── channel lost, queue gone ────────┘
 *
 * A channel of its own, because closing it is the one way to give back everything at once and in its order: with a
 * single active consumer the next instance then goes on where this one stopped.
 */
export class Reader {
  readonly queue: string;
  readonly #events: ReaderEvents;
  #channel: AmqpChannel | undefined;
  #tag: string | undefined;
  #sharing = false;
  state: 'opening' | 'open' | 'leaving' | 'closed' = 'opening';
  /** Not handed out yet, in the queue's order. */
  buffer: Entry[] = [];
  /** Handed out. */
  readonly held: Set<Entry> = new Set();
  /** Everything that the broker counts as ours, in the order of its tags. */
  #ours: Entry[] = [];
  /** Settled behind something that is not, and not acknowledged yet: at most so many. */
  #behind = 0;
  #behindMax = 0;
  /** Of what is ours and not settled. */
  #bytes = 0;
  #bytesMax = Infinity;
  /** Whether this is the consumer that the broker gives messages to, as far as is known. */
  active: boolean;

  constructor(queue: string, events: ReaderEvents, active: boolean) {
    this.queue = queue;
    this.#events = events;
    this.active = active;
  }

  /** @throws when the channel cannot be had, or the queue is not there */
  async open(link: Link, { prefetch, bytesMax }: { prefetch: number; bytesMax: number }): Promise<void> {
    const channel = await link.channel();
    let closedWith: unknown;
    channel.on('error', (error) => (closedWith = error));
    channel.on('close', () => this.#closed(closedWith));
    try {
      await channel.prefetch(prefetch);
      this.#behindMax = Math.floor(prefetch * behindPart);
      this.#bytesMax = bytesMax;
      this.#channel = channel;
      this.state = 'open';
      this.#tag = (await channel.consume(this.queue, (message) => this.#take(message), { noAck: false })).consumerTag;
    } catch (error) {
      this.state = 'closed';
      await goodbye(channel, this.#events.clock);
      throw error;
    }
  }

  get idle(): boolean {
    return this.buffer.length === 0 && this.held.size === 0;
  }

  #take(message: AmqpMessage | null): void {
    if (message === null) {
      // The queue was deleted, or its node went away. Nothing more comes on this channel.
      this.#drop('cancelled');
      return;
    }
    if (this.state === 'closed') return this.#late(message);
    this.active = true;
    const read = received(message, message.fields.redelivered && this.#events.isSuspect(message));
    const entry: Entry =
      typeof read === 'string'
        ? this.#unreadable(message, read)
        : { delivery: read.delivery, source: read.source, time: read.time, message, reader: this, settled: false, acknowledged: false };
    this.#ours.push(entry);
    this.#bytes += message.content.length;
    if (typeof read === 'string') return;
    this.buffer.push(entry);
    this.#events.came();
    const count = this.buffer.length + this.held.size;
    if (this.#bytes > this.#bytesMax && count > 1 && this.state === 'open') this.#events.heavy(this, this.#bytes / count);
  }

  /** It was on its way when this reader was closed: it comes again. */
  #late(message: AmqpMessage): void {
    const read = received(message, message.fields.redelivered && this.#events.isSuspect(message));
    if (typeof read === 'string') return;
    this.#events.remember([{ delivery: read.delivery, source: read.source, time: read.time, message, reader: this, settled: false, acknowledged: false }]);
  }

  /** No delivery: it goes to the dead-letter queue, and counts as held until it is there. */
  #unreadable(message: AmqpMessage, reason: string): Entry {
    const entry: Entry = { delivery: nothing, source: '', time: 0, message, reader: this, settled: false, acknowledged: false };
    this.held.add(entry);
    this.#events.unreadable(message, reason).then(
      () => this.settle([entry]),
      () => this.leave(), // comes again
    );
    return entry;
  }

  /** Up to `max`, or as many as have `bytesMax` together. */
  take(max: number, bytesMax: number = Infinity): Entry[] {
    if (this.state !== 'open') return [];
    let [count, bytes] = [0, 0];
    while (count < max && count < this.buffer.length && bytes < bytesMax) bytes += this.buffer[count++]!.message.content.length;
    const taken = this.buffer.splice(0, count);
    for (const entry of taken) this.held.add(entry);
    return taken;
  }

  /**
   * Acknowledges the prefix of what is ours with one frame. What lies behind something unsettled waits to be part of it: a
   * frame each costs the broker several times as much as all the rest of a message. Until it is a good part of the
   * prefetch, or the reader is closed: then one by one. Whoever dies before gets it again, and the inbox knows it.
   */
  settle(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (!this.held.delete(entry)) continue;
      entry.settled = true;
      this.#behind++;
      this.#bytes -= entry.message.content.length;
    }
    if (this.state === 'closed') return; // they come again
    let prefix = 0;
    let last: Entry | undefined;
    for (; this.#ours[prefix]?.settled; prefix++) {
      const entry = this.#ours[prefix]!;
      if (entry.acknowledged) continue;
      entry.acknowledged = true;
      this.#behind--;
      last = entry;
    }
    this.#ours.splice(0, prefix);
    if (last) this.#ack(last, true);
    if (this.#behind > this.#behindMax) this.#acknowledgeAll();
    this.#leaveWhenIdle();
  }

  #acknowledgeAll(): void {
    for (const entry of this.#ours) {
      if (!entry.settled || entry.acknowledged) continue;
      entry.acknowledged = true;
      this.#ack(entry, false);
    }
    this.#behind = 0;
  }

  #ack({ message }: Entry, allUpTo: boolean): void {
    try {
      this.#channel?.ack(message, allUpTo);
    } catch {
      // The channel is being closed: they come again, and the inbox knows them.
    }
  }

  /** Back into the buffer, each at its place; not to the broker, which would put them behind others. */
  release(entries: readonly Entry[]): void {
    if (this.state === 'closed') return; // they come again
    for (const entry of entries) {
      if (!this.held.delete(entry)) continue;
      entry.delivery = { ...entry.delivery, redelivered: true };
      this.buffer.push(entry);
    }
    this.buffer.sort((a, b) => a.message.fields.deliveryTag - b.message.fields.deliveryTag);
    this.#leaveWhenIdle();
  }

  /** Gives the queue up: hands out nothing more; once nothing is held the rest goes back, in order. */
  leave(): void {
    if (this.state === 'open') this.state = 'leaving';
    this.#leaveWhenIdle();
  }

  /** The same where others may go on beside what is held: what is not handed out goes back at once, each to its place. */
  share(): void {
    if (this.state !== 'open' || this.#tag === undefined) return;
    this.state = 'leaving';
    this.#sharing = true;
    const channel = this.#channel!;
    channel.cancel(this.#tag).then(
      () => {
        for (const { message } of this.buffer) {
          channel.nack(message, false, true);
          this.#bytes -= message.content.length;
        }
        this.#events.remember(this.buffer);
        this.#ours = this.#ours.filter((entry) => !this.buffer.includes(entry));
        this.buffer = [];
        this.#sharing = false;
        this.#leaveWhenIdle();
      },
      () => {}, // the channel is closed: everything goes back
    );
  }

  #leaveWhenIdle(): void {
    if (this.state === 'leaving' && this.held.size === 0 && !this.#sharing) void this.close();
  }

  /** Now, whatever is held: it comes again. */
  async close(): Promise<void> {
    if (this.state === 'closed') return;
    const channel = this.#channel;
    this.#acknowledgeAll();
    this.#drop('left');
    if (channel) await goodbyeHearing(channel, this.#events.clock);
  }

  #closed(error: unknown): void {
    this.#drop(error === undefined ? 'lost' : 'broken', error);
  }

  #drop(how: 'left' | 'lost' | 'broken' | 'cancelled', error?: unknown): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    const inHand = this.#ours.filter((entry) => !entry.settled);
    this.#ours = [];
    this.buffer = [];
    this.held.clear();
    if (how === 'cancelled' && this.#channel) void goodbye(this.#channel, this.#events.clock);
    this.#events.ended(this, how, inHand, error);
  }
}

export interface ReaderEvents {
  readonly clock: Clock;
  came(): void;
  /** In hand of this process, and given back. */
  remember(entries: readonly Entry[]): void;
  /** Of a redelivered message: whether it may have been in flight when a process died. */
  isSuspect(message: AmqpMessage): boolean;
  unreadable(message: AmqpMessage, reason: string): Promise<void>;
  /** More bytes are in hand than may be, so many per message. */
  heavy(reader: Reader, eachBytes: number): void;
  ended(reader: Reader, how: 'left' | 'lost' | 'broken' | 'cancelled', inHand: readonly Entry[], error: unknown): void;
}

const nothing: Delivery = { kind: 'event', headers: {}, body: new Uint8Array(), redelivered: false, suspect: false };
