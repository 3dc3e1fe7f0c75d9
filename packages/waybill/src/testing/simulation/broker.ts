/**
 * A broker of the simulated machines: the queues of the memory driver, reached over connections that break. It outlives
 * the processes that use it, and what it does to them is what real brokers were measured to do: it stores what it reports
 * as failed, takes an acknowledgement that comes too late without a word, gives a frozen consumer's messages to another,
 * delivers again long afterwards, and (as a switch) loses what it confirmed.
 */
import { isHeartbeat } from '../../contract/control.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { WireMessage } from '../../contract/message.ts';
import type { Consumer, Declaration, Delivery, SendOutcome, Transport, TransportHost, TransportSession } from '../../contract/transport.ts';
import { Broker as Queues } from '../../transports/memory/broker.ts';
import type { QueueConsumer } from '../../transports/memory/consumer.ts';
import { Faults as QueueFaults, unreachable } from '../../transports/memory/faults.ts';
import { connect } from '../../transports/memory/session.ts';
import type { Chance } from './chance.ts';
import type { CallName, FaultKind } from './faults.ts';
import { never, type Process } from './process.ts';
import type { Scheduler } from './scheduler.ts';

/** A consumer that is not heard of for so long is given up, and what it holds goes to others. */
const heartbeatMs = 6_000;
/** A connection whose process died is noticed this soon. */
const noticeMs = 30;

export interface BrokerOptions {
  readonly scheduler: Scheduler;
  readonly chance: Chance;
  /** Acknowledged at the broker: by subscription. */
  readonly onSettled: (subscription: string, deliveries: readonly Delivery[]) => void;
  /** Given back by a process that says goodbye, and came to it once only. */
  readonly onGoodbye: (subscription: string, deliveries: readonly Delivery[], process: Process) => void;
}

export class Broker {
  readonly options: BrokerOptions;
  readonly switches: QueueFaults = new QueueFaults();
  readonly #queues = new Queues(this.switches);
  /** (source, id, type) of everything stored. */
  readonly stored: Map<string, WireMessage> = new Map();
  /** Names of subscriptions that have a queue. */
  readonly declared: Set<string> = new Set();
  /** (source, id) of what was refused. */
  readonly refused: Set<string> = new Set();
  /** Always refused, besides what a fault refuses. */
  refuses: (message: WireMessage) => string | undefined = () => undefined;
  /** Pathology: loses what it confirmed. A number of messages that are to vanish. */
  toLose = 0;
  readonly lost: Set<string> = new Set();

  constructor(options: BrokerOptions) {
    this.options = options;
  }

