import { sleep } from '../../contract/clock.ts';
import type { WireMessage } from '../../contract/message.ts';
import type { Consumer, Declaration, Delivery, ReplyInbox, SendOutcome, TransportCapabilities, TransportHost, TransportSession } from '../../contract/transport.ts';
import type { Finding } from '../../contract/doctor.ts';
import { type AmqpChannel, type AmqpMessage, type Dial, goodbye, unreachable } from './client.ts';
import { QueueConsumer } from './consumer.ts';
import { bindAgain } from './bind-again.ts';
import { Echo } from './echo.ts';
import { examine } from './examine.ts';
import { Instance, told } from './instance.ts';
import { Link, stopped } from './link.ts';
import { publishAll } from './move.ts';
import { createNames, type Names, partitionsAtOnce, route } from './names.ts';
import type { Word } from './progress.ts';
import { Publisher } from './publisher.ts';
import { Recollection } from './recollection.ts';
import { Topology } from './topology.ts';
import { received } from './wire.ts';

/** A removal looks this often whether everything has been applied. */
const pollMs = 100;
/** Siblings that did not hear are told again. */
const tellMs = 2_000;
/** How often an instance says how far its subscriptions are. */
const wordMs = 1_000;
/** `send` calls of the relay in flight at once. */
const sendsMax = 4;

export interface SessionOptions {
  readonly dial: Dial;
  readonly system: string;
  readonly queueType: 'quorum' | 'classic';
  readonly prefetch: number | undefined;
  readonly settleMs: number;
}

/**
 * One bus at the broker, over two connections: a broker in alarm stops reading from whoever publishes, and consuming must
 * go on then. Rejects where the broker is away; what is asked later connects again.
 */
export async function connect(options: SessionOptions, host: TransportHost): Promise<TransportSession> {
  const session = new Session(options, host);
  try {
    await session.open();
  } catch (error) {
    await session.close();
    throw error;
  }
  return session;
}

export class Session implements TransportSession {
  readonly capabilities: TransportCapabilities = { publishesAtCommit: false, sendsMax };
  readonly #options: SessionOptions;
  readonly #host: TransportHost;
  readonly #names: Names;
  readonly #publishing: Link;
  readonly #consuming: Link;
  readonly #topology: Topology;
  readonly #publisher: Publisher;
  readonly #instance: Instance;
  readonly #echo: Echo;
  readonly #recollection = new Recollection();
  readonly #declared = new Map<string, Declaration>();
  readonly #consumers = new Set<QueueConsumer>();
  readonly #inboxes = new Set<ReplyInbox>();
  readonly #closed = new AbortController();

