/**
 * One bus's work on one subscription: rows of all ledgers in, in turn; positions out, in the transaction that applies
 * them.
 *
 *     standby ──granted──► active ──lost──► standby     (everything in memory is forgotten)
 *                          │    ▲
 *                          └────┘ revised               (more is declared: read again from what is stored)
 *     any ──close──► closed
 *
 * Guaranteed: within a source rows come in their order; none is stepped over; a commit happens only under the lease.
 * A crash after `receive` leaves nothing; after the commit of `settleIn` the new position; rows settled beyond a gap are
 * read again, and the inbox drops them.
 */
import { isHeartbeat } from '../../contract/control.ts';
import type { MaybePromise, StoreTransaction } from '../../contract/store.ts';
import type { Consumer, Delivery, SourceProgress, TransportHost } from '../../contract/transport.ts';
import { sqliteTransaction, type Statements } from '../../stores/sqlite/port.ts';
import { Alarm } from './alarm.ts';
import type { Directory, DirectoryListener } from './directory.ts';
import type { Home } from './home.ts';
import { LeaseLost } from './lease-lost.ts';
import type { Fence, Grant, Holder, Leases, Leaving } from './lease.ts';
import type { Ledger } from './ledger.ts';
import { writePlaces, type StoredPlace } from './positions.ts';
import { Row } from './open-rows.ts';
import { Source } from './source.ts';
import { deleteSubscription, readSubscription, type DeclaredType, type SubscriptionState } from './subscriptions.ts';
import { isMore, wantedOf, type Wanted } from './wanted.ts';

/** A ledger that was locked for a moment is read again after this long. */
const lockedMs = 2;
/** What a standby counts to. */
const standbyCountMax = 1_000;
/** While a subscription ends: how often it is seen whether all is done. */
const endingMs = 50;

export interface ConsumerHost extends Pick<TransportHost, 'clock' | 'signals' | 'service' | 'store'> {
  readonly home: Home;
  readonly directory: Directory;
  readonly leases: Leases;
  /** It has closed. */
  readonly closed: (consumer: SqliteConsumer) => void;
}

export class SqliteConsumer implements Consumer, Holder, Pick<DirectoryListener, 'opened' | 'moved' | 'closed'> {
  readonly name: string;
  readonly #host: ConsumerHost;
  /** Undefined on standby. */
  #hold: Grant | undefined;
  #wanted: Wanted;
  #revision = 0;
  /** What is declared has changed since it was read. */
  #stale = false;
  /** The subscription ends: where each ledger ended when that was seen. */
  #ends: ReadonlyMap<string, number> | undefined;
  readonly #sources = new Map<string, Source>();
  #turn = 0;
  #locked = false;
  #closing: Promise<void> | undefined;
  readonly #alarm: Alarm;

  constructor(name: string, host: ConsumerHost) {
    this.name = name;
    this.#host = host;
    this.#alarm = new Alarm(host.clock);
    this.#wanted = wantedOf(name, host.service, [], 0);
  }

  get active(): boolean {
    return this.#hold !== undefined;
  }

  get revision(): number {
    return this.#revision;
  }

