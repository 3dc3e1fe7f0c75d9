import { WaybillError } from '../../contract/errors.ts';
import type { MessageKind, WireMessage } from '../../contract/message.ts';
import type { Declaration, SendOutcome } from '../../contract/transport.ts';
import { unreachable, type Faults } from './faults.ts';
import { type Entry, Queue, queueLengthMax } from './queue.ts';

/** What all sessions of one `memory()` share: queues by name, and the addresses that wait for replies. */
export class Broker {
  readonly faults: Faults;
  readonly #queues = new Map<string, Queue>();
  /** Those that are bound to a kind and type; looked for anew when a queue was declared or removed. */
  readonly #bound = new Map<string, readonly Queue[]>();
  readonly #inboxes = new Map<string, (message: WireMessage) => void>();
  #places = 0;

  constructor(faults: Faults) {
    this.faults = faults;
    faults.onChange(() => {
      for (const queue of this.#queues.values()) {
        if (faults.away === true) for (const consumer of queue.consumers) consumer.lose();
        queue.changed(); // whoever waits finds the broker away
      }
    });
  }

  reach(): void {
    if (this.faults.away === true) throw unreachable('the broker is away');
  }

  declare(service: string, declaration: Declaration): Queue {
    const { name, from, formerly } = declaration;
    const formerQueues = formerly.map((former) => this.#queues.get(former)).filter((queue) => queue !== undefined);
    let queue = this.#queues.get(name);
    if (queue === undefined) {
      if (from !== 'now' && formerQueues.length === 0) {
        throw new WaybillError(
          'CAPABILITY_MISSING',
          `memory transport: ${name} cannot start in the past, as nothing is kept that was sent before; use from: 'now'`,
        );
      }
      queue = new Queue(service, name);
      this.#queues.set(name, queue);
    }
    queue.draining = false;
    queue.bind(declaration);
    this.#bound.clear();
    for (const former of formerQueues) {
      if (former === queue) continue;
      this.#queues.delete(former.name);
      former.moveTo(queue);
    }
    return queue;
  }

  /** The subscription's queue, made if it is not there. */
  queueFor(service: string, declaration: Declaration): Queue {
    return this.#queues.get(declaration.name) ?? this.declare(service, declaration);
  }

  /** What a subscription's queue has, delivered or not. */
  outstanding(name: string): readonly Entry[] {
    return this.#queues.get(name)?.state().outstanding ?? [];
  }

  isTaken(type: string): boolean {
    return this.#boundTo('event', type).length > 0;
  }

  /** Of a thousand queues most are for other types. */
  #boundTo(kind: MessageKind, type: string): readonly Queue[] {
    const word = `${kind} ${type}`;
    let queues = this.#bound.get(word);
    if (queues === undefined) {
      queues = [...this.#queues.values()].filter((queue) => queue.binds(kind, type));
      this.#bound.set(word, queues);
    }
    return queues;
  }

  send(messages: readonly WireMessage[]): SendOutcome[] {
    this.reach();
    this.#refuseWhenFull(messages);
    const touched = new Set<Queue>();
    const outcomes = messages.map((message) => this.#route(message, touched));
    for (const queue of touched) queue.changed();
    if (this.faults.away === 'after-storing') throw unreachable('the broker went away before it answered');
    return outcomes;
  }

  /** Before anything is stored, so that a batch that has to wait is not doubled each time it is tried. */
  #refuseWhenFull(messages: readonly WireMessage[]): void {
    const counts = new Map<Queue, number>();
    for (const message of messages) {
      for (const queue of this.#boundTo(message.kind, message.type)) if (queue.takes(message)) counts.set(queue, (counts.get(queue) ?? 0) + 1);
    }
    for (const [queue, coming] of counts) {
      if (queue.length + coming <= queueLengthMax) continue;
      throw unreachable(`the queue ${queue.name} is full (${queueLengthMax} messages); start or remove its subscription`);
    }
  }

  #route(message: WireMessage, touched: Set<Queue>): SendOutcome {
    const reason = this.faults.refuse(message);
    if (reason !== undefined) return { kind: 'refused', reason };
    const copies = this.faults.duplicate(message) ? 2 : 1;
    const inbox = message.kind === 'reply' ? this.#inboxes.get(message.recipient ?? '') : undefined;
    if (inbox !== undefined) {
      for (let copy = 0; copy < copies; copy++) inbox(message);
      return { kind: 'stored' };
    }
    const queues = this.#boundTo(message.kind, message.type).filter((queue) => queue.takes(message));
    if (queues.length === 0) return { kind: message.kind === 'event' ? 'stored' : 'unroutable' };
    const kept = { ...message, headers: { ...message.headers }, body: message.body.slice() }; // the sender may reuse its own
    for (const queue of queues) {
      for (let copy = 0; copy < copies; copy++) {
        queue.add({ place: this.#places++, message: kept, redelivered: false, deliveryCount: 0, suspect: false });
      }
      touched.add(queue);
    }
    return { kind: 'stored' };
  }

  /** `apply` resolves once everything that was queued is settled, by whoever consumes; without a consumer it waits. */
  async remove(name: string, queued: 'apply' | 'drop'): Promise<void> {
    const queue = this.#queues.get(name);
    if (queue === undefined) return;
    if (queued === 'apply') {
      queue.draining = true;
      await queue.whenEmpty();
      if (!queue.draining) return; // declared again meanwhile: it lives
    }
    if (this.#queues.get(name) !== queue) return;
    this.#queues.delete(name);
    this.#bound.clear();
    queue.drop();
  }

  listen(address: string, deliver: (message: WireMessage) => void): () => void {
    this.#inboxes.set(address, deliver);
    return () => void this.#inboxes.delete(address);
  }
}
