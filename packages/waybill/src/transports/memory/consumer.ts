import { WaybillError } from '../../contract/errors.ts';
import type { Clock } from '../../contract/clock.ts';
import type { WireMessage } from '../../contract/message.ts';
import type { Consumer, Delivery, SourceProgress } from '../../contract/transport.ts';
import { unreachable, type Faults } from './faults.ts';
import type { Entry, Queue } from './queue.ts';

/**
 * One instance's hold on a queue: `working`, until its subscription has another name (`relieved`) or is
 * removed (`retired`), or it is closed (`closed`).
 * Only a working consumer takes deliveries or lets their transaction commit.
 */
export class QueueConsumer implements Consumer {
  #state: 'working' | 'relieved' | 'retired' | 'closed' = 'working';
  readonly #queue: Queue;
  readonly #clock: Clock;
  readonly #faults: Faults;
  readonly #held = new Map<Delivery, Entry>();
  readonly #waiting = new Set<() => void>();

  constructor(queue: Queue, { clock, faults }: { clock: Clock; faults: Faults }) {
    this.#queue = queue;
    this.#clock = clock;
    this.#faults = faults;
    queue.consumers.add(this);
  }

  get active(): boolean {
    return this.#state === 'working';
  }

  receive(max: number, { waitMs, signal }: { waitMs: number; signal: AbortSignal }): Promise<readonly Delivery[]> {
    if (this.#state === 'closed') {
      return Promise.reject(new WaybillError('STOPPED', `a consumer of ${this.#queue.name} was closed`));
    }
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        cancel();
        signal.removeEventListener('abort', empty);
        this.#waiting.delete(look);
        settle();
      };
      const empty = (): void => end(() => resolve([]));
      const look = (): void => {
        if (this.#state === 'closed' || signal.aborted) return empty();
        if (this.#faults.away === true) return end(() => reject(unreachable('the broker is away')));
        const taken = this.#take(max);
        if (taken.length > 0) end(() => resolve(taken));
      };
      const cancel = waitMs > 0 ? this.#clock.after(waitMs, empty) : () => {};
      this.#waiting.add(look);
      signal.addEventListener('abort', empty, { once: true });
      look();
      if (waitMs <= 0) empty();
    });
  }

  #take(max: number): Delivery[] {
    if (this.#state !== 'working') return [];
    return this.#queue.take(this, max).map((entry) => {
      const delivery = deliveryOf(entry);
      this.#held.set(delivery, entry);
      return delivery;
    });
  }

  settleIn(): void {
    if (this.#state === 'working') return;
    if (this.#state === 'relieved') throw new WaybillError('LEASE_LOST', `${this.#queue.name} has another name now, and others work on it`);
    throw new WaybillError('STOPPED', `this consumer of ${this.#queue.name} is ${this.#state}: nothing may be committed`);
  }

  settle(deliveries: readonly Delivery[]): void {
    // What went back in the meantime (the broker was away) is not here any more: it comes again.
    for (const delivery of deliveries) this.#held.delete(delivery);
    this.#queue.changed();
  }

  release(deliveries: readonly Delivery[]): void {
    this.#giveBack(deliveries, false);
  }

  #giveBack(deliveries: Iterable<Delivery>, suspect: boolean): void {
    const entries: Entry[] = [];
    for (const delivery of deliveries) {
      const entry = this.#held.get(delivery);
      if (entry === undefined) continue;
      this.#held.delete(delivery);
      entry.redelivered = true;
      entry.deliveryCount++;
      entry.suspect ||= suspect;
      entries.push(entry);
    }
    this.#queue.putBack(entries);
  }

  /** The broker has lost sight of this consumer: for all it knows, the process died with what it held. */
  lose(): void {
    this.#giveBack([...this.#held.keys()], true);
  }

  progress(): readonly SourceProgress[] {
    const { outstanding, lastMs, sent } = this.#queue.state();
    return [...lastMs].map(([source, newestMs]) => {
      const waiting = outstanding.filter(({ message }) => message.source === source);
      // Nothing is known of what the source has published and not sent yet, so: up to its newest message, at most.
      const appliedUntilMs = waiting.reduce((ms, { message }) => Math.min(ms, message.time - 1), newestMs);
      return { source, appliedUntilMs, waiting: waiting.length, ...(!sent.has(source) && { onlyHeartbeats: true }) };
    });
  }

  close(): Promise<void> {
    if (this.#state !== 'closed') {
      this.#state = 'closed';
      this.#queue.consumers.delete(this);
      this.lose();
      this.look(); // whoever waits here gets nothing any more
    }
    return Promise.resolve();
  }

  /** The subscription was removed: what it held is dropped. */
  retire(): void {
    if (this.#state === 'working') this.#state = 'retired';
    this.#held.clear();
  }

  /** The subscription has another name: what is held here goes back, and comes to those who know it. */
  relieve(): void {
    if (this.#state === 'working') this.#state = 'relieved';
    this.#giveBack([...this.#held.keys()], false);
  }

  /** Those that wait see whether there is something for them now. */
  look(): void {
    for (const look of this.#waiting) look();
  }

  held(): Entry[] {
    return [...this.#held.values()];
  }
}

/** Each receiver has bytes of its own, as it would from a real broker. */
function deliveryOf({ message, redelivered, deliveryCount, suspect }: Entry): Delivery {
  return { ...carried(message), redelivered, deliveryCount, suspect };
}

export function carried({ kind, headers, body }: WireMessage): Pick<Delivery, 'kind' | 'headers' | 'body'> {
  return { kind, headers: { ...headers }, body: body.slice() };
}
