/**
 * The sessions of a `by-key` subscription that this instance holds, each one exclusively. A session is accepted when
 * somebody waits and nothing is there, one after another; it is left when it has been empty for a while. The session's
 * state says that it is held: whoever finds that after the holder has died knows that its first messages were perhaps in
 * flight. The delivery count does not tell: Azure does not count what a session that was closed had in hand.
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import type { AzureClient, AzureReceived, AzureSession } from './client.ts';
import type { Held, Sink, Source } from './held.ts';
import { sessionsMax } from './names.ts';
import type { Place } from './topology.ts';
import { isMissing, isNoSession } from './trouble.ts';

/** Messages of one session in hand. */
const creditPerSession = 32;
/** A session without messages is left to others after this long: accepting it again costs three round trips. */
const idleMs = 5_000;
/** A session that was accepted has its messages within this time, or the next one is tried. */
const firstMessageMs = 500;
/** The SDK renews a session's lock for this long: for as long as we hold it. */
const renewForMs = 365 * 86_400_000;
const held = 'held';
const options = { receiveMode: 'peekLock', skipParsingBodyAsJson: true, maxAutoLockRenewalDurationInMs: renewForMs } as const;

export class Sessions {
  readonly #client: AzureClient;
  readonly #place: Place;
  readonly #sink: Sink;
  readonly #clock: Clock;
  readonly #open = new Set<HeldSession>();
  #accepting: Promise<void> | undefined;
  #closed = false;

  /** @param acceptor a client whose operations end soon: an accept cannot be taken back */
  constructor(place: Place, { acceptor, sink, clock }: { acceptor: AzureClient; sink: Sink; clock: Clock }) {
    this.#place = place;
    this.#client = acceptor;
    this.#sink = sink;
    this.#clock = clock;
  }

  want(_max: number): void {
    if (this.#accepting || this.#closed) return;
    this.#accepting = this.#acceptWhileHungry().finally(() => {
      this.#accepting = undefined;
    });
  }

  /** Nothing is under way at the broker any more. */
  async quiet(): Promise<void> {
    await this.#accepting;
  }

  async #acceptWhileHungry(): Promise<void> {
    const { topic, name } = this.#place;
    while (!this.#closed && this.#sink.hungry() && this.#open.size < sessionsMax) {
      try {
        const session = await (topic === undefined ? this.#client.acceptNextSession(name, options) : this.#client.acceptNextSession(topic, name, options));
        await this.#begin(session);
      } catch (error) {
        if (this.#closed) return;
        if (isNoSession(error)) continue;
        if (isMissing(error)) return this.#sink.gone();
        return this.#sink.broken(error);
      }
    }
  }

  async #begin(session: AzureSession): Promise<void> {
    if (this.#closed || !this.#sink.hungry()) return session.close(); // nobody waits for it any more
    // Where its state cannot be learned (the management link may be stuck after a cut) it counts as held: caution costs only time.
    const wasHeld = await session.getSessionState().then((state) => state === held, () => true);
    await session.setSessionState(held).catch(() => {});
    if (this.#closed) {
      await session.setSessionState(null).catch(() => {});
      return session.close();
    }
    const one = new HeldSession(session, { kind: this.#place.kind, sink: this.#sink, clock: this.#clock, suspects: wasHeld ? creditPerSession : 0, left: () => this.#open.delete(one) });
    this.#open.add(one);
    await one.start();
  }

  /** Takes nothing more, for good: sessions are given up one by one, so only a consumer that closes stops them all. */
  async stop(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#open].map((session) => session.stop()));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#open].map((session) => session.leave()));
  }
}

interface HeldSessionOptions {
  readonly kind: Place['kind'];
  readonly sink: Sink;
  readonly clock: Clock;
  /** So many of its first messages were perhaps in flight when its last holder died. */
  readonly suspects: number;
  readonly left: () => void;
}

/** `working` until it is left (idle, closed) or lost (its lock, or the connection). */
class HeldSession implements Source {
  readonly kind: Place['kind'];
  readonly #session: AzureSession;
  readonly #options: HeldSessionOptions;
  #state: 'working' | 'left' | 'lost' = 'working';
  #suspects: number;
  #inHand = 0;
  #stop: () => Promise<void> = async () => {};
  #cancelIdle = (): void => {};
  #first = Promise.withResolvers<void>();

  constructor(session: AzureSession, options: HeldSessionOptions) {
    this.kind = options.kind;
    this.#session = session;
    this.#options = options;
    this.#suspects = options.suspects;
  }

  get holds(): boolean {
    return this.#state === 'working';
  }

  /** Resolves with its first message, or when none comes. */
  async start(): Promise<void> {
    const { clock } = this.#options;
    const subscription = this.#session.subscribe(
      { processMessage: (message) => this.#take(message), processError: async ({ error }) => this.#lost(error) },
      { autoCompleteMessages: false, maxConcurrentCalls: creditPerSession },
    );
    this.#stop = () => subscription.close();
    this.#restartIdle();
    const over = new AbortController();
    await Promise.race([this.#first.promise, sleep(clock, firstMessageMs, over.signal)]);
    over.abort();
  }

  #take(message: AzureReceived): Promise<void> {
    this.#cancelIdle();
    return new Promise((resolve) => {
      this.#inHand++;
      const suspect = this.#suspects > 0;
      if (suspect) this.#suspects--;
      this.#options.sink.arrived(this, message, suspect, () => {
        resolve();
        if (--this.#inHand === 0) this.#restartIdle();
      });
      this.#first.resolve();
    });
  }

  #restartIdle(): void {
    this.#cancelIdle();
    this.#cancelIdle = this.#options.clock.after(idleMs, () => {
      if (this.#inHand === 0) void this.leave();
    });
  }

  #lost(error: unknown): void {
    if (this.#state !== 'working') return;
    this.#end('lost');
    this.#session.close().catch(() => {});
    this.#options.sink.lost(this);
    if (isMissing(error)) this.#options.sink.gone();
    else if (!isNoSession(error) && (error as { code?: string }).code !== 'SessionLockLost') this.#options.sink.broken(error);
  }

  #end(state: 'left' | 'lost'): void {
    this.#state = state;
    this.#cancelIdle();
    this.#first.resolve();
    this.#options.left();
  }

  async complete({ message }: Held): Promise<void> {
    await this.#session.completeMessage(message);
  }

  async abandon({ message }: Held, changes: { [name: string]: number } | undefined): Promise<void> {
    await this.#session.abandonMessage(message, changes);
  }

  /** Takes nothing more. */
  async stop(): Promise<void> {
    await this.#stop().catch(() => {});
  }

  /** In peace: whatever it had in hand has been settled or abandoned. */
  async leave(): Promise<void> {
    if (this.#state !== 'working') return;
    this.#end('left');
    await this.stop();
    await this.#session.setSessionState(null).catch(() => {});
    await this.#session.close().catch(() => {});
  }
}