  transport(process: Process): Transport {
    return {
      kind: 'simulated',
      connect: (host) =>
        process.call('connect', () => this.#session(process, host), (kind) => (kind === 'lost' ? unreachable('no connection') : undefined)),
    };
  }

  /** Whether the subscription's queue has it, delivered or not. */
  holds(subscription: string, source: string, id: string): boolean {
    return this.#queues.outstanding(subscription).some(({ message }) => message.source === source && message.id === id);
  }

  /** Something that was stored long ago is delivered again, as after a failover. */
  repeat(): void {
    const all = [...this.stored.values()];
    if (all.length > 0 && !this.switches.away) this.#queues.send([this.options.chance.pick(all)]);
  }

  /** Nothing is reachable until `back`. */
  goAway(): void {
    this.switches.set({ away: true });
  }

  back(): void {
    this.switches.clear();
  }

  #session(process: Process, host: TransportHost): TransportSession {
    const { scheduler } = this.options;
    const real = connect(this.#queues, host);
    process.onDeath(() => void scheduler.after(noticeMs, () => void real.close()));
    const trouble = (kind: FaultKind): Error | undefined => (kind === 'lost' ? unreachable('the connection was lost') : undefined);
    const call = <R>(name: CallName, effect: (fault: FaultKind | undefined) => R | Promise<R>): Promise<R> => process.call(name, effect, trouble);
    return {
      capabilities: real.capabilities,
      declare: (declaration) =>
        call('declare', async () => {
          await real.declare(declaration);
          this.declared.add(declaration.name);
        }),
      send: (messages) => call('send', (fault) => this.#send(messages, fault, real)),
      consume: (declaration) => call('consume', async () => this.#consumer(process, declaration, await real.consume(declaration))),
      listen: (deliver) => process.until(real.listen((delivery) => process.hear(() => deliver(delivery)))),
      remove: (name, queued) => process.until(real.remove(name, queued)),
      close: () => process.until(real.close()),
    };
  }

  async #send(messages: readonly WireMessage[], fault: FaultKind | undefined, real: TransportSession): Promise<readonly SendOutcome[]> {
    if (fault === 'blocked') await this.options.scheduler.sleep(5_000);
    const unlucky = messages.length > 0 ? messages[this.options.chance.whole(0, messages.length - 1)]! : undefined;
    const sent = fault === 'partial' ? messages.slice(0, this.options.chance.whole(0, messages.length - 1)) : messages;
    this.switches.duplicate = (message) => fault === 'duplicate' && message.id === unlucky?.id;
    this.switches.refuse = (message) => (fault === 'refused' && message.id === unlucky?.id ? 'it does not like it' : this.refuses(message));
    let outcomes: readonly SendOutcome[];
    try {
      const kept = sent.filter((message) => !this.#loses(message));
      const answers = new Map((await real.send(kept)).map((outcome, at) => [kept[at]!, outcome]));
      outcomes = sent.map((message) => answers.get(message) ?? { kind: 'stored' });
    } finally {
      this.switches.duplicate = () => false;
      this.switches.refuse = () => undefined;
    }
    outcomes.forEach((outcome, at) => {
      const message = sent[at]!;
      if (isHeartbeat(message)) return;
      if (outcome.kind === 'stored') this.stored.set(`${message.source} ${message.id} ${message.type}`, message);
      else if (outcome.kind === 'refused') this.refused.add(`${message.source} ${message.id}`);
    });
    if (fault === 'partial') throw unreachable('the connection was lost after some');
    return outcomes;
  }

  #loses(message: WireMessage): boolean {
    if (this.toLose === 0 || message.kind !== 'event' || isHeartbeat(message)) return false;
    this.toLose--;
    this.lost.add(`${message.source} ${message.id}`);
    return true;
  }

  #consumer(process: Process, { name, order }: Declaration, real: Consumer): Consumer {
    const { scheduler } = this.options;
    const held = new Set<Delivery>();
    const came = new Map<string, number>();
    /** The connection breaks: for all the broker knows, the process died. */
    const lose = (): void => {
      held.clear();
      (real as QueueConsumer).lose();
    };
    /** A process that stands still is given up when it has not been heard of for long. */
    const beat = (): void => {
      if (process.dead) return;
      const since = process.standsStill;
      const cancel = scheduler.after(heartbeatMs, () => {
        forget();
        if (since && process.standsStill) lose();
        beat();
      });
      const forget = process.onDeath(cancel);
    };
    beat();
    const dropped = (kind: FaultKind): Error | undefined => {
      if (kind !== 'lost') return undefined;
      lose();
      return unreachable('the connection was lost');
    };
    return {
      get active() {
        return real.active;
      },
      receive: async (max, how) => {
        // The wait is not a call of its own: deliveries are pushed.
        const deliveries = await process.until(real.receive(max, how));
        for (const delivery of deliveries) {
          held.add(delivery);
          came.set(delivery.headers['ce-id']!, (came.get(delivery.headers['ce-id']!) ?? 0) + 1);
        }
        if (deliveries.length === 0) return deliveries;
        return process.call('receive', () => deliveries, dropped);
      },
      settleIn: (tx, deliveries) =>
        process.call('fence', (): void => {
          // As with partitions and sessions: what was lost comes again, and nothing that came after it may be done before that.
          if (order === 'by-key' && deliveries.some((one) => !held.has(one))) throw new WaybillError('LEASE_LOST', `what was received of ${name} was lost on the way`);
          void real.settleIn(tx, deliveries);
        }, (kind) => {
          if (kind !== 'fenced') return undefined;
          lose();
          return new WaybillError('LEASE_LOST', `another instance works on ${name} now`);
        }),
      settle: (deliveries) =>
        // An acknowledgement is written and not answered: what is lost on the way is not noticed.
        process.call('settle', () => {
          this.options.onSettled(name, deliveries);
          for (const delivery of deliveries) held.delete(delivery);
          return real.settle(deliveries);
        }, (kind) => { dropped(kind); return undefined; }), // prettier-ignore
      release: (deliveries) =>
        process.call('release', () => {
          for (const delivery of deliveries) held.delete(delivery);
          return real.release(deliveries);
        }, dropped), // prettier-ignore
      progress: () => real.progress(),
      close: () => {
        if (process.dead) return never();
        this.options.onGoodbye(name, [...held].filter(({ headers }) => came.get(headers['ce-id']!) === 1), process);
        return process.until(real.close());
      },
    };
  }
}
