/**
 * In: one instance's hold on a subscription. Deliveries are pulled from a buffer that links or sessions fill with what was
 * asked for. A delivery is completed after its transaction has committed; if the lock was lost by then, it comes again and
 * the inbox knows it. What was released goes back into the buffer, to its old place, and to the broker when nobody asks
 * for it. On closing, everything in hand is given back: what was only buffered under no suspicion.
 *
 * Cost per message: one transfer, one disposition, and a renewal each half lock time while it is in hand.
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { Logger, Signals } from '../../contract/signals.ts';
import type { Consumer, Declaration, Delivery, SourceProgress } from '../../contract/transport.ts';
import type { AzureReceived } from './client.ts';
import type { Clients } from './clients.ts';
import type { Held, Sink, Source } from './held.ts';
import { Links } from './links.ts';
import { Progress } from './progress.ts';
import { Sessions } from './sessions.ts';
import type { Place } from './settings.ts';
import type { Topology } from './topology.ts';
import { isLockLost, lastError, translated } from './trouble.ts';
import { deliveryOf, fromAzure, givenBack } from './wire.ts';

const concurrencyDefault = 16;
/** What nobody asks for goes back to the broker after this long. */
const unwantedMs = 5_000;
/** Completions under way, before `settle` waits for them. */
const completionsMax = 1_000;
/** What could not be given back by then comes back when its lock runs out. */
const closeMaxMs = 5_000;
/** While the queue of a former name is being emptied. */
const movedPollMs = 200;

export interface ConsumerOptions {
  readonly declaration: Declaration;
  readonly clients: Clients;
  readonly acceptors: Clients;
  readonly acceptMaxMs: number;
  readonly silentMs: number;
  readonly lockMs: number;
  readonly topology: Topology;
  readonly clock: Clock;
  readonly signals: Signals;
  readonly warn: Logger['warn'];
}

export class AzureConsumer implements Consumer, Sink {
  /** `working`; `retired` once its subscription was removed; `closed`. */
  #state: 'working' | 'retired' | 'closed' = 'working';
  readonly #options: ConsumerOptions;
  readonly #clock: Clock;
  #inlets: (Links | Sessions)[];
  /** The queue of a former name, to be emptied before anything else. */
  #moved: string | undefined;
  #movedLookedMs = -Infinity;
  /** Whether the subscription's own places are received from. */
  #begun: boolean;
  /** By rising place. */
  #buffer: Held[] = [];
  readonly #given = new Map<Delivery, Held>();
  readonly #completions = new Set<Promise<void>>();
  readonly #progress = new Progress();
  /** Each looks whether there is something for it. */
  readonly #waiting = new Set<() => void>();
  #wanted = 0;
  #broken: unknown;
  #places = 0;
  /** It is found out whether it was removed. */
  #remaking = false;
  #cancelUnwanted = (): void => {};
  #closing: Promise<void> | undefined;

  constructor(options: ConsumerOptions, moved: string | undefined) {
    this.#options = options;
    this.#clock = options.clock;
    this.#moved = moved;
    this.#begun = moved === undefined;
    this.#inlets = this.#inletsFor(moved === undefined ? options.topology.places(options.declaration) : [{ kind: 'event', name: moved }]);
  }

  #inletsFor(places: readonly Place[]): (Links | Sessions)[] {
    const { order, concurrency = concurrencyDefault } = this.#options.declaration;
    const ground = { ...this.#options, concurrency, sink: this as Sink };
    const bySession = order === 'by-key';
    return places.map((place) => (bySession ? new Sessions(place, ground) : new Links(place, ground)));
  }

  get active(): boolean {
    return this.#state === 'working';
  }

  // --- receiving --------------------------------------------------------------------------------------------------------

