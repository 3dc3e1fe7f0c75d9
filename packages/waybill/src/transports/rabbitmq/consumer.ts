/**
 * One instance's hold on a subscription: readers of its queue, or of its partitions.
 *
 *     working ─┬─ retire (removed for the service) ─► retired ─┐
 *              └──────────────── close ────────────────────────┴─► closed
 *
 * Readers are opened by `receive`, and again after any loss; while the broker is away `receive` rejects, at the worker's
 * pace. What a lost reader held may still be committed: it comes again and the inbox knows it.
 *
 * Order by-key: each partition has a single active consumer, chosen by the broker: the first that came. All instances
 * stand at all partitions; how many there are the broker tells (the consumers of an empty queue beside them), and who is
 * active on more than its share leaves some, idle ones first, and stands at their end again. Safety is the broker's, this
 * is balance.
 */
import type { Clock } from '../../contract/clock.ts';
import { heartbeatType, isHeartbeat } from '../../contract/control.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { StoreTransaction } from '../../contract/store.ts';
import type { Consumer, Declaration, Delivery, SourceProgress } from '../../contract/transport.ts';
import { type AmqpChannel, type AmqpMessage, codeOf, goodbye, replyCode, unreachable } from './client.ts';
import type { Link } from './link.ts';
import { Beats } from './beats.ts';
import { Progress, type Word } from './progress.ts';
import { type Entry, Reader } from './reader.ts';
import type { Recollection } from './recollection.ts';

/** How often the share of partitions and unused prefetch are looked at. */
const tidyMs = 2_000;
/** A worker that has not asked for so long (paused, or busy) leaves what it has not received to others. */
const unusedMs = 5_000;
/** So long after somebody asked how far the subscription is, it is told at a quicker pace. */
const watchedMs = 30_000;
/** Bodies in hand of one subscription, about: of messages so large that the prefetch would hold more it is made smaller. */
const bytesMax = 64 * 1024 * 1024;
/** Bodies to one receive: as many of a megabyte as of a hundred bytes would be decoded all at once. */
const receiveBytesMax = 4 * 1024 * 1024;

export interface ConsumerHost {
  readonly link: Link;
  readonly clock: Clock;
  readonly declaration: Declaration;
  readonly queues: readonly string[];
  /** Of each queue. */
  readonly prefetch: number;
  readonly recollection: Recollection;
  /** Whether heartbeats of this source are of use, though nothing else of it has come. */
  readonly concerns: (source: string) => boolean;
  readonly unreadable: (message: AmqpMessage, queue: string, reason: string) => Promise<void>;
  /** With partitions: the queue at which all instances stand. */
  readonly members: string | undefined;
  readonly inspect: (queue: string) => Promise<{ messageCount: number; consumerCount: number } | undefined>;
  /** The other instances shall hear soon how far this one is. */
  readonly tell: () => void;
  /** The queue is gone though nobody said so: make it again. */
  readonly redeclare: () => Promise<void>;
  readonly onClose: () => void;
}

export class QueueConsumer implements Consumer {
  state: 'working' | 'retired' | 'closed' = 'working';
  readonly name: string;
  /** It was asked to leave once nothing is left. */
  leaving = false;
  readonly #host: ConsumerHost;
  readonly #readers: (Reader | undefined)[];
  readonly #opening = new Map<number, Promise<void>>();
  readonly #held = new Map<Delivery, Entry>();
  readonly #waiting = new Set<() => void>();
  readonly #progress: Progress;
  readonly #beats: Beats;
  /** Of each reader. */
  #prefetch: number;
  #turn = 0;
  #askedMs: number;
  /** When somebody last asked how far it is. */
  #watchedMs = -Infinity;
  #cancelTidy: (() => void) | undefined;
  /** A queue that was there is not there any more. */
  #gone = false;
  /** Of all partitions together. */
  #remaking: Promise<void> | undefined;
  /** Stands at the queue of the members. */
  #member: AmqpChannel | undefined;
  /** What the broker closed a channel for, or kept messages from the queues. */
  #broken: unknown;

  constructor(host: ConsumerHost) {
    this.#host = host;
    this.name = host.declaration.name;
    this.#prefetch = host.prefetch;
    this.#readers = host.queues.map(() => undefined);
    this.#progress = new Progress(host.queues.length);
    this.#beats = new Beats(host.queues.length);
    this.#askedMs = host.clock.monotonic();
    this.#tidyLater();
  }

  get active(): boolean {
    return this.state === 'working';
  }