  async receive(
    max: number,
    { waitMs, signal }: { readonly waitMs: number; readonly signal: AbortSignal },
  ): Promise<readonly Delivery[]> {
    const { clock } = this.#host;
    const untilMs = clock.monotonic() + waitMs;
    const stoodBy = this.#hold === undefined;
    for (;;) {
      if (this.#closing !== undefined || signal.aborted) return [];
      const { rings } = this.#alarm;
      if (this.#hold !== undefined && this.#isOutdated) await this.#reload();
      const rows = this.#hold === undefined ? [] : this.#take(max);
      if (rows.length > 0) return rows;
      await this.end();
      const leftMs = untilMs - clock.monotonic();
      if (leftMs <= 0 || (stoodBy && this.#hold !== undefined && !this.#isUnfinished)) return []; // what waits may run now
      if (rings !== this.#alarm.rings) continue;
      if (this.#isUnfinished) await clock.turn();
      else await this.#alarm.sleep(this.#locked ? lockedMs : this.#ends === undefined ? leftMs : Math.min(leftMs, endingMs), signal);
    }
  }

  settleIn(tx: StoreTransaction, deliveries: readonly Delivery[]): MaybePromise<void> {
    const { home } = this.#host;
    if (home.isStore) {
      return sqliteTransaction(tx, home.database).writing((statements) => this.#settleWith(statements, tx, deliveries));
    }
    this.#ours(deliveries);
    return this.#checkLease();
  }

  settle(deliveries: readonly Delivery[]): MaybePromise<void> {
    for (const row of deliveries.map(rowOf)) row.among.settle(row);
    this.#alarm.ring(); // there is room again
    // A heartbeat may be read again: its place is written with the next message's, or by and by with the lease.
    if (!this.#host.home.isStore && !deliveries.every(isHeartbeat)) return this.#writePlaces();
  }

  release(deliveries: readonly Delivery[]): void {
    for (const row of deliveries.map(rowOf)) row.among.release(row);
    this.#alarm.ring();
  }

  progress(): readonly SourceProgress[] {
    return [...this.#sources.values()].map((source) => source.progress());
  }

  /** From what is stored: who works on it writes its position with each batch. */
  async standby(): Promise<readonly SourceProgress[]> {
    const { home, directory, clock, service } = this.#host;
    const { types, places } = await home.database.read((statements) => readSubscription(statements, this.name));
    const { counted } = wantedOf(this.name, service, types, clock.now());
    directory.look();
    return [...directory.ledgers.values()].flatMap((ledger): SourceProgress[] => {
      const place = places.get(ledger.service);
      if (place === undefined || place.incarnation !== ledger.incarnation) return [];
      const waiting = counted.length === 0 ? 0 : ledger.count(place.position, service, counted, standbyCountMax);
      const appliedUntilMs = waiting === 0 ? ledger.lookedMs : (ledger.timeAt(place.position) ?? 0);
      return [{ source: ledger.service, appliedUntilMs, waiting }];
    });
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  // What the leases say.

  granted(grant: Grant): void {
    const { directory, signals } = this.#host;
    this.#hold = grant;
    directory.look(); // what is suspect ends where the ledgers end now
    this.#want(grant.state.revision, grant.state.types);
    for (const ledger of directory.ledgers.values()) this.#enter(ledger, grant);
    signals.emit('takeover', { subscription: this.name, clean: grant.predecessor !== 'crashed' });
    this.#alarm.ring();
  }

  lost(): void {
    this.#hold = undefined;
    this.#stale = false;
    this.#ends = undefined;
    this.#sources.clear();
  }

  revised(): void {
    this.#stale = true;
    this.#alarm.ring();
  }

  /** A removed subscription ends, if it can: also when nobody receives any more. */
  async end(): Promise<void> {
    if (this.#hold !== undefined && this.#isOutdated) await this.#reload();
    if (this.#hold !== undefined && this.#ends !== undefined) await this.#tryEnd(this.#ends);
  }

  due(): readonly StoredPlace[] {
    const nowMs = this.#host.clock.monotonic();
    return [...this.#sources.values()].flatMap((source) => source.due(nowMs) ?? []);
  }

  kept(places: readonly StoredPlace[]): void {
    const nowMs = this.#host.clock.monotonic();
    for (const place of places) this.#sources.get(place.source)?.stored(place, nowMs);
  }

  // What the directory says.

  opened(ledger: Ledger): void {
    const source = this.#sources.get(ledger.service);
    if (source !== undefined) source.attach(ledger);
    else if (this.#hold !== undefined) this.#enter(ledger, this.#hold);
    this.#alarm.ring();
  }

  moved(ledger: Ledger): void {
    const source = this.#sources.get(ledger.service);
    if (source === undefined || source.skips()) return;
    source.dirty = true;
    this.#alarm.ring();
  }

  closed(ledger: Ledger): void {
    const source = this.#sources.get(ledger.service);
    if (source?.ledger === ledger) source.ledger = undefined;
  }

  #enter(ledger: Ledger, { predecessor, grantedMs, state }: Grant): void {
    const { clock, directory, signals } = this.#host;
    const source = ledger.service;
    this.#sources.set(
      source,
      new Source({
        ledger,
        wanted: this.#wanted,
        stored: state.places.get(source),
        predecessor,
        grantedMs,
        report: (error) => signals.emit('ledger', { source, subscription: this.name, error }),
        look: (it) => directory.look(it),
        nowMs: clock.monotonic(),
      }),
    );
  }

  #want(revision: number, types: readonly DeclaredType[]): void {
    const { clock, directory, service } = this.#host;
    this.#revision = revision;
    this.#wanted = wantedOf(this.name, service, types, clock.now());
    this.#stale = false;
    const isEnding = types.length > 0 && types.every(({ stopped }) => stopped !== null);
    if (isEnding) directory.look();
    this.#ends = isEnding ? new Map([...directory.ledgers].map(([name, { head }]) => [name, head.position])) : undefined;
  }

  get #isOutdated(): boolean {
    return this.#stale || this.#wanted.untilMs <= this.#host.clock.now();
  }

  async #reload(): Promise<void> {
    const state = await this.#host.home.database.read((statements) => readSubscription(statements, this.name));
    if (this.#hold === undefined || this.#adopt(state)) return; // less, or the same
    this.#host.directory.look();
    this.#hold = { ...this.#hold, state };
    this.#want(state.revision, state.types);
    for (const source of this.#sources.values()) {
      this.#reading(source, () => source.reset(this.#wanted, state.places.get(source.name)));
    }
  }

  /** Takes up what is declared now, unless that is more than was read for: then false, and it is read again. */
  #adopt({ revision, types }: SubscriptionState): boolean {
    const { clock, service } = this.#host;
    const now = wantedOf(this.name, service, types, clock.now());
    if (isMore(now, this.#wanted)) {
      this.revised();
      return false;
    }
    this.#want(revision, types);
    for (const source of this.#sources.values()) source.narrow(now);
    return true;
  }

  /** In turn, so that a busy source does not hold up the others: each its share first, then what is left. */
  #take(max: number): Row[] {
    const all = [...this.#sources.values()].filter((source) => source.isPromising);
    if (all.length === 0) return [];
    this.#locked = false;
    const from = this.#turn++ % all.length;
    const inTurn = [...all.slice(from), ...all.slice(0, from)];
    const share = Math.max(1, Math.floor(max / all.length));
    const rows: Row[] = [];
    const takeFrom = (source: Source, most: number): void => {
      if (rows.length < max) this.#reading(source, () => rows.push(...source.take(Math.min(most, max - rows.length))));
    };
    for (const source of inTurn) takeFrom(source, share);
    for (const source of inTurn) if (source.isPromising && !source.unfinished) takeFrom(source, max);
    return rows;
  }

  get #isUnfinished(): boolean {
    for (const source of this.#sources.values()) if (source.unfinished && source.isPromising) return true;
    return false;
  }

  /** A ledger that cannot be read holds up nothing but itself. */
  #reading(source: Source, read: () => void): void {
    const { ledger } = source;
    try {
      read();
    } catch (error) {
      if (ledger === undefined) throw error;
      this.#host.directory.failed(ledger, error);
      if (source.ledger === ledger) this.#locked = true; // still open: only locked for the moment
    }
  }

  /** What is here of an earlier hold, or was read before more was declared or the ledger was rewound, is void. */
  #ours(deliveries: readonly Delivery[]): Row[] {
    if (this.#hold === undefined) throw new LeaseLost(this.name, 'another instance works on it, or it was closed');
    const rows = deliveries.map(rowOf);
    if (rows.every((row) => this.#sources.get(row.among.source)?.knows(row) === true)) return rows;
    // Whoever hears of it drops all that it holds, so all of that is given out again.
    for (const source of this.#sources.values()) source.releaseAll();
    this.#alarm.ring();
    throw new LeaseLost(this.name, 'what was received is out of date');
  }

  #settleWith(statements: Statements, tx: StoreTransaction, deliveries: readonly Delivery[]): void {
    const { clock, leases } = this.#host;
    const rows = this.#ours(deliveries);
    this.#fence(statements);
    for (const row of rows) row.settling = tx;
    const sources = new Set(rows.map((row) => row.among.source));
    const places = [...sources].flatMap((source) => this.#sources.get(source)?.placeAfter(tx) ?? []);
    writePlaces(statements, this.name, places);
    tx.afterCommit(() => {
      leases.prolonged(this);
      for (const row of rows) row.among.settle(row);
      const nowMs = clock.monotonic();
      for (const place of places) this.#sources.get(place.source)?.stored(place, nowMs);
    });
  }

  /** @throws LeaseLost */
  #fence(statements: Statements): void {
    if (this.#obey(this.#host.leases.fence(statements, this)) === 'held') return;
    this.#adoptOrDrop(readSubscription(statements, this.name));
  }

  /** @throws LeaseLost */
  #obey(fence: Fence): 'held' | 'revised' {
    if (fence !== 'lost') return fence;
    this.#host.leases.lose(this);
    throw new LeaseLost(this.name, 'another instance has taken it over, or it was removed');
  }

  /**
   * Where more has been declared, what is in hand may lie beyond rows that are now wanted and were not read.
   * @throws LeaseLost
   */
  #adoptOrDrop(state: SubscriptionState): void {
    if (!this.#adopt(state)) throw new LeaseLost(this.name, 'more was declared since it was read');
  }

  async #checkLease(): Promise<void> {
    const { home, leases } = this.#host;
    if (this.#obey(await leases.check(this)) === 'held') return;
    this.#adoptOrDrop(await home.database.read((statements) => readSubscription(statements, this.name)));
  }

  /** Where positions are not in the store's file: after its commit, in one of their own. */
  async #writePlaces(): Promise<void> {
    const { clock, home, leases, signals } = this.#host;
    const sources = [...this.#sources.values()];
    const places = sources.flatMap((source) => source.placeAfter() ?? []);
    if (places.length === 0) return;
    try {
      await home.database.write(({ statements }) => {
        this.#fence(statements);
        writePlaces(statements, this.name, places);
      });
    } catch (error) {
      // The rows are applied; should they be read again, the inbox drops them.
      if (!(error instanceof LeaseLost)) signals.emit('trouble', { where: `the position of ${this.name}`, error });
      return;
    }
    leases.prolonged(this);
    const nowMs = clock.monotonic();
    for (const place of places) sources.find((source) => source.name === place.source)?.stored(place, nowMs);
  }

  /** The end of a removed subscription: once nothing is left before the ends, and nothing waits, all of it goes. */
  async #tryEnd(ends: ReadonlyMap<string, number>): Promise<void> {
    const { home, leases, store } = this.#host;
    for (const [name, end] of ends) if (this.#sources.get(name)?.hasPassed(end) !== true) return;
    const waiting = await store.ports.inspect.waiting({ subscription: this.name, limit: 1 });
    if (waiting.length > 0 || this.#hold === undefined || this.#isOutdated) return;
    try {
      const isEnded = await home.database.write(({ statements }) => {
        if (this.#obey(leases.fence(statements, this)) === 'revised') return false;
        deleteSubscription(statements, this.name);
        return true;
      });
      if (isEnded) leases.lose(this);
      else this.revised();
    } catch (error) {
      if (!(error instanceof LeaseLost)) throw error;
    }
  }

  async #close(): Promise<void> {
    const { leases, signals } = this.#host;
    this.#alarm.ring();
    try {
      await leases.leave(this, () => {
        const sources = [...this.#sources.values()];
        return {
          places: sources.flatMap((source) => source.placeAfter() ?? []),
          leaving: worst(sources.map((source) => source.leaving)),
        };
      });
    } catch (error) {
      signals.emit('trouble', { where: `giving back ${this.name}`, error }); // it expires
    }
    this.lost();
    this.#host.closed(this);
  }
}

function worst(leaving: readonly Leaving[]): Leaving {
  if (leaving.includes('crashed')) return 'crashed';
  return leaving.includes('beyond') ? 'beyond' : 'clean';
}

function rowOf(delivery: Delivery): Row {
  if (delivery instanceof Row) return delivery;
  throw new TypeError('a delivery of another consumer: hand back the very objects that receive() returned');
}