  receive(max: number, { waitMs, signal }: { readonly waitMs: number; readonly signal: AbortSignal }): Promise<readonly Delivery[]> {
    if (this.#closing) return Promise.reject(new WaybillError('STOPPED', `a consumer of ${this.#options.declaration.name} was closed`));
    this.#armUnwanted();
    for (const inlet of this.#inlets) if (inlet instanceof Sessions) inlet.takes();
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        cancel();
        this.#wanted = 0;
        signal.removeEventListener('abort', empty);
        this.#waiting.delete(look);
        settle();
      };
      const empty = (): void => end(() => resolve([]));
      const look = (): void => {
        if (this.#closing || signal.aborted) return empty();
        if (this.#buffer.length > 0) return end(() => resolve(this.#take(max)));
        if (this.#broken !== undefined) {
          const error = translated(this.#broken, `receiving for ${this.#options.declaration.name}`);
          this.#broken = undefined; // the next receive tries again
          return end(() => reject(error));
        }
        this.#want(max);
      };
      const cancel = waitMs > 0 ? this.#clock.after(waitMs, empty) : () => {};
      this.#waiting.add(look);
      signal.addEventListener('abort', empty, { once: true });
      look();
      if (waitMs <= 0) empty();
    });
  }

  #want(max: number): void {
    this.#wanted = max;
    if (this.#state !== 'working' || this.#remaking) return;
    if (this.#moved !== undefined) void this.#lookAtMoved(this.#moved);
    for (const inlet of this.#inlets) inlet.want(max);
  }

  hungry(): boolean {
    return this.#wanted > 0 && this.#buffer.length === 0 && this.#state === 'working';
  }

  #take(max: number): Delivery[] {
    return this.#buffer.splice(0, max).map((held) => {
      const { unexplained } = held.arrived;
      const delivery = deliveryOf(held.message, held.arrived, held.source.kind, {
        redelivered: held.again || held.suspect || (held.message.deliveryCount ?? 0) > 0,
        suspect: held.suspect || unexplained > 0,
      });
      held.state = 'given';
      held.delivery = delivery;
      this.#given.set(delivery, held);
      return delivery;
    });
  }

  #look(): void {
    for (const look of [...this.#waiting]) look();
  }

  /**
   * A former name's queue comes first. When all that is left of it is in our own hands, where its keys are in order, the
   * subscription's own begins beside it; when nothing is left, it is closed.
   */
  async #lookAtMoved(moved: string): Promise<void> {
    const now = this.#clock.monotonic();
    if (now - this.#movedLookedMs < movedPollMs) return;
    this.#movedLookedMs = now;
    try {
      const left = await this.#options.topology.leftIn(moved);
      if (this.#moved === undefined || this.#state !== 'working') return;
      if (left === 0) {
        const old = this.#inlets[0]!;
        this.#moved = undefined;
        if (!this.#begun) this.#begin();
        this.#inlets = this.#inlets.filter((inlet) => inlet !== old);
        await old.close();
      } else if (left <= this.#given.size && !this.#begun) this.#begin();
    } catch (error) {
      this.broken(error);
    } finally {
      if (this.#moved !== undefined) this.#clock.after(movedPollMs, () => this.#look());
    }
  }

  #begin(): void {
    this.#begun = true;
    this.#inlets = [...this.#inlets, ...this.#inletsFor(this.#options.topology.places(this.#options.declaration))];
    this.#look();
  }

  // --- what links and sessions tell -------------------------------------------------------------------------------------

  arrived(source: Source, message: AzureReceived, suspect: boolean, free: () => void): void {
    let freed = false;
    const held: Held = {
      message,
      arrived: fromAzure(message),
      source,
      place: this.#places++,
      sinceMs: this.#clock.monotonic(),
      state: 'buffered',
      again: false,
      suspect,
      delivery: undefined,
      free: () => {
        if (!freed) free();
        freed = true;
      },
    };
    this.#buffer.push(held);
    this.#progress.took(held);
    if (source instanceof Links) source.keep(held);
    if (this.#closing) void this.#giveBack([held]);
    else if (this.#state === 'retired') this.lost(source);
    else this.#look();
  }

  lost(source: Source): void {
    for (const held of [...this.#buffer, ...this.#given.values()]) {
      if (held.source !== source) continue;
      held.state = 'lost';
      this.#end(held);
    }
    this.#buffer = this.#buffer.filter((held) => held.source !== source);
  }

  broken(error: unknown): void {
    if (this.#state !== 'working' || this.#closing) return;
    this.#broken ??= error;
    this.#look();
  }

  anew(): void {
    this.#look();
  }

  gone(): void {
    if (this.#state !== 'working') return;
    if (this.#moved !== undefined) return void this.#lookAtMoved(this.#moved); // another instance has emptied it
    for (const held of [...this.#buffer, ...this.#given.values()]) {
      held.state = 'lost';
      this.#end(held);
    }
    this.#buffer = [];
    if (this.#remaking) return;
    this.#remaking = true;
    void this.#remake().finally(() => {
      this.#remaking = false;
      this.#look();
    });
  }

  async #remake(): Promise<void> {
    const { topology, declaration, signals, warn } = this.#options;
    try {
      const made = await topology.remake(declaration);
      if (made === undefined) this.#state = 'retired';
      else if (made.length > 0) {
        warn({ subscription: declaration.name, entities: made }, 'what it receives from was gone from Azure Service Bus, with what it held: it is made again');
        signals.emit('queue-made', { subscription: declaration.name });
      } // else another instance was quicker
    } catch (error) {
      this.broken(error);
    }
  }

  // --- settling ---------------------------------------------------------------------------------------------------------

  settleIn(_tx: unknown, deliveries: readonly Delivery[]): void {
    const { name } = this.#options.declaration;
    if (this.#state !== 'working' || this.#closing) throw new WaybillError('LEASE_LOST', `this consumer of ${name} is ${this.#state}: nothing may be committed`);
    for (const delivery of deliveries) {
      const held = this.#given.get(delivery);
      // A lock that ran out alone is the inbox's business; a session that is lost is at work elsewhere, with later messages.
      if (held ? !held.source.holds : this.#options.declaration.order === 'by-key') {
        throw new WaybillError('LEASE_LOST', `${name}: the session of this message was lost; it comes again`);
      }
    }
  }

  settle(deliveries: readonly Delivery[]): Promise<void> | void {
    for (const delivery of deliveries) {
      const held = this.#given.get(delivery);
      if (!held) continue; // it went back meanwhile, and comes again
      this.#given.delete(delivery);
      this.#progress.ended(held);
      held.state = 'done';
      const completion = held.source.complete(held).catch((error: unknown) => this.#notCompleted(error)).finally(() => {
        this.#completions.delete(completion);
        held.free();
      });
      if (!held.source.isBehind) held.free();
      this.#completions.add(completion);
    }
    if (this.#completions.size > completionsMax) return Promise.all(this.#completions).then(() => {});
  }

  /** It comes again, and the inbox knows it. Locks and connections are lost now and then; anything else is worth knowing. */
  #notCompleted(error: unknown): void {
    const { retryable, errno } = lastError(error);
    if (isLockLost(error) || retryable !== false || errno !== undefined || this.#closing) return;
    this.#options.signals.emit('trouble', { where: `${this.#options.declaration.name}: acknowledging (${lastError(error).code ?? 'error'})`, error });
  }

  release(deliveries: readonly Delivery[]): void {
    const back: Held[] = [];
    for (const delivery of deliveries) {
      const held = this.#given.get(delivery);
      if (!held) continue;
      this.#given.delete(delivery);
      if (!held.source.holds || held.state === 'lost') this.#end(held);
      else back.push(Object.assign(held, { state: 'buffered' as const, again: true, delivery: undefined }));
    }
    if (back.length === 0) return;
    this.#buffer = [...back, ...this.#buffer].sort((a, b) => a.place - b.place);
    this.#look();
  }

  #end(held: Held): void {
    if (held.delivery) this.#given.delete(held.delivery);
    this.#progress.ended(held);
    held.free();
  }

  // --- giving back ------------------------------------------------------------------------------------------------------

  #armUnwanted(): void {
    this.#cancelUnwanted();
    this.#cancelUnwanted = this.#clock.after(unwantedMs, () => void this.#giveBackUnwanted());
  }

  /** A consumer that is paused, or busy for long, keeps nothing from the others. */
  async #giveBackUnwanted(): Promise<void> {
    if (this.#state !== 'working' || this.#closing) return;
    if (this.#waiting.size > 0) return this.#armUnwanted();
    if (this.#buffer.length === 0) return;
    await Promise.all(this.#inlets.map((inlet) => (inlet instanceof Links ? inlet.stop() : this.#giveUp(inlet))));
    if (this.#waiting.size > 0 || this.#closing) return;
    await this.#giveBack(this.#buffer.filter(({ source }) => source instanceof Links));
  }

  /** The broker has them back with their session: none was given to anybody, so they are suspected of nothing. */
  async #giveUp(sessions: Sessions): Promise<void> {
    const inUse = new Set([...this.#given.values()].map(({ source }) => source));
    const left = sessions.giveUp((source) => inUse.has(source));
    const gone = this.#buffer.filter(({ source }) => !source.holds);
    this.#buffer = this.#buffer.filter(({ source }) => source.holds);
    for (const held of gone) {
      held.state = 'done';
      this.#end(held);
    }
    await left;
  }

  async #giveBack(some: readonly Held[]): Promise<void> {
    const all = new Set(some);
    this.#buffer = this.#buffer.filter((held) => !all.has(held));
    await Promise.all(
      some.map(async (held) => {
        const inPeace = held.state === 'buffered';
        if (held.state === 'lost' || held.state === 'done') return;
        held.state = 'done';
        // No credit for it: where this consumer stops taking, the message would come straight back.
        if (held.delivery) this.#given.delete(held.delivery);
        this.#progress.ended(held);
        await held.source.abandon(held, inPeace ? givenBack(held.arrived) : undefined).catch(() => {}); // its lock runs out
      }),
    );
  }

  progress(): readonly SourceProgress[] {
    return this.#progress.report();
  }

  /** After `close`: what it had asked the broker for has been answered. Until then the client must stay open. */
  async quiet(): Promise<void> {
    await Promise.all(this.#inlets.map((inlet) => inlet.quiet()));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#cancelUnwanted();
    const limit = new AbortController();
    const work = async (): Promise<void> => {
      await Promise.all(this.#inlets.map((inlet) => inlet.stop()));
      await Promise.all(this.#completions);
      await this.#giveBack([...this.#buffer, ...this.#given.values()].sort((a, b) => a.place - b.place));
      await Promise.all(this.#inlets.map((inlet) => inlet.close()));
    };
    await Promise.resolve(); // `close` has to return its promise before anybody is told
    this.#look();
    if (this.#state === 'working') await Promise.race([work().catch(() => {}), sleep(this.#clock, closeMaxMs, limit.signal)]);
    else await Promise.race([Promise.all(this.#inlets.map((inlet) => inlet.close())), sleep(this.#clock, closeMaxMs, limit.signal)]);
    limit.abort();
    this.#state = 'closed';
    this.#buffer = [];
    this.#look();
  }
}
