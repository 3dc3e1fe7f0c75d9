import type { Clock } from '../../contract/clock.ts';
import type { Delivery } from '../../contract/transport.ts';
import { type AmqpChannel, type AmqpMessage, goodbye } from './client.ts';
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
  /** Whether this is the consumer that the broker gives messages to, as far as is known. */
  active: boolean;

  constructor(queue: string, events: ReaderEvents, active: boolean) {
    this.queue = queue;
    this.#events = events;
    this.active = active;
  }

  /** @throws when the channel cannot be had, or the queue is not there */
  async open(link: Link, prefetch: number): Promise<void> {
    const channel = await link.channel();
    let closedWith: unknown;
    channel.on('error', (error) => (closedWith = error));
    channel.on('close', () => this.#closed(closedWith));
    try {
      await channel.prefetch(prefetch);
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
    if (this.state === 'closed') return;
    this.active = true;
    const read = received(message, message.fields.redelivered && this.#events.isSuspect(message));
    const entry = typeof read === 'string' ? this.#unreadable(message, read) : { ...read, ...this.#ownership(message) };
    this.#ours.push(entry);
    if (typeof read === 'string') return;
    this.buffer.push(entry);
    this.#events.came();
  }

  #ownership(message: AmqpMessage): Pick<Entry, 'message' | 'reader' | 'settled' | 'acknowledged'> {
    return { message, reader: this, settled: false, acknowledged: false };
  }

  /** No delivery: it goes to the dead-letter queue, and counts as held until it is there. */
  #unreadable(message: AmqpMessage, reason: string): Entry {
    const entry: Entry = { delivery: nothing, source: '', time: 0, ...this.#ownership(message) };
    this.held.add(entry);
    this.#events.unreadable(message, reason).then(
      () => this.settle([entry]),
      () => this.leave(), // comes again
    );
    return entry;
  }

  take(max: number): Entry[] {
    if (this.state !== 'open') return [];
    const taken = this.buffer.splice(0, max);
    for (const entry of taken) this.held.add(entry);
    return taken;
  }

  /** Acknowledges: the prefix of what is ours with one frame, what lies behind something unsettled one by one. */
  settle(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (this.held.delete(entry)) entry.settled = true;
    }
    if (this.state === 'closed') return; // they come again
    let prefix = 0;
    let last: Entry | undefined;
    for (; this.#ours[prefix]?.settled; prefix++) if (!this.#ours[prefix]!.acknowledged) last = this.#ours[prefix];
    for (const entry of this.#ours.splice(0, prefix)) entry.acknowledged = true;
    if (last) this.#ack(last, true);
    for (const entry of entries) {
      if (!entry.settled || entry.acknowledged) continue;
      entry.acknowledged = true;
      this.#ack(entry, false);
    }
    this.#leaveWhenIdle();
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
        for (const { message } of this.buffer) channel.nack(message, false, true);
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
    this.#drop('left');
    if (channel) await goodbye(channel, this.#events.clock);
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
  ended(reader: Reader, how: 'left' | 'lost' | 'broken' | 'cancelled', inHand: readonly Entry[], error: unknown): void;
}

const nothing: Delivery = { kind: 'event', headers: {}, body: new Uint8Array(), redelivered: false, suspect: false };
