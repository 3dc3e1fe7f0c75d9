/**
 * A queue, a subscription, or the dead-letter queue of one of them: messages with peek-locks, delivery counts, times to
 * live, deferral and sessions. Locks live in memory alone: after a restart what was locked is ready again.
 */
import { randomUUID } from 'node:crypto';
import type { Message } from 'rhea';
import { AmqpError, lockLost, sessionLost } from './amqp-error.ts';
import type { Journal } from './journal.ts';
import { Line } from './line.ts';

export interface EntitySettings {
  readonly lockMs: number;
  readonly maxDeliveries: number;
  readonly requiresSession: boolean;
  /** How long a message that says nothing about it lives. */
  readonly ttlMs: number | undefined;
  readonly deadLettersExpired: boolean;
  readonly status: string;
  readonly userMetadata: string;
  readonly autoDeleteMs: number | undefined;
}

export const defaults: EntitySettings = {
  lockMs: 30_000,
  maxDeliveries: 10,
  requiresSession: false,
  ttlMs: undefined,
  deadLettersExpired: false,
  status: 'Active',
  userMetadata: '',
  autoDeleteMs: undefined,
};

export interface Stored {
  readonly seq: number;
  message: Message;
  enqueuedMs: number;
  state: 'active' | 'scheduled' | 'deferred';
  /** Deliveries that ended without a settlement. */
  count: number;
  readonly deadLetterSource?: string | undefined;
  lock?: { token: string; untilMs: number; readonly taker: Taker | undefined } | undefined;
}

/** One receiving link. */
export interface Taker {
  readonly session: string | undefined;
  wants(): boolean;
  /** Hands a message over; `token` is undefined when it is settled by that. */
  give(stored: Stored, token: string): void;
  readonly destructive: boolean;
  /** Nothing more now: a drain may be answered. */
  served(): void;
  /** Its session's lock, or its entity, is gone. */
  end(error: AmqpError): void;
}

interface SessionState {
  state: Buffer | null;
  holder: Taker | undefined;
  untilMs: number;
}

interface Acceptance {
  readonly grant: (id: string) => void;
  readonly cancel: () => void;
}

/** How often locks and times to live are looked at. */
const sweepMs = 25;

export class Entity {
  readonly path: string;
  settings: EntitySettings;
  readonly deadLetters: Entity | undefined;
  readonly takers: Set<Taker> = new Set();
  readonly messages: Map<number, Stored> = new Map();
  readonly #ready = new Map<string, Line<Stored>>();
  /** By token, the one that expires first in front. */
  readonly #locked = new Map<string, Stored>();
  readonly #sessions = new Map<string, SessionState>();
  readonly #acceptances = new Set<Acceptance>();
  readonly #journal: Journal;
  readonly #sweep: NodeJS.Timeout;
  #pumping = false;

  constructor(path: string, settings: EntitySettings, journal: Journal, isDeadLetters = false) {
    this.path = path;
    this.settings = settings;
    this.#journal = journal;
    this.#sweep = setInterval(() => this.expire(Date.now()), sweepMs).unref();
    if (isDeadLetters) return;
    const theirs = { ...settings, maxDeliveries: Infinity, requiresSession: false, ttlMs: undefined };
    this.deadLetters = new Entity(`${path}/$DeadLetterQueue`, theirs, journal, true);
  }

  // --- in ---------------------------------------------------------------------------------------------------------------

  put(stored: Stored): void {
    this.#journal.save(this.path, stored);
    this.restore(stored);
  }

  /** As `put`, of what the journal already has. */
  restore(stored: Stored): void {
    this.messages.set(stored.seq, stored);
    if (stored.state === 'active') this.#makeReady(stored);
    else if (stored.state === 'scheduled') this.#wakeLater(stored);
  }