  /** Everything that is in hand of this process. */
  get idle(): boolean {
    return this.#readers.every((reader) => !reader || reader.idle);
  }

  get consumers(): readonly string[] {
    return this.#readers.flatMap((reader) => (reader && reader.state !== 'closed' ? [reader.queue] : []));
  }

  /** @throws WaybillError `TRANSPORT_UNREACHABLE` */
  async open(): Promise<void> {
    if (this.#gone) {
      this.#remaking ??= this.#host.redeclare().finally(() => (this.#remaking = undefined));
      await this.#remaking;
      this.#gone = false;
    }
    await Promise.all(this.#readers.flatMap((reader, index) => (reader ? [] : [this.#openOne(index)])));
  }

  #openOne(index: number): Promise<void> {
    const running = this.#opening.get(index);
    if (running) return running;
    const opening = this.#openReader(index).finally(() => this.#opening.delete(index));
    this.#opening.set(index, opening);
    return opening;
  }

  async #openReader(index: number): Promise<void> {
    const { link, clock, queues, recollection } = this.#host;
    const queue = queues[index]!;
    const before = this.#readers[index];
    if (before?.state === 'leaving') return; // gives back first
    const others = this.#host.queues.length > 1 ? ((await this.#host.inspect(queue))?.consumerCount ?? 0) : 0;
    const reader = new Reader(
      queue,
      {
        clock,
        came: () => {
          this.#look();
          this.#tidyLater();
        },
        remember: (entries) => this.#remember(entries),
        isSuspect: (message) => !recollection.knows(message),
        unreadable: (message, reason) => this.#host.unreadable(message, queue, reason),
        heavy: (heavy, eachBytes) => this.#takeFewer(heavy, eachBytes),
        ended: (ended, how, inHand, error) => this.#ended(ended, how, inHand, error),
      },
      others === 0,
    );
    try {
      await reader.open(link, { prefetch: this.#prefetch, bytesMax: this.#bytesMax });
    } catch (error) {
      if (codeOf(error) === replyCode.notFound) this.#gone = true;
      throw unreachable(`consuming ${queue}`, error);
    }
    if (this.state !== 'working') await reader.close();
    else this.#readers[index] = reader;
    this.#look();
  }

  get #bytesMax(): number {
    return bytesMax / this.#host.queues.length;
  }

