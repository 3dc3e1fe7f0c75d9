/**
 * Notices that somebody deleted the exchange. All bindings of all queues go with it; a publisher makes it anew, RabbitMQ takes what is
 * published and leads it nowhere, and whoever only consumes is told nothing.
 *
 * In: every two seconds a message of this instance to its own queue. Out: `lost`, when the broker returns it (the exchange is a new one, and
 * not bound) or closes the channel (there is none). A crash leaves nothing. Cost: half a message a second for each process.
 */
import type { Clock } from '../../contract/clock.ts';
import { type AmqpChannel, codeOf, replyCode } from './client.ts';
import { route } from './names.ts';

const everyMs = 2_000;

export interface EchoOptions {
  readonly clock: Clock;
  readonly exchange: string;
  /** The queue of this instance; undefined while it has none. */
  readonly queue: () => string | undefined;
  /** A channel to say it on; undefined: not now. */
  readonly voice: () => Promise<AmqpChannel> | undefined;
  /** Binds everything again. Asked for once at a time, and again with the next echo if it failed. */
  readonly lost: () => Promise<void>;
}

export class Echo {
  readonly #options: EchoOptions;
  #cancel: () => void = () => {};
  #stopped = false;
  #mending = false;

  constructor(options: EchoOptions) {
    this.#options = options;
    this.#later();
  }

  #later(): void {
    if (this.#stopped) return;
    this.#cancel = this.#options.clock.after(everyMs, () => {
      void this.#call()
        .catch(() => {}) // the broker is away: bindings outlive that
        .finally(() => this.#later());
    });
  }

  async #call(): Promise<void> {
    const { exchange, queue, voice } = this.#options;
    const [own, channel] = [queue(), await voice()];
    if (own !== undefined) channel?.publish(exchange, route.toQueue(own), Buffer.alloc(0), { mandatory: true });
  }

  /** Whatever is published on this channel goes through the exchange. */
  listen(channel: AmqpChannel): void {
    channel.on('error', (error) => codeOf(error) === replyCode.notFound && this.#mend());
    channel.on('return', ({ fields }: { fields: { routingKey: string } }) => {
      const own = this.#options.queue(); // an earlier connection's went with it
      if (own !== undefined && fields.routingKey === route.toQueue(own)) this.#mend();
    });
  }

  #mend(): void {
    if (this.#mending || this.#stopped) return;
    this.#mending = true;
    void this.#options.lost().finally(() => (this.#mending = false));
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }
}
