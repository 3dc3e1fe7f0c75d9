/**
 * What stands at the broker: one topic exchange; per service a dead-letter queue, with an exchange of its own for what the
 * broker itself drops; per subscription one queue or (order by-key) its partitions. All durable, declared again by whoever
 * starts: declaring is idempotent. Nothing is ever unbound but by `remove` and by a rename, for an older instance may still
 * rely on it.
 *
 * A crash in the middle of `declare` leaves part of it, which the next start completes. A crash in the middle of moving a
 * renamed queue leaves some messages in both: they have the same ids.
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { Declaration } from '../../contract/transport.ts';
import { argumentsOf, type QueueType } from './arguments.ts';
import { type AmqpChannel, type AmqpQueue, codeOf, goodbye, replyCode, unreachable } from './client.ts';
import { type Link, stopped } from './link.ts';
import { type Names, partitions, route } from './names.ts';
import { moveMessages } from './move.ts';

/** Whoever works under a subscription's former name is waited for this long, then the start fails and tries again. */
const relieveMs = 30_000;
const pollMs = 200;

export interface TopologyOptions {
  readonly link: Link;
  readonly names: Names;
  readonly service: string;
  readonly clock: Clock;
  readonly queueType: QueueType;
  /** `check`: nothing is created. */
  readonly mode: 'auto' | 'check';
  /** A quorum queue younger than this does not survive a kill of its node (RabbitMQ 3.10). */
  readonly settleMs: number;
  readonly closed: AbortSignal;
}

export class Topology {
  readonly #options: TopologyOptions;

  constructor(options: TopologyOptions) {
    this.#options = options;
  }

  /** On each new connection that publishes: somebody may have removed the exchange. */
  async exchange(channel: AmqpChannel): Promise<void> {
    const { names, mode } = this.#options;
    try {
      if (mode === 'check') await channel.checkExchange(names.exchange);
      else await channel.assertExchange(names.exchange, 'topic', { durable: true });
    } catch (error) {
      throw this.#explained(`the exchange ${names.exchange}`, error);
    }
  }

  /** @returns whether a queue of this subscription had to be made, under no former name either */
  async declare(declaration: Declaration): Promise<boolean> {
    const { names, mode } = this.#options;
    const queues = names.queuesOf(declaration);
    if (mode === 'check') {
      for (const queue of queues) if (!(await this.inspect(queue))) throw this.#missing(queue);
      return false;
    }
    const former = await this.#formerQueues(declaration);
    const isNew = !(await this.inspect(queues.at(-1)!));
    if (isNew && former.length === 0 && declaration.from !== 'now') {
      throw new WaybillError(
        'CAPABILITY_MISSING',
        `RabbitMQ transport: ${declaration.name} cannot start in the past, as a queue holds what was sent since it was made; use from: 'now'`,
      );
    }
    await this.with(async (channel) => {
      await this.exchange(channel);
      await this.#deadLetters(channel);
      for (const queue of queues) await this.#queue(channel, queue);
      // Classic and empty: of a quorum queue with a single active consumer the broker counts that one alone.
      if (declaration.order === 'by-key') {
        await channel.assertQueue(names.members(declaration.name), { durable: true, arguments: { 'x-queue-type': 'classic' } });
      }
      if (former.length === 0) await this.#bind(channel, declaration, queues);
    });
    if (former.length > 0) await this.#takeOver(declaration, queues, former);
    if (isNew && this.#options.queueType === 'quorum') await sleep(this.#options.clock, this.#options.settleMs, this.#options.closed);
    return isNew && former.length === 0;
  }

  #again: Promise<unknown> = Promise.resolve();

  /**
   * After something was deleted by hand. One after another: what was made just now was not gone.
   * @returns the queues that were gone
   */
  declareAgain(declaration: Declaration): Promise<string[]> {
    const again = this.#again.then(async () => {
      const gone: string[] = [];
      for (const queue of this.#options.names.queuesOf(declaration)) if (!(await this.inspect(queue))) gone.push(queue);
      await this.declare({ ...declaration, from: 'now' });
      return gone;
    });
    this.#again = again.catch(() => {});
    return again;
  }