  #wakeLater(stored: Stored): void {
    setTimeout(() => {
      if (this.messages.get(stored.seq) !== stored) return;
      stored.state = 'active';
      this.#journal.save(this.path, stored);
      this.#makeReady(stored);
    }, Math.max(0, stored.enqueuedMs - Date.now())).unref();
  }

  #makeReady(stored: Stored): void {
    const session = this.#lineOf(stored);
    let line = this.#ready.get(session);
    if (!line) this.#ready.set(session, (line = new Line()));
    line.add(stored);
    if (this.settings.requiresSession) this.#grantNext();
    this.pump();
  }

  #lineOf({ message }: Stored): string {
    return this.settings.requiresSession ? String(message.group_id) : '';
  }

  // --- out --------------------------------------------------------------------------------------------------------------

  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      this.#serve();
    });
  }

  /** One message to each taker in turn, as long as somebody wants one that is there. */
  #serve(): void {
    for (let served = true; served; ) {
      served = false;
      for (const taker of [...this.takers]) {
        if (!this.takers.has(taker) || !taker.wants()) continue; // it may have gone with what another one was given
        const stored = this.#next(taker.session ?? '');
        if (!stored) continue;
        served = true;
        const token = randomUUID();
        if (taker.destructive) this.#forget(stored);
        else this.#lock(stored, token, taker);
        taker.give(stored, token);
        if (this.takers.delete(taker)) this.takers.add(taker); // to the end of the round, unless it left with that
      }
    }
    for (const taker of this.takers) taker.served();
  }

  #next(session: string): Stored | undefined {
    const line = this.#ready.get(session);
    for (let stored = line?.take(); stored; stored = line!.take()) {
      if (line!.length === 0) this.#ready.delete(session);
      if (!this.#expired(stored)) return stored;
    }
    return undefined;
  }

  #expired(stored: Stored): boolean {
    const ttlMs = Math.min(stored.message.ttl ?? Infinity, this.settings.ttlMs ?? Infinity);
    if (stored.enqueuedMs + ttlMs > Date.now()) return false;
    if (this.settings.deadLettersExpired) this.deadLetter(stored, 'TTLExpiredException', 'The message expired and was dead lettered.');
    else this.#forget(stored);
    return true;
  }

  #lock(stored: Stored, token: string, taker: Taker | undefined): void {
    stored.lock = { token, untilMs: Date.now() + this.settings.lockMs, taker };
    this.#locked.set(token, stored);
  }

  // --- settlement -------------------------------------------------------------------------------------------------------

  /** @throws AmqpError when the lock has been lost */
  locked(token: string): Stored {
    const stored = this.#locked.get(token);
    if (!stored) throw lockLost();
    return stored;
  }

  renew(token: string): number {
    const stored = this.locked(token);
    stored.lock!.untilMs = Date.now() + this.settings.lockMs;
    this.#locked.delete(token);
    this.#locked.set(token, stored);
    return stored.lock!.untilMs;
  }

  complete(token: string): void {
    this.#forget(this.#unlock(this.locked(token)));
  }

  abandon(token: string, changes?: object): void {
    const stored = this.#unlock(this.locked(token));
    modify(stored, changes);
    this.#putBack(stored, true);
  }

  defer(token: string, changes?: object): void {
    const stored = this.#unlock(this.locked(token));
    modify(stored, changes);
    stored.state = 'deferred';
    this.#journal.save(this.path, stored);
  }

  reject(token: string, reason?: string, description?: string, changes?: object): void {
    const stored = this.#unlock(this.locked(token));
    modify(stored, changes);
    this.deadLetter(stored, reason, description);
  }

  deadLetter(stored: Stored, reason?: string, description?: string): void {
    this.#forget(stored);
    if (!this.deadLetters) return;
    const message = { ...stored.message };
    message.application_properties = {
      ...message.application_properties,
      ...(reason !== undefined && { DeadLetterReason: reason }),
      ...(description !== undefined && { DeadLetterErrorDescription: description }),
    };
    delete message.ttl;
    this.deadLetters.put({ ...stored, message, state: 'active', lock: undefined, deadLetterSource: this.path });
  }

  deferred(seq: number): { stored: Stored; token: string } {
    const stored = this.messages.get(seq);
    if (stored?.state !== 'deferred' || stored.lock) {
      throw new AmqpError('com.microsoft:message-not-found', `No deferred message has the sequence number ${seq}.`);
    }
    const token = randomUUID();
    this.#lock(stored, token, undefined);
    return { stored, token };
  }

  cancelScheduled(seq: number): void {
    const stored = this.messages.get(seq);
    if (stored?.state === 'scheduled') this.#forget(stored);
  }

  peek(from: number, max: number, session: string | undefined): Stored[] {
    const found: Stored[] = [];
    for (const stored of [...this.messages.values()].sort((a, b) => a.seq - b.seq)) {
      if (stored.seq < from || (session !== undefined && stored.message.group_id !== session)) continue;
      if (found.push(stored) >= max) break;
    }
    return found;
  }

  #unlock(stored: Stored): Stored {
    if (stored.lock) this.#locked.delete(stored.lock.token);
    stored.lock = undefined;
    return stored;
  }

  #forget(stored: Stored): void {
    this.#unlock(stored);
    this.messages.delete(stored.seq);
    if (stored.state === 'active') this.#ready.get(this.#lineOf(stored))?.remove(stored);
    this.#journal.remove(this.path, stored.seq);
  }

  #putBack(stored: Stored, counts: boolean): void {
    if (counts) stored.count++;
    if (stored.state === 'active' && stored.count >= this.settings.maxDeliveries) {
      const why = `Message could not be consumed after ${this.settings.maxDeliveries} delivery attempts.`;
      return this.deadLetter(stored, 'MaxDeliveryCountExceeded', why);
    }
    this.#journal.save(this.path, stored);
    if (stored.state === 'active') this.#makeReady(stored);
  }

  // --- sessions ---------------------------------------------------------------------------------------------------------

  session(id: string): SessionState {
    let session = this.#sessions.get(id);
    if (!session) this.#sessions.set(id, (session = { state: null, holder: undefined, untilMs: 0 }));
    return session;
  }

  restoreSession(id: string, state: Buffer | null): void {
    this.session(id).state = state;
  }

  setSessionState(id: string, state: Buffer | null): void {
    this.session(id).state = state;
    this.#journal.saveSession(this.path, id, state);
  }

  renewSession(id: string): number {
    const session = this.session(id);
    if (!session.holder) throw sessionLost(id);
    return (session.untilMs = Date.now() + this.settings.lockMs);
  }

  /** The next session that has something and is free: now, or within `timeoutMs`. */
  nextSession(timeoutMs: number, grant: (id: string) => void, timedOut: () => void): () => void {
    const timer = setTimeout(() => {
      this.#acceptances.delete(acceptance);
      timedOut();
    }, timeoutMs).unref();
    const cancel = (): void => {
      clearTimeout(timer);
      this.#acceptances.delete(acceptance);
    };
    const acceptance: Acceptance = { grant, cancel };
    this.#acceptances.add(acceptance);
    this.#grantNext();
    return cancel;
  }

  #grantNext(): void {
    for (const acceptance of this.#acceptances) {
      const id = [...this.#ready.keys()].find((candidate) => this.#ready.get(candidate)!.length > 0 && !this.session(candidate).holder);
      if (id === undefined) return;
      acceptance.cancel();
      acceptance.grant(id);
    }
  }

  /** @throws AmqpError when another link holds it */
  acceptSession(id: string, taker: Taker): number {
    const session = this.session(id);
    if (session.holder) throw new AmqpError('com.microsoft:session-cannot-be-locked', `The session '${id}' is locked by another receiver.`);
    session.holder = taker;
    return (session.untilMs = Date.now() + this.settings.lockMs);
  }

  /**
   * A link has gone. Its session is free, and what it had locked in it is ready again: that counts as a delivery only
   * when the lock ran out (documentation of message sessions). Other locks stay until they run out.
   */
  leave(taker: Taker, counts = false): void {
    this.takers.delete(taker);
    if (taker.session === undefined) return;
    const session = this.session(taker.session);
    if (session.holder !== taker) return;
    session.holder = undefined;
    for (const stored of this.#locked.values()) {
      if (stored.lock?.taker === taker) this.#putBack(this.#unlock(stored), counts);
    }
    this.#grantNext();
  }

  // --- time -------------------------------------------------------------------------------------------------------------

  /** Ends the locks that have run out by then; `Infinity` ends all. */
  expire(nowMs: number): void {
    for (const [id, session] of this.#sessions) {
      const { holder } = session;
      if (!holder || session.untilMs > nowMs) continue;
      this.leave(holder, true);
      holder.end(sessionLost(id));
    }
    for (const stored of this.#locked.values()) {
      if (stored.lock!.untilMs > nowMs) break;
      if (stored.lock!.taker?.session !== undefined) continue; // it lives as long as its session's lock
      this.#putBack(this.#unlock(stored), true);
    }
  }

  counts(): { active: number; scheduled: number; deadLettered: number } {
    let scheduled = 0;
    for (const { state } of this.messages.values()) if (state === 'scheduled') scheduled++;
    return { active: this.messages.size - scheduled, scheduled, deadLettered: this.deadLetters?.messages.size ?? 0 };
  }

  /** Removed: whoever receives from it is told. */
  close(error?: AmqpError): void {
    clearInterval(this.#sweep);
    for (const { cancel } of this.#acceptances) cancel();
    if (error) for (const taker of this.takers) taker.end(error);
    this.deadLetters?.close(error);
  }
}

function modify(stored: Stored, changes: object | undefined): void {
  if (!changes) return;
  const { application_properties } = stored.message;
  stored.message = { ...stored.message, application_properties: { ...application_properties, ...changes } };
}