  /** What it has not begun with goes back, and it reads on with a smaller prefetch. */
  #takeFewer(reader: Reader, eachBytes: number): void {
    this.#prefetch = Math.max(1, Math.min(this.#prefetch, Math.floor(this.#bytesMax / 2 / eachBytes)));
    this.#leave(reader);
  }

  #leave(reader: Reader): void {
    if (this.#host.queues.length === 1) reader.share();
    else reader.leave();
  }

  #remember(entries: readonly Entry[]): void {
    this.#host.recollection.remember(entries.flatMap(({ message, delivery }) => (delivery.suspect ? [] : message)));
    for (const entry of entries) {
      const queue = this.#readers.indexOf(entry.reader);
      if (queue >= 0) this.#progress.returned(queue, cameOf(entry));
    }
  }

  #ended(reader: Reader, how: 'left' | 'lost' | 'broken' | 'cancelled', inHand: readonly Entry[], error: unknown): void {
    this.#remember(inHand);
    for (const entry of inHand) this.#held.delete(entry.delivery);
    const index = this.#readers.indexOf(reader);
    if (index >= 0) this.#readers[index] = undefined;
    if (how === 'cancelled') this.#gone = true;
    if (how === 'broken') this.#broken = error;
    this.#look();
  }

  /** Its queue got nothing for a while, though nothing was wrong with it: who asks is told so once. */
  missed(error: WaybillError): void {
    this.#broken = error;
    this.#look();
  }

  // --- receiving ----------------------------------------------------------------------------------------------------------

  async receive(max: number, { waitMs, signal }: { waitMs: number; signal: AbortSignal }): Promise<readonly Delivery[]> {
    const { clock } = this.#host;
    const untilMs = clock.monotonic() + waitMs;
    for (;;) {
      if (this.state === 'closed') throw new WaybillError('STOPPED', `a consumer of ${this.name} was closed`);
      if (signal.aborted) return [];
      this.#askedMs = clock.monotonic();
      const taken = this.#take(max);
      if (taken.length > 0) return taken;
      if (this.state === 'working' && this.#needsOpening()) {
        await this.#openWithin(Math.max(0, untilMs - clock.monotonic()), signal);
        if (clock.monotonic() < untilMs) continue;
        return this.#take(max);
      }
      const leftMs = untilMs - clock.monotonic();
      if (leftMs <= 0) return [];
      await this.#change(leftMs, signal).promise;
    }
  }

  /** Nobody waits longer for a broker that does not answer than he would for a message. */
  async #openWithin(waitMs: number, signal: AbortSignal): Promise<void> {
    const broken = this.#broken;
    this.#broken = undefined;
    if (broken !== undefined) throw unreachable(`consuming ${this.name}`, broken); // at the worker's pace, or it would be a busy loop
    const ended = this.#change(waitMs, signal);
    try {
      await Promise.race([this.open(), ended.promise]);
    } finally {
      ended.cancel();
    }
    if (this.#needsOpening()) await this.#host.clock.turn();
  }

  #needsOpening(): boolean {
    return this.#gone || this.#broken !== undefined || this.#readers.some((reader) => reader === undefined);
  }

  #take(max: number): Delivery[] {
    if (this.state !== 'working') return [];
    const taken: Entry[] = [];
    const count = this.#readers.length;
    let bytes = 0;
    for (let i = 0; i < count && taken.length < max && bytes < receiveBytesMax; i++) {
      const some = this.#readers[(this.#turn + i) % count]?.take(max - taken.length, receiveBytesMax - bytes) ?? [];
      for (const { message } of some) bytes += message.content.length;
      taken.push(...some);
    }
    this.#turn = (this.#turn + 1) % count;
    let isNews = false;
    for (const entry of taken) {
      this.#held.set(entry.delivery, entry);
      if (this.#progress.took(this.#readers.indexOf(entry.reader), cameOf(entry))) isNews = true;
    }
    if (isNews) this.#host.tell();
    return taken.map(({ delivery }) => delivery);
  }

  /** Resolves when something came, was lost or ended, after `waitMs`, or with the signal. */
  #change(waitMs: number, signal: AbortSignal): { promise: Promise<void>; cancel: () => void } {
    let end = (): void => {};
    const promise = new Promise<void>((resolve) => {
      end = () => {
        cancelTimer();
        signal.removeEventListener('abort', end);
        this.#waiting.delete(end);
        resolve();
      };
      const cancelTimer = this.#host.clock.after(waitMs, end);
      signal.addEventListener('abort', end, { once: true });
      this.#waiting.add(end);
      if (signal.aborted) end();
    });
    return { promise, cancel: end };
  }

  #look(): void {
    for (const wake of this.#waiting) wake();
  }

  // --- settling -----------------------------------------------------------------------------------------------------------

  settleIn(_tx: StoreTransaction, deliveries: readonly Delivery[]): void {
    if (this.state !== 'working') {
      throw new WaybillError('LEASE_LOST', `this consumer of ${this.name} is ${this.state}: nothing may be committed`);
    }
    // With one queue the inbox knows what comes again. Of a partition another instance may be the active consumer by now.
    if (this.#host.members === undefined || deliveries.every((delivery) => this.#held.has(delivery))) return;
    throw new WaybillError('LEASE_LOST', `a partition of ${this.name} was lost on the way: what was received of it comes again`);
  }

  settle(deliveries: readonly Delivery[]): void {
    this.#host.link.together(); // acknowledgements of many subscriptions, as after a heartbeat
    for (const [reader, entries] of this.#entriesOf(deliveries)) reader.settle(entries);
    this.#look();
  }

  release(deliveries: readonly Delivery[]): void {
    for (const [reader, entries] of this.#entriesOf(deliveries)) reader.release(entries);
    this.#look();
    this.#tidyLater();
  }

  #entriesOf(deliveries: readonly Delivery[]): Map<Reader, Entry[]> {
    const byReader = new Map<Reader, Entry[]>();
    for (const delivery of deliveries) {
      const entry = this.#held.get(delivery);
      if (!entry) continue; // its reader was lost: it comes again
      this.#held.delete(delivery);
      const entries = byReader.get(entry.reader);
      if (entries) entries.push(entry);
      else byReader.set(entry.reader, [entry]);
    }
    return byReader;
  }

  // --- progress -----------------------------------------------------------------------------------------------------------

  #outstanding(): ReturnType<typeof cameOf>[][] {
    const outstanding = this.#readers.map((reader) => (reader?.buffer ?? []).map(cameOf));
    for (const entry of this.#held.values()) outstanding[this.#readers.indexOf(entry.reader)]?.push(cameOf(entry));
    return outstanding;
  }

  progress(): readonly SourceProgress[] {
    this.#watchedMs = this.#host.clock.monotonic();
    return this.#progress.report(this.#outstanding(), this.#host.clock.monotonic());
  }

  /** For the service's other instances. */
  word(): Word {
    return this.#progress.word(this.#outstanding());
  }

  heard(by: string, word: Word): void {
    this.#progress.heard(by, word, this.#host.clock.monotonic());
  }

  /**
   * The queues into which this instance is to put a publisher's heartbeat: those that somebody reads, in this moment, of
   * a subscription that has something to do with it.
   */
  beat(source: string, time: number): readonly string[] {
    const { declaration, queues, clock, concerns } = this.#host;
    if (this.state !== 'working' || !this.#isAsking() || !declaration.bindings.some(({ type }) => type === heartbeatType)) return [];
    if (!this.#progress.knows(source) && !concerns(source)) return [];
    const nowMs = clock.monotonic();
    const watched = nowMs - this.#watchedMs < watchedMs;
    return queues.filter((_, index) => {
      const reader = this.#readers[index];
      if (reader?.state !== 'open') return false;
      return this.#beats.takes(index, { source, time }, { reached: this.#progress.reached(index, source), active: reader.active, watched, nowMs });
    });
  }

  /** A worker that is paused, or has all that it can hold, does not. */
  #isAsking(): boolean {
    return this.#waiting.size > 0 || this.#host.clock.monotonic() - this.#askedMs <= unusedMs;
  }

  // --- balance and life ---------------------------------------------------------------------------------------------------

  /** With one queue only while something lies here that could be given back: an idle subscription has no timer. */
  #tidyLater(): void {
    if (this.#cancelTidy !== undefined || this.state !== 'working') return;
    const { clock } = this.#host;
    const afterMs = tidyMs * (0.75 + clock.random() / 2);
    const dueMs = clock.monotonic() + afterMs;
    this.#cancelTidy = clock.after(afterMs, () => {
      // A process that stood still has not asked either: that says nothing, and what it has in hand it goes on with.
      if (clock.monotonic() - dueMs > tidyMs) this.#askedMs = clock.monotonic();
      void this.#tidy()
        .catch(() => {}) // the broker is away: nothing to balance
        .finally(() => {
          this.#cancelTidy = undefined;
          if (this.#host.members !== undefined || this.#readers.some((reader) => reader !== undefined && reader.buffer.length > 0)) this.#tidyLater();
        });
    });
  }

  async #tidy(): Promise<void> {
    const { queues, members } = this.#host;
    if (!this.#isAsking()) {
      for (const reader of this.#readers) {
        if (!reader || reader.buffer.length === 0) continue;
        this.#leave(reader);
      }
      return;
    }
    if (members === undefined) return;
    const mine = this.#readers.filter((reader) => reader !== undefined).filter((reader) => reader.active && reader.state === 'open');
    const instances = await this.#countInstances(members);
    const share = Math.ceil(queues.length / Math.max(1, instances));
    const surplus = mine.length - share;
    if (surplus <= 0) return;
    // Those with work that nobody has begun first: it is what another instance could be doing.
    const rank = ({ held, buffer }: Reader): number => (held.size > 0 ? 2 : buffer.length > 0 ? 0 : 1);
    for (const reader of mine.sort((a, b) => rank(a) - rank(b)).slice(0, surplus)) reader.leave();
  }

  async #countInstances(members: string): Promise<number> {
    if (!this.#member) {
      const channel = await this.#host.link.channel();
      channel.on('close', () => this.#member === channel && (this.#member = undefined));
      this.#member = channel;
      await channel.consume(members, () => {});
    }
    return (await this.#host.inspect(members))?.consumerCount ?? 1;
  }

  /** Removed for the whole service. */
  async retire(): Promise<void> {
    if (this.state !== 'working') return;
    this.state = 'retired';
    await this.#closeReaders();
  }

  async close(): Promise<void> {
    if (this.state === 'closed') return;
    this.state = 'closed';
    await this.#closeReaders();
    this.#host.onClose();
  }

  async #closeReaders(): Promise<void> {
    this.#cancelTidy?.();
    this.#look();
    if (this.#member) void goodbye(this.#member, this.#host.clock);
    await Promise.all([...this.#readers.map((reader) => reader?.close()), ...[...this.#opening.values()].map((opening) => opening.catch(() => {}))]);
    this.#held.clear();
  }
}

function cameOf({ source, time, delivery }: Entry): { source: string; time: number; isHeartbeat: boolean } {
  return { source, time, isHeartbeat: isHeartbeat(delivery) };
}