  constructor(options: SessionOptions, host: TransportHost) {
    const { service, clock } = host;
    this.#options = options;
    this.#host = host;
    this.#id = clock.id();
    this.#names = createNames(options.system);
    this.#publishing = new Link(options.dial, clock);
    this.#consuming = new Link(options.dial, clock);
    const shared = { names: this.#names, service, clock, closed: this.#closed.signal };
    this.#topology = new Topology({
      ...shared,
      link: this.#consuming,
      queueType: options.queueType,
      mode: host.migrate,
      settleMs: options.settleMs,
    });
    this.#publisher = new Publisher({
      link: this.#publishing,
      exchange: this.#names.exchange,
      clock,
      prepare: (channel) => this.#topology.exchange(channel),
    });
    this.#instance = new Instance({ ...shared, link: this.#consuming, trouble: (where, error) => host.signals.emit('trouble', { where, error }) });
    this.#echo = new Echo({
      clock,
      exchange: this.#names.exchange,
      queue: () => this.#instance.queue,
      voice: () => (this.#maySay ? this.#voice() : undefined),
      lost: () =>
        bindAgain({
          host,
          exchange: this.#names.exchange,
          topology: this.#topology,
          instance: this.#instance,
          publisher: this.#publisher,
          working: [...this.#consumers].filter(({ state }) => state === 'working'),
          declared: this.#declared,
          declare: (declaration) => this.#declareAgain(declaration),
        }),
    });
  }

  async open(): Promise<void> {
    await this.#topology.with((channel) => this.#topology.exchange(channel));
    await this.#instance.bind(route.toSiblings(this.#host.service), (message) => this.#hear(message));
    this.#sayLater();
  }

  #check(): void {
    if (this.#closed.signal.aborted) throw stopped();
  }

  async declare(declaration: Declaration): Promise<void> {
    this.#check();
    if (await this.#topology.declare(declaration)) this.#host.signals.emit('queue-made', { subscription: declaration.name });
    this.#declared.set(declaration.name, declaration);
  }

  async send(messages: readonly WireMessage[]): Promise<readonly SendOutcome[]> {
    this.#check();
    return this.#publisher.send(messages);
  }

  /** The broker tells by what it routed, so of a type that was sent from here. */
  isTaken(type: string): boolean | undefined {
    return this.#publisher.taken.get(type);
  }

  async examine(): Promise<Finding[]> {
    this.#check();
    const { queueType } = this.#options;
    const { service } = this.#host;
    const { version } = this.#consuming;
    return examine({ topology: this.#topology, names: this.#names, service, queueType, declared: [...this.#declared.values()], version });
  }

  async consume(declaration: Declaration, { concerns = () => true }: { concerns?: (source: string) => boolean } = {}): Promise<Consumer> {
    this.#check();
    const queues = this.#names.queuesOf(declaration);
    const consumer = new QueueConsumer({
      link: this.#consuming,
      clock: this.#host.clock,
      declaration,
      queues,
      prefetch: Math.ceil((this.#options.prefetch ?? prefetchFor(declaration)) / Math.min(queues.length, partitionsAtOnce)),
      recollection: this.#recollection,
      concerns,
      unreadable: (message, queue, reason) => this.#deadLetter(message, queue, reason),
      members: queues.length > 1 ? this.#names.members(declaration.name) : undefined,
      inspect: (queue) => this.#topology.inspect(queue),
      tell: () => this.#saySoon(),
      redeclare: () => this.#redeclare(declaration),
      onClose: () => this.#consumers.delete(consumer),
    });
    this.#consumers.add(consumer);
    try {
      await this.#instance.bind(route.heartbeats, (message) => this.#beat(message));
      await consumer.open();
    } catch (error) {
      await consumer.close();
      throw error;
    }
    return consumer;
  }

  /** A queue that was there is gone, and no sibling said that it was removed: somebody deleted it by hand. */
  async #redeclare(declaration: Declaration): Promise<void> {
    await sleep(this.#host.clock, tellMs / 2, this.#closed.signal); // the word of its removal may be on its way
    const { name } = declaration;
    if (this.#closed.signal.aborted || ![...this.#consumers].some((one) => one.name === name && one.state === 'working')) return;
    await this.#declareAgain(declaration);
  }

  async #declareAgain(declaration: Declaration): Promise<void> {
    const { name: subscription } = declaration;
    const queues = await this.#topology.declareAgain(declaration);
    if (queues.length === 0) return; // another was quicker, or bindings alone were gone
    this.#host.logger.warn({ subscription, queues }, 'its queue was gone from RabbitMQ, with what it held: it is made again');
    this.#host.signals.emit('queue-made', { subscription });
  }

  /** Bytes and properties as they came, with the reason. */
  async #deadLetter(message: AmqpMessage, queue: string, reason: string): Promise<void> {
    const channel = await this.#publishing.confirmChannel();
    try {
      const headers = { 'waybill-dead-reason': reason, 'waybill-dead-queue': queue };
      await publishAll(channel, this.#names.exchange, [{ routingKey: route.toDead(this.#host.service), message, headers }]);
    } catch (error) {
      throw unreachable('the dead-letter queue', error);
    } finally {
      await goodbye(channel, this.#host.clock);
    }
    this.#host.logger.error({ queue, reason, to: this.#names.dead(this.#host.service) }, 'a message that cannot be read went to the dead-letter queue');
  }

  async listen(deliver: (delivery: Delivery) => void): Promise<ReplyInbox> {
    this.#check();
    const address = `${this.#host.service}/${this.#host.clock.id()}`;
    const routingKey = route.toReply(address);
    await this.#instance.bind(routingKey, (message) => {
      const read = received(message, false);
      if (typeof read === 'string') throw new Error(read);
      deliver(read.delivery);
    });
    const inbox: ReplyInbox = {
      address,
      close: async () => {
        this.#inboxes.delete(inbox);
        await this.#instance.unbind(routingKey);
      },
    };
    this.#inboxes.add(inbox);
    return inbox;
  }

  // --- removing ---------------------------------------------------------------------------------------------------------

  async remove(name: string, queued: 'apply' | 'drop'): Promise<void> {
    this.#check();
    const queues = await this.#topology.queuesNamed(name);
    if (queues.length === 0) return;
    if (queued === 'drop') await this.#tell(name, 'dropped');
    else await this.#applied(name, queues);
    for (const queue of queues.toReversed()) await this.#topology.delete(queue);
    await this.#topology.delete(this.#names.members(name));
    this.#declared.delete(name);
    for (const consumer of this.#own(name)) await consumer.retire();
  }

  #own(name: string): QueueConsumer[] {
    return [...this.#consumers].filter((consumer) => consumer.name === name);
  }

  /**
   * Nothing is queued and nothing is in hand: our consumers have settled everything, and the others, who were asked to,
   * have left. What one of them held when it died comes back to the queue, and ours take it.
   */
  async #applied(name: string, queues: readonly string[]): Promise<void> {
    const declaration = this.#declared.get(name);
    if (declaration) await this.#topology.unbind(declaration);
    const { clock } = this.#host;
    for (let toldMs = -Infinity; ; ) {
      if (clock.monotonic() - toldMs > tellMs) {
        await this.#tell(name, 'leave when idle');
        toldMs = clock.monotonic();
      }
      if (await this.#isEmpty(name, queues)) return;
      await sleep(clock, pollMs, this.#closed.signal);
      this.#check();
    }
  }

  async #isEmpty(name: string, queues: readonly string[]): Promise<boolean> {
    const own = this.#own(name);
    for (const queue of queues) {
      const state = await this.#topology.inspect(queue);
      if (!state) continue;
      const ours = own.flatMap((consumer) => consumer.consumers).filter((one) => one === queue).length;
      if (state.messageCount > 0 || state.consumerCount > ours) return false;
    }
    return own.every((consumer) => consumer.idle);
  }

  async #tell(name: string, how: 'dropped' | 'leave when idle'): Promise<void> {
    const channel = await this.#publishing.confirmChannel();
    try {
      const content = Buffer.from(JSON.stringify({ removed: name, how, by: this.#id }));
      channel.publish(this.#names.exchange, route.toSiblings(this.#host.service), content);
      await channel.waitForConfirms();
    } catch (error) {
      throw unreachable('telling the other instances', error);
    } finally {
      await goodbye(channel, this.#host.clock);
    }
  }

  /** Which of the siblings spoke. */
  readonly #id: string;

  #hear(message: AmqpMessage): void {
    const word = told(message);
    if (word?.progress && word.by !== this.#id) {
      for (const consumer of this.#consumers) {
        const said = word.progress[consumer.name];
        if (said) consumer.heard(word.by, said);
      }
    }
    if (typeof word?.removed !== 'string') return;
    const { removed: name } = word;
    if (word.how === 'dropped') for (const consumer of this.#own(name)) void consumer.retire();
    else if (word.by !== this.#id) for (const consumer of this.#own(name)) void this.#leaveWhenIdle(consumer);
  }

  // --- how far the others are -------------------------------------------------------------------------------------------

  #cancelSaying: () => void = () => {};
  #saying: AmqpChannel | undefined;

  #sayLater(): void {
    if (this.#closed.signal.aborted) return;
    this.#cancelSaying = this.#host.clock.after(wordMs, () => {
      void this.#say()
        .catch(() => {}) // the broker is away: the next word says all
        .finally(() => this.#sayLater());
    });
  }

  #isToSay = false;

  /** After this step, in which more may come. */
  #saySoon(): void {
    if (this.#isToSay) return;
    this.#isToSay = true;
    void this.#host.clock.turn().then(() => {
      this.#isToSay = false;
      return this.#say();
    }).catch(() => {}); // said again in its turn
  }

  /** Nobody waits for it, and the next one replaces it. */
  async #say(): Promise<void> {
    const progress: Record<string, Word> = {};
    for (const consumer of this.#consumers) if (consumer.active) progress[consumer.name] = consumer.word();
    if (!this.#maySay || Object.values(progress).every((word) => Object.keys(word).length === 0)) return;
    (await this.#voice()).publish(this.#names.exchange, route.toSiblings(this.#host.service), Buffer.from(JSON.stringify({ progress, by: this.#id })));
  }

  get #maySay(): boolean {
    return this.#consuming.up && !this.#publishing.blocked;
  }

  async #voice(): Promise<AmqpChannel> {
    if (this.#saying) return this.#saying;
    const channel = await this.#publishing.channel();
    channel.on('close', () => this.#saying === channel && (this.#saying = undefined));
    this.#echo.listen(channel);
    return (this.#saying = channel);
  }

  /** A publisher's heartbeat, on its way into the queues that are read here. One that is lost is followed by the next. */
  #beat(message: AmqpMessage): void {
    const read = received(message, false);
    if (typeof read === 'string' || !this.#maySay) return;
    const queues = [...this.#consumers].flatMap((consumer) => consumer.beat(read.source, read.time));
    if (queues.length === 0) return;
    this.#voice()
      .then((channel) => {
        this.#publishing.together();
        for (const queue of queues) channel.publish(this.#names.exchange, route.beatTo(queue), message.content, message.properties);
      })
      .catch(() => {}); // the broker is away
  }

  async #leaveWhenIdle(consumer: QueueConsumer): Promise<void> {
    if (consumer.leaving) return;
    consumer.leaving = true;
    try {
      const { signal } = this.#closed;
      while (!signal.aborted && consumer.state === 'working') {
        const queues = await this.#topology.queuesNamed(consumer.name);
        const states = await Promise.all(queues.map((queue) => this.#topology.inspect(queue)));
        if (consumer.idle && states.every((state) => (state?.messageCount ?? 0) === 0)) return await consumer.retire();
        await sleep(this.#host.clock, pollMs, signal);
      }
    } catch {
      // The broker is away: it will be asked again.
    } finally {
      consumer.leaving = false;
    }
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#echo.stop();
    this.#cancelSaying();
    await Promise.all([...this.#consumers, ...this.#inboxes].map((opened) => opened.close()));
    await Promise.all([this.#publishing.close(), this.#consuming.close()]);
  }

  /** For tests: as if the process had died. */
  cut(): void {
    this.#closed.abort();
    this.#echo.stop();
    this.#cancelSaying();
    for (const link of [this.#publishing, this.#consuming]) link.cut();
  }
}

/** Of one subscription, where nothing else was said: what fills the transactions that run beside each other, and the next ones. */
function prefetchFor({ batch = 100 }: Declaration): number {
  return Math.min(prefetchMax, Math.max(1_200, batch * 5));
}
/** A queue's prefetch is 16 bits wide; and what one process has in hand another cannot take. */
const prefetchMax = 10_000;
