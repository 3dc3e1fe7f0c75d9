/**
 * The sessions of a `by-key` subscription that this instance holds, each one exclusively. A session is accepted when
 * somebody waits and nothing is there, one after another; it is left when it has been empty for a while. The session's
 * state says that it is held: whoever finds that after the holder has died knows that its first messages were perhaps in
 * flight. The delivery count does not tell: Azure does not count what a session that was closed had in hand.
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import type { AzureClient, AzureReceived, AzureSession } from './client.ts';
import type { Clients } from './clients.ts';
import type { Held, Sink, Source } from './held.ts';
import { sessionsMax } from './names.ts';
import type { Place } from './topology.ts';
import { isMissing, isNoSession } from './trouble.ts';
import { answerWithin, Patience } from './watch.ts';

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

export interface SessionsOptions {
  /** Clients whose operations end soon: an accept cannot be taken back. */
  readonly acceptors: Clients;
  /** An accept without an answer after so long stands still. `Infinity` where the client is the user's, with its own time. */
  readonly acceptMaxMs: number;
  /** How long the answer to anything else may take. */
  readonly silentMs: number;
  readonly sink: Sink;
  readonly clock: Clock;
}

export class Sessions {
  readonly #place: Place;
  readonly #options: SessionsOptions;
  readonly #sink: Sink;
  readonly #clock: Clock;
  readonly #open = new Set<HeldSession>();
  /** With an accept, and with any other answer. */
  readonly #patience: { readonly accept: Patience; readonly answer: Patience };
  #accepting: Promise<void> | undefined;
  #closed = false;

  constructor(place: Place, options: SessionsOptions) {
    this.#place = place;
    this.#options = options;
    this.#sink = options.sink;
    this.#clock = options.clock;
    this.#patience = { accept: new Patience(options.acceptMaxMs), answer: new Patience(options.silentMs) };
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
    const { acceptors } = this.#options;
    while (!this.#closed && this.#sink.hungry() && this.#open.size < sessionsMax) {
      const client = acceptors.take();
      try {
        if ((await this.#acceptOne(client)) === 'stuck') acceptors.replace(client);
      } catch (error) {
        if (this.#closed) return;
        if (isNoSession(error)) continue;
        if (isMissing(error)) return this.#sink.gone();
        return this.#sink.broken(error);
      } finally {
        acceptors.leave(client);
      }
    }
  }

  async #acceptOne(client: AzureClient): Promise<'stuck' | 'done'> {
    const { topic, name } = this.#place;
    const accepting = topic === undefined ? client.acceptNextSession(name, options) : client.acceptNextSession(topic, name, options);
    const session = await this.#within('accept', accepting);
    if (session) return this.#begin(session, client);
    accepting.then((late) => late.close()).catch(() => {});
    return 'stuck';
  }

  async #begin(session: AzureSession, client: AzureClient): Promise<'stuck' | 'done'> {
    const { acceptors, silentMs } = this.#options;
    let begun = false;
    try {
      if (this.#closed || !this.#sink.hungry()) return 'done'; // nobody waits for it any more
      // Where its state cannot be learned it counts as held: caution costs only time. Where it cannot be written, nothing is
      // begun: nobody would know of what we had in hand if we died.
      const wasHeld = await this.#within('answer', session.getSessionState().then((state) => state === held, () => true));
      if (!(await this.#within('answer', session.setSessionState(held).then(() => true)))) return 'stuck';
      if (this.#closed) {
        await this.#within('answer', session.setSessionState(null).catch(() => {}));
        return 'done';
      }
      acceptors.take(client);
      const one = new HeldSession(session, {
        kind: this.#place.kind,
        sink: this.#sink,
        clock: this.#clock,
        silentMs,
        suspects: wasHeld === false ? 0 : creditPerSession,
        ended: () => this.#open.delete(one),
        closed: () => acceptors.leave(client),
      });
      begun = true;
      this.#open.add(one);
      await one.start();
      return 'done';
    } finally {
      if (!begun) await this.#within('answer', session.close().catch(() => {}));
    }
  }

  /** Undefined when it stands still. Rejections are answers too. */
  async #within<T>(what: 'accept' | 'answer', work: Promise<T>): Promise<T | undefined> {
    if (this.#options.acceptMaxMs === Infinity) return work;
    const patience = this.#patience[what];
    let answered = true;
    try {
      const answer = await answerWithin(this.#clock, patience.ms, work.then((value) => ({ value })));
      answered = answer !== undefined;
      return answer?.value;
    } finally {
      if (answered) patience.reset();
      else patience.double();
    }
  }

  /** Takes nothing more, for good: sessions are given up one by one, so only a consumer that closes stops them all. */
  async stop(): Promise<void> {
    this.#closed = true;
    for (const session of this.#open) session.stop();
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
  readonly silentMs: number;
  /** So many of its first messages were perhaps in flight when its last holder died. */
  readonly suspects: number;
  /** It is worked on no more; then, when that was told to the broker or could not be. */
  readonly ended: () => void;
  readonly closed: () => void;
}

/** `working` until it is left (idle, closed) or lost (its lock, or the connection). */
class HeldSession implements Source {
  readonly kind: Place['kind'];
  readonly #session: AzureSession;
  readonly #options: HeldSessionOptions;
  #state: 'working' | 'left' | 'lost' = 'working';
  #suspects: number;
  #inHand = 0;
  #stopped = false;
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
    this.#session.subscribe(
      { processMessage: (message) => this.#take(message), processError: async ({ error }) => this.#lost(error) },
      { autoCompleteMessages: false, maxConcurrentCalls: creditPerSession },
    );
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
        if (!this.#stopped) resolve(); // which gives credit for another one
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
    void this.#close();
    this.#options.sink.lost(this);
    if (isMissing(error)) this.#options.sink.gone();
    else if (!isNoSession(error) && (error as { code?: string }).code !== 'SessionLockLost') this.#options.sink.broken(error);
  }

  #end(state: 'left' | 'lost'): void {
    this.#state = state;
    this.#cancelIdle();
    this.#first.resolve();
    this.#options.ended();
  }

  async complete({ message }: Held): Promise<void> {
    await this.#session.completeMessage(message);
  }

  async abandon({ message }: Held, changes: { [name: string]: number } | undefined): Promise<void> {
    await this.#session.abandonMessage(message, changes);
  }

  /** Gives no more credit; what that was given for may come yet. The SDK's own way would drain the link, see safe-drain.ts. */
  stop(): void {
    this.#stopped = true;
  }

  /** In peace: whatever it had in hand has been settled or abandoned. */
  async leave(): Promise<void> {
    if (this.#state !== 'working') return;
    this.#end('left');
    this.stop();
    const { clock, silentMs } = this.#options;
    await answerWithin(clock, silentMs, this.#session.setSessionState(null).catch(() => {}));
    await this.#close();
  }

  async #close(): Promise<void> {
    const { clock, silentMs, closed } = this.#options;
    await answerWithin(clock, silentMs, this.#session.close().catch(() => {}));
    closed();
  }
}
