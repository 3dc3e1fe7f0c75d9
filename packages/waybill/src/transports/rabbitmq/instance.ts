/**
 * What is this instance's alone: a queue that lives as long as its connection, for replies, for publishers' heartbeats and
 * for what its siblings (the service's other instances) tell it. After a loss it is made again under a new name and with the same bindings; a
 * reply that came in between is lost, and the request ends by its time-out.
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import { unreachable, type AmqpChannel, type AmqpMessage } from './client.ts';
import type { Link } from './link.ts';
import { type Names, route } from './names.ts';
import type { Word } from './progress.ts';

const pauseFirstMs = 100;
const pauseMaxMs = 10_000;

export class Instance {
  readonly #options: InstanceOptions;
  readonly #bindings = new Map<string, (message: AmqpMessage) => void>();
  #channel: AmqpChannel | undefined;
  #queue = '';
  #opening: Promise<AmqpChannel> | undefined;
  #reviving = false;

  constructor(options: InstanceOptions) {
    this.#options = options;
  }

  /** From now on messages with this routing key come to `take`; `x.#` stands for all that begin with `x.`. */
  async bind(routingKey: string, take: (message: AmqpMessage) => void): Promise<void> {
    this.#bindings.set(routingKey, take);
    try {
      const channel = await this.#get();
      await channel.bindQueue(this.#queue, this.#options.names.exchange, routingKey);
    } catch (error) {
      this.#bindings.delete(routingKey);
      throw unreachable('listening', error);
    }
  }

  /** Its queue, while there is one. */
  get queue(): string | undefined {
    return this.#channel && this.#queue;
  }

  /** The exchange is a new one: nothing is bound to it. */
  async rebind(): Promise<void> {
    const channel = await this.#get();
    await this.#bindAll(channel, this.#queue);
  }

  async #bindAll(channel: AmqpChannel, queue: string): Promise<void> {
    for (const routingKey of [route.toQueue(queue), ...this.#bindings.keys()]) await channel.bindQueue(queue, this.#options.names.exchange, routingKey);
  }

  async unbind(routingKey: string): Promise<void> {
    if (!this.#bindings.delete(routingKey)) return;
    await this.#channel?.unbindQueue(this.#queue, this.#options.names.exchange, routingKey).catch(() => {}); // gone with its queue
  }

  #get(): Promise<AmqpChannel> {
    if (this.#channel) return Promise.resolve(this.#channel);
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  async #open(): Promise<AmqpChannel> {
    const { link, names, service, clock } = this.#options;
    const channel = await link.channel();
    const queue = names.instance(service, clock.id());
    channel.on('close', () => {
      if (this.#channel !== channel) return;
      this.#channel = undefined;
      void this.#revive();
    });
    // Exclusive: of this connection alone, and removed with it; such a queue is not replicated anywhere.
    await channel.assertQueue(queue, { durable: false, exclusive: true, autoDelete: true, arguments: { 'x-queue-type': 'classic' } });
    await this.#bindAll(channel, queue);
    await channel.consume(queue, (message) => message && this.#take(message), { noAck: true });
    this.#queue = queue;
    this.#channel = channel;
    return channel;
  }

  #take(message: AmqpMessage): void {
    try {
      const { routingKey } = message.fields;
      (this.#bindings.get(routingKey) ?? this.#bindings.get(`${routingKey.split('.', 1)[0]}.#`))?.(message);
    } catch (error) {
      this.#options.trouble('a reply', error);
    }
  }

  async #revive(): Promise<void> {
    if (this.#reviving) return;
    this.#reviving = true;
    const { clock, closed } = this.#options;
    for (let pauseMs = pauseFirstMs; !closed.aborted && !this.#channel; pauseMs = Math.min(pauseMs * 2, pauseMaxMs)) {
      await sleep(clock, pauseMs * (0.5 + clock.random() / 2), closed);
      if (closed.aborted) break;
      await this.#get().catch(() => {}); // the next attempt
    }
    this.#reviving = false;
  }
}

export interface InstanceOptions {
  readonly link: Link;
  readonly names: Names;
  readonly service: string;
  readonly clock: Clock;
  readonly closed: AbortSignal;
  readonly trouble: (where: string, error: unknown) => void;
}

/** What a sibling says: a subscription was removed, or how far it is with each. */
export interface Told {
  readonly removed?: unknown;
  readonly how?: unknown;
  readonly by: string;
  readonly progress?: Readonly<Record<string, Word | undefined>>;
}

/** Reads what a sibling sent; undefined when it is nothing of the kind. */
export function told(message: AmqpMessage): Told | undefined {
  try {
    const value = JSON.parse(message.content.toString('utf8')) as Partial<Told> | null;
    return typeof value === 'object' && value !== null && typeof value.by === 'string' ? (value as Told) : undefined;
  } catch {
    return undefined;
  }
}
