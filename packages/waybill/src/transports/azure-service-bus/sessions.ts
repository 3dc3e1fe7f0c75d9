/**
 * The sessions of a `by-key` subscription that this instance holds, each one exclusively. A session is accepted when
 * somebody waits and nothing is there, one after another; and now and then while there is always something, so that a session
 * whose messages never end does not keep the others from their turn. The session's state says that it is held: whoever finds
 * that after the holder has died knows that its first messages were perhaps in flight. The delivery count does not tell: Azure
 * does not count what a session that was closed had in hand.
 */
import type { Clock } from '../../contract/clock.ts';
import type { AzureClient, AzureSession } from './client.ts';
import type { Clients } from './clients.ts';
import type { Sink, Source } from './held.ts';
import { creditPerSession, HeldSession } from './held-session.ts';
import { sessionsMax } from './names.ts';
import type { Place } from './settings.ts';
import { isMissing, isNoSession } from './trouble.ts';
import { answerWithin, Patience } from './watch.ts';

/** While there is always something to do, a further session is accepted this often. */
const turnMs = 1_000;
const held = 'held';
/** The lock is renewed by us: see held-session.ts. */
const options = { receiveMode: 'peekLock', skipParsingBodyAsJson: true, maxAutoLockRenewalDurationInMs: 0 } as const;

export interface SessionsOptions {
  /** Clients whose operations end soon: an accept cannot be taken back. */
  readonly acceptors: Clients;
  /** An accept without an answer after so long stands still. `Infinity` where the client is the user's, with its own time. */
  readonly acceptMaxMs: number;
  /** How long the answer to anything else may take. */
  readonly silentMs: number;
  /** How long a lock is made to last. */
  readonly lockMs: number;
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
  /** When a session was last begun, or looked for in its turn and not found; by the monotonic clock. */
  #turnMs = -Infinity;
  #closed = false;

  constructor(place: Place, options: SessionsOptions) {
    this.#place = place;
    this.#options = options;
    this.#sink = options.sink;
    this.#clock = options.clock;
    this.#patience = { accept: new Patience(options.acceptMaxMs), answer: new Patience(options.silentMs) };
  }

  /** Somebody waits, and nothing is there. */
  want(_max: number): void {
    this.#accept(() => this.#sink.hungry());
  }

  /** Somebody takes, and there always is something. */
  takes(): void {
    if (!this.#isTurn()) return;
    let tries = 0;
    this.#accept(() => tries++ === 0 || this.#sink.hungry());
  }

  #isTurn(): boolean {
    return this.#clock.monotonic() - this.#turnMs >= turnMs;
  }

  #accept(mayGoOn: () => boolean): void {
    if (this.#accepting || this.#closed) return;
    this.#accepting = this.#acceptWhile(mayGoOn).finally(() => {
      this.#accepting = undefined;
    });
  }

  /** Nothing is under way at the broker any more. */
  async quiet(): Promise<void> {
    await this.#accepting;
  }

  async #acceptWhile(mayGoOn: () => boolean): Promise<void> {
    const { acceptors } = this.#options;
    while (!this.#closed && this.#open.size < sessionsMax && mayGoOn()) {
      const client = acceptors.take();
      try {
        if ((await this.#acceptOne(client)) === 'stuck') acceptors.replace(client);
      } catch (error) {
        if (this.#closed) return;
        this.#turnMs = this.#clock.monotonic();
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
    const { acceptors, silentMs, lockMs } = this.#options;
    let begun = false;
    try {
      if (this.#closed || !(this.#sink.hungry() || this.#isTurn())) return 'done'; // nobody waits for it any more
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
        lockMs,
        suspects: wasHeld === false ? 0 : creditPerSession,
        ended: () => this.#open.delete(one),
        closed: () => acceptors.leave(client),
      });
      begun = true;
      this.#turnMs = this.#clock.monotonic();
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

  /** Nobody takes any more: sessions whose messages nobody has been given go to other instances. */
  async giveUp(isInUse: (source: Source) => boolean): Promise<void> {
    const unused = [...this.#open].filter((session) => !isInUse(session));
    await Promise.all(unused.map((session) => session.leave()));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#open].map((session) => session.leave()));
  }
}
