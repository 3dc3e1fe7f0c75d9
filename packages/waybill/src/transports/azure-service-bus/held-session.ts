/**
 * One session that this instance holds, exclusively. Its lock is renewed for as long as it is held: the SDK does that too,
 * but gives up silently after one renewal that failed.
 *
 *     working ─nothing in hand for a while, or held long enough─► left
 *     working ─its lock or its link is gone─► lost
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import type { AzureReceived, AzureSession } from './client.ts';
import type { Held, Sink, Source } from './held.ts';
import type { Place } from './settings.ts';
import { renewAfterMs, renewAgainMs } from './renewal.ts';
import { isLockLost, isMissing, isNoSession } from './trouble.ts';
import { answerWithin } from './watch.ts';

/** Messages of one session in hand. */
export const creditPerSession = 32;
/** A session without messages is left to others after this long: accepting it again costs three round trips. */
const idleMs = 5_000;
/**
 * One whose messages never end is left all the same, so that other instances get their part of the sessions, and other sessions
 * their turn. Longer than all of ours take to be accepted in their turns: so each of them is reached, whichever Azure gives first.
 */
export const holdMaxMs = 60_000;
/** A session that was accepted has its messages within this time, or the next one is tried. */
const firstMessageMs = 500;

export interface HeldSessionOptions {
  readonly kind: Place['kind'];
  readonly sink: Sink;
  readonly clock: Clock;
  readonly silentMs: number;
  readonly lockMs: number;
  /** So many of its first messages were perhaps in flight when its last holder died. */
  readonly suspects: number;
  /** It is worked on no more; then, when that was told to the broker or could not be. */
  readonly ended: () => void;
  readonly closed: () => void;
}

export class HeldSession implements Source {
  readonly kind: Place['kind'];
  readonly #session: AzureSession;
  readonly #options: HeldSessionOptions;
  #state: 'working' | 'left' | 'lost' = 'working';
  #suspects: number;
  #inHand = 0;
  #acknowledging = 0;
  #stopped = false;
  #cancelIdle = (): void => {};
  #cancelRenewal = (): void => {};
  #cancelHold = (): void => {};
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
    const { clock, lockMs } = this.#options;
    this.#session.subscribe(
      { processMessage: (message) => this.#take(message), processError: async ({ error }) => this.#lost(error) },
      { autoCompleteMessages: false, maxConcurrentCalls: creditPerSession },
    );
    this.#restartIdle();
    this.#renewAfter(renewAfterMs(this.#session.sessionLockedUntilUtc, clock.now(), lockMs));
    this.#cancelHold = clock.after(holdMaxMs, () => this.#retire());
    const over = new AbortController();
    await Promise.race([this.#first.promise, sleep(clock, firstMessageMs, over.signal)]);
    over.abort();
  }

  #take(message: AzureReceived): Promise<void> {
    if (this.#state !== 'working') return new Promise(() => {}); // it goes back with the session, and no credit is given for it
    this.#cancelIdle();
    return new Promise((resolve) => {
      this.#inHand++;
      const suspect = this.#suspects > 0;
      if (suspect) this.#suspects--;
      this.#options.sink.arrived(this, message, suspect, () => {
        if (!this.#stopped) resolve(); // which gives credit for another one
        if (--this.#inHand === 0) this.#emptied();
      });
      this.#first.resolve();
    });
  }

  #emptied(): void {
    if (this.#state !== 'working') return;
    if (!this.#stopped) this.#restartIdle();
    else if (this.#acknowledging === 0) void this.leave();
  }

  #restartIdle(): void {
    this.#cancelIdle();
    this.#cancelIdle = this.#options.clock.after(idleMs, () => {
      if (this.#inHand === 0) void this.leave();
    });
  }

  /** It is left with the last message in hand: no more come than credit was given for. */
  #retire(): void {
    this.stop();
    if (this.#inHand === 0) this.#emptied();
  }

  // --- its lock ---------------------------------------------------------------------------------------------------------

  #renewAfter(ms: number): void {
    this.#cancelRenewal = this.#options.clock.after(ms, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const { clock, lockMs } = this.#options;
    let nextMs: number;
    try {
      nextMs = renewAfterMs(await this.#session.renewSessionLock(), clock.now(), lockMs);
    } catch (error) {
      if (isLockLost(error)) return this.#lost(error);
      nextMs = renewAgainMs(lockMs);
    }
    if (this.#state === 'working') this.#renewAfter(nextMs);
  }

  #lost(error: unknown): void {
    if (this.#state !== 'working') return;
    this.#end('lost');
    void this.#close();
    this.#options.sink.lost(this);
    if (isMissing(error)) this.#options.sink.gone();
    else if (!isNoSession(error) && !isLockLost(error)) this.#options.sink.broken(error);
  }

  #end(state: 'left' | 'lost'): void {
    this.#state = state;
    this.#cancelIdle();
    this.#cancelRenewal();
    this.#cancelHold();
    this.#first.resolve();
    this.#options.ended();
  }

  async complete({ message }: Held): Promise<void> {
    this.#acknowledging++;
    try {
      await this.#session.completeMessage(message);
    } finally {
      this.#acknowledging--;
      if (this.#stopped && this.#inHand === 0) this.#emptied();
    }
  }

  get isBehind(): boolean {
    return this.#acknowledging > creditPerSession;
  }

  async abandon({ message }: Held, changes: { [name: string]: number } | undefined): Promise<void> {
    await this.#session.abandonMessage(message, changes);
  }

  /** Gives no more credit; what that was given for may come yet. The SDK's own way would drain the link, see safe-drain.ts. */
  stop(): void {
    this.#stopped = true;
  }

  /** In peace: what it had in hand has been settled or abandoned, or goes back with it untouched. */
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
