import { isHeartbeat } from '../../contract/control.ts';
import type { MessageKind, WireMessage } from '../../contract/message.ts';
import type { Declaration } from '../../contract/transport.ts';
import type { QueueConsumer } from './consumer.ts';

/**
 * Messages that one queue holds, delivered or not. A subscription that nobody works on must not take the process's
 * memory: at the limit the broker takes nothing more for this queue, which makes publishers' relays wait.
 */
export const queueLengthMax = 100_000;

/** A message in a queue. `place` is its rank in the whole broker, kept for as long as it is not settled. */
export interface Entry {
  readonly place: number;
  readonly message: WireMessage;
  redelivered: boolean;
  /** How often it went back. */
  deliveryCount: number;
  suspect: boolean;
}

/** A subscription's queue: entries are `ready`, or held by one of its consumers until settled. */
export class Queue {
  readonly name: string;
  readonly service: string;
  readonly consumers: Set<QueueConsumer> = new Set();
  /** Removed for new messages; what it holds is still to be applied. */
  draining: boolean = false;
  order: Declaration['order'] = 'any';
  readonly #bindings = new Set<string>();
  #ready: Entry[] = []; // rising places
  readonly #beats = new Map<string, Entry>(); // by source; never counted, never in the way
  readonly #lastMs = new Map<string, number>(); // per source, the time of its newest message that came here
  readonly #sent = new Set<string>(); // sources of which more than heartbeats came
  readonly #whenEmpty = new Set<() => void>();

  constructor(service: string, name: string) {
    this.service = service;
    this.name = name;
  }

  /** Adds to what is bound: an older instance of the service may still rely on the rest. */
  bind(declaration: Declaration): void {
    for (const { kind, type } of declaration.bindings) this.#bindings.add(`${kind} ${type}`);
    this.order = declaration.order;
  }

  takes(message: WireMessage): boolean {
    if (this.draining || !this.binds(message.kind, message.type)) return false;
    return message.kind === 'event' || message.recipient === undefined || message.recipient === this.service;
  }

  binds(kind: MessageKind, type: string): boolean {
    return this.#bindings.has(`${kind} ${type}`);
  }

  get length(): number {
    let length = this.#ready.length;
    for (const consumer of this.consumers) length += consumer.held().filter(({ message }) => !isHeartbeat(message)).length;
    return length;
  }

  add(entry: Entry): void {
    const { source, time } = entry.message;
    if (isHeartbeat(entry.message)) {
      this.#beats.set(source, entry); // the newest says all
    } else {
      this.#ready.push(entry);
      this.#sent.add(source);
    }
    this.#lastMs.set(source, Math.max(time, this.#lastMs.get(source) ?? time));
  }

  /** Entries go back to where they were, before everything that came later. */
  putBack(entries: readonly Entry[]): void {
    const messages = entries.filter(({ message }) => !isHeartbeat(message)); // the next heartbeat comes soon
    if (messages.length > 0) this.#ready = [...messages, ...this.#ready].sort((a, b) => a.place - b.place);
    this.changed();
  }

  /** The next entries for this consumer. With order `by-key`, a key that another consumer holds is left to that one. */
  take(consumer: QueueConsumer, max: number): Entry[] {
    const taken = this.#takeReady(consumer, max);
    if (taken.length > 0) return taken;
    const beats = [...this.#beats.values()];
    this.#beats.clear();
    return beats;
  }

  #takeReady(consumer: QueueConsumer, max: number): Entry[] {
    if (this.order !== 'by-key') return this.#ready.splice(0, max);
    const foreign = this.#keysHeldByOthers(consumer);
    const taken: Entry[] = [];
    const passedOver: Entry[] = [];
    let seen = 0;
    for (; seen < this.#ready.length && taken.length < max; seen++) {
      const entry = this.#ready[seen]!;
      (foreign.has(entry.message.key) ? passedOver : taken).push(entry);
    }
    this.#ready.splice(0, seen, ...passedOver);
    return taken;
  }

  #keysHeldByOthers(consumer: QueueConsumer): Set<string | undefined> {
    const keys = new Set<string | undefined>();
    for (const other of this.consumers) {
      if (other !== consumer) for (const { message } of other.held()) keys.add(message.key);
    }
    keys.delete(undefined); // what has no key is free
    return keys;
  }

  /** Something came, went back or was settled: consumers that wait look again, and removal may be complete. */
  changed(): void {
    for (const consumer of this.consumers) consumer.look();
    if (this.length > 0) return;
    for (const resolve of this.#whenEmpty) resolve();
    this.#whenEmpty.clear();
  }

  whenEmpty(): Promise<void> {
    return this.length === 0 ? Promise.resolve() : new Promise((resolve) => this.#whenEmpty.add(resolve));
  }

  /** Everything that is not settled, per source the time of the newest message that ever came, and who sent more than heartbeats. */
  state(): { outstanding: readonly Entry[]; lastMs: ReadonlyMap<string, number>; sent: ReadonlySet<string> } {
    const held = [...this.consumers].flatMap((consumer) => consumer.held());
    return { outstanding: [...this.#ready, ...held.filter(({ message }) => !isHeartbeat(message))], lastMs: this.#lastMs, sent: this.#sent };
  }

  /** Everything moves to the queue of the subscription's new name; those who work under the old one do so no more. */
  moveTo(target: Queue): void {
    for (const consumer of [...this.consumers]) consumer.relieve();
    this.consumers.clear();
    for (const [source, ms] of this.#lastMs) target.#lastMs.set(source, Math.max(ms, target.#lastMs.get(source) ?? ms));
    for (const source of this.#sent) target.#sent.add(source);
    target.putBack(this.#ready);
    this.#ready = [];
    this.changed();
  }

  /** Drops what it holds; its consumers have nothing to work on any more. */
  drop(): void {
    this.#ready = [];
    for (const consumer of this.consumers) consumer.retire();
    this.changed();
  }
}