  /** Queues of former names, and of this name in another shape (its order was changed). */
  async #formerQueues({ name, order, formerly }: Declaration): Promise<string[]> {
    const { names } = this.#options;
    const candidates = formerly.flatMap((old) => (old === name ? [] : [names.queue(old), ...names.partitionsOf(old)]));
    candidates.push(...(order === 'by-key' ? [names.queue(name)] : names.partitionsOf(name)));
    const there: string[] = [];
    for (let i = 0; i < candidates.length; i++) {
      const exists = await this.inspect(candidates[i]!);
      if (exists) there.push(candidates[i]!);
      // Partitions are made together, the first one first, and removed together, that one last.
      else if (candidates[i]!.endsWith('~0')) i += partitions - 1;
    }
    return there;
  }

  async #queue(channel: AmqpChannel, queue: string): Promise<void> {
    const { names } = this.#options;
    try {
      await channel.assertQueue(queue, { durable: true, arguments: argumentsOf(queue, this.#options) });
      for (const pattern of [route.toQueue(queue), route.beatTo(queue)]) await channel.bindQueue(queue, names.exchange, pattern);
    } catch (error) {
      throw this.#explained(`the queue ${queue}`, error);
    }
  }

  /**
   * What the broker drops (a policy of its operators: a length, a time to live, a delivery limit) goes to the exchange of the
   * same name, under its own routing key: so heartbeats that ran out, for which nothing is bound, do not fill the queue.
   */
  async #deadLetters(channel: AmqpChannel): Promise<void> {
    const { names, service, queueType } = this.#options;
    const queue = names.dead(service);
    try {
      await channel.assertExchange(queue, 'topic', { durable: true });
      await channel.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': queueType } });
      await channel.bindQueue(queue, names.exchange, route.toDead(service));
      await channel.bindQueue(queue, queue, route.toQueue('#'));
    } catch (error) {
      throw this.#explained(`the queue ${queue}`, error);
    }
  }

  async #bind(channel: AmqpChannel, declaration: Declaration, queues: readonly string[]): Promise<void> {
    const { names, service } = this.#options;
    for (const [queue, pattern] of this.#bindings(declaration, queues)) await channel.bindQueue(queue, names.exchange, pattern);
    for (const pattern of route.patterns(declaration, service, undefined)) await channel.bindQueue(names.dead(service), names.dead(service), pattern);
  }

  #bindings(declaration: Pick<Declaration, 'bindings'>, queues: readonly string[]): [queue: string, pattern: string][] {
    const { service } = this.#options;
    return queues.flatMap((queue, index) =>
      route.patterns(declaration, service, queues.length === 1 ? undefined : index).map((pattern): [string, string] => [queue, pattern]),
    );
  }

  /**
   * A renamed subscription: first whoever works under the old name is waited for, so that nothing is applied under both;
   * then what is queued is moved; then the new queue is bound and the old one removed, and the rest is moved. Between
   * these two, messages reach both queues: the inbox, which is carried over, knows them.
   */
  async #takeOver(declaration: Declaration, queues: readonly string[], former: readonly string[]): Promise<void> {
    const { names, link, clock } = this.#options;
    const target = (slot: number): string => queues[slot % queues.length]!;
    const lock = await this.#lock(names.lock(declaration.name));
    try {
      await this.#relieved(former);
      const move = (from: string): Promise<void> =>
        moveMessages({ link, clock, exchange: names.exchange, from, target, left: async () => (await this.inspect(from))?.messageCount ?? 0 });
      for (const queue of former) await move(queue);
      await this.with((channel) => this.#bind(channel, declaration, queues));
      for (const queue of former) {
        await this.with(async (channel) => {
          const index = /~(\d+)$/.exec(queue)?.[1];
          for (const pattern of route.patterns(declaration, this.#options.service, index === undefined ? undefined : Number(index))) {
            await channel.unbindQueue(queue, names.exchange, pattern);
          }
        });
        await move(queue);
      }
      for (const queue of former.toReversed()) await this.delete(queue);
      for (const old of declaration.formerly) if (old !== declaration.name) await this.delete(names.members(old));
    } finally {
      await goodbye(lock, clock); // its queue goes with it
    }
  }

  /** One mover at a time: a consumer of a queue that has a single one. */
  async #lock(queue: string): Promise<AmqpChannel> {
    const { link, clock, closed } = this.#options;
    for (const untilMs = clock.monotonic() + relieveMs; ; ) {
      const channel = await link.channel();
      try {
        // Removed with its last consumer; another connection's is refused with 405.
        await channel.assertQueue(queue, { durable: false, exclusive: true, autoDelete: true, arguments: { 'x-queue-type': 'classic' } });
        await channel.consume(queue, () => {}, { exclusive: true });
        return channel;
      } catch (error) {
        await goodbye(channel, clock);
        const taken = codeOf(error) === replyCode.locked || codeOf(error) === replyCode.accessRefused;
        if (!taken || clock.monotonic() > untilMs) throw unreachable('waiting for another instance to finish moving a queue', error);
        await sleep(clock, pollMs, closed);
        if (closed.aborted) throw stopped();
      }
    }
  }

  async #relieved(queues: readonly string[]): Promise<void> {
    const { clock, closed } = this.#options;
    const untilMs = clock.monotonic() + relieveMs;
    for (const queue of queues) {
      while (((await this.inspect(queue))?.consumerCount ?? 0) > 0) {
        if (clock.monotonic() > untilMs) {
          throw new WaybillError(
            'TRANSPORT_UNREACHABLE',
            `${queue} still has consumers: older instances work under the subscription's former name; it is taken over once they have stopped`,
          );
        }
        await sleep(clock, pollMs, closed);
        if (closed.aborted) throw stopped();
      }
    }
  }

  /** Takes a subscription's bindings away, as far as this declaration knows them: what is queued stays. */
  async unbind(declaration: Declaration): Promise<void> {
    const queues = this.#options.names.queuesOf(declaration);
    await this.with(async (channel) => {
      for (const [queue, pattern] of this.#bindings(declaration, queues)) await channel.unbindQueue(queue, this.#options.names.exchange, pattern);
    });
  }

  async delete(queue: string): Promise<void> {
    await this.with((channel) => channel.deleteQueue(queue));
  }

  /** The queues of a subscription that are there, whatever its shape. */
  async queuesNamed(name: string): Promise<string[]> {
    const { names } = this.#options;
    const found: string[] = [];
    if (await this.inspect(names.queue(name))) found.push(names.queue(name));
    const partitions = names.partitionsOf(name);
    if (await this.inspect(partitions[0]!)) found.push(...partitions);
    return found;
  }

  /** The error of a queue that was made with other arguments than it would be now. */
  async conflict(queue: string): Promise<WaybillError | undefined> {
    try {
      await this.with((channel) => this.#queue(channel, queue));
      return undefined;
    } catch (error) {
      if (WaybillError.is(error, 'TOPOLOGY_CONFLICT')) return error;
      throw error;
    }
  }

  /** What the broker tells of a queue; undefined when it is not there. */
  async inspect(queue: string): Promise<AmqpQueue | undefined> {
    try {
      return await this.with((channel) => channel.checkQueue(queue));
    } catch (error) {
      if (codeOf((error as Error).cause) === replyCode.notFound) return undefined;
      throw error;
    }
  }

  /** A channel for a few questions; an error closes it. */
  async with<R>(work: (channel: AmqpChannel) => Promise<R>): Promise<R> {
    const channel = await this.#options.link.channel();
    try {
      return await work(channel);
    } catch (error) {
      throw unreachable('declaring', error);
    } finally {
      await goodbye(channel, this.#options.clock);
    }
  }

  #explained(what: string, error: unknown): unknown {
    const text = error instanceof Error ? error.message : String(error);
    switch (codeOf(error)) {
      case replyCode.preconditionFailed:
        return new WaybillError('TOPOLOGY_CONFLICT', `${what} is there with other arguments: drain and delete it, or set the option that it was made with (${text})`, { cause: error });
      case replyCode.notFound:
        return this.#missing(what, error);
      default:
        return error;
    }
  }

  #missing(what: string, cause?: unknown): WaybillError {
    return new WaybillError('TOPOLOGY_MISSING', `${what} is not there, and with migrate: 'check' nothing is created: start once with a user who may`, { cause });
  }
}
