/**
 * The right to work on a subscription: one row per subscription in the service's file, held by one bus at a time.
 *
 *     standby ──free, given back, dead or expired──► held ──leave──► given back, clean
 *        ▲                                            │
 *        └───────────── the row names another ────────┘
 *
 * In come subscriptions that want to be worked on; out comes the news that they may, or may not any more. Guaranteed: an
 * epoch is held by one bus only, and what names an older one changes nothing (`fence`). A crash leaves the row with a
 * dead owner and `clean = 0`: another bus takes it within 100 ms where it can see that the process is gone, within 3 s
 * where it cannot.
 *
 * Cost: a transaction with one statement each second for all that are held, unless their own work has just prolonged
 * them; one read each 100 ms for all that stand by.
 */
import type { Clock } from '../../contract/clock.ts';
import { createLoop, type Loop } from '../../contract/loop.ts';
import type { SqliteDatabase, Statements } from '../../stores/sqlite/port.ts';
import { isAlive } from './owner.ts';
import { writePlaces, type StoredPlace } from './positions.ts';
import { readSubscription, type SubscriptionState } from './subscriptions.ts';

/** Longer than any pause of a healthy process; short enough to wait for when one is frozen. */
export const leaseMs: number = 3_000;
const renewEveryMs = 1_000;
/** However busy the subscriptions are: cursors that ran ahead are kept beside a renewal. */
const keepEveryMs = 20_000;
const standbyEveryMs = 100;
/** Nothing is wanted: the loop sleeps until somebody joins. */
const idleMs = 60_000;
/** How the last holder left: `crashed` did not; `beyond` did, but rows past its positions may have been applied. */
export type Leaving = 'clean' | 'beyond' | 'crashed';

/** The column `clean`. */
const cleanOf: Readonly<Record<Leaving, number>> = { crashed: 0, clean: 1, beyond: 2 };
const leavingOf = (clean: number): Leaving => (clean === 1 ? 'clean' : clean === 2 ? 'beyond' : 'crashed');

export interface Grant {
  readonly epoch: number;
  readonly predecessor: Leaving;
  /** Wall time. */
  readonly grantedMs: number;
  readonly state: SubscriptionState;
}

/** One subscription of this bus, as the leases see it. Called outside any transaction, after its commit. */
export interface Holder {
  readonly name: string;
  granted(grant: Grant): void;
  /** Another bus has it, or it was removed. Standby begins. */
  lost(): void;
  /** What is declared of it has changed since `revision`. */
  revised(): void;
  /** `revision` as the holder knows it. */
  readonly revision: number;
  /** Places that shall be kept beside the renewal, because they ran far ahead of the stored ones. */
  due(): readonly StoredPlace[];
  /** They are. */
  kept(places: readonly StoredPlace[]): void;
}

export interface Goodbye {
  readonly places: readonly StoredPlace[];
  readonly leaving: Leaving;
}

export interface Leases {
  /** From now on this bus wants the subscription. Resolves when it has been seen whether it is free. */
  join(holder: Holder): Promise<void>;
  /** Gives it back, as `goodbye` says when nobody else writes any more; resolves when that is committed. */
  leave(holder: Holder, goodbye: () => Goodbye): Promise<void>;
  /**
   * Whether this bus still holds it under what is declared now, asked in a transaction that shall commit only then. It
   * prolongs the lease.
   */
  fence(statements: Statements, holder: Holder): Fence;
  /** The same asked of committed rows; prolongs nothing. */
  check(holder: Holder): Promise<Fence>;
  /** A fence said that it is lost: back to standby. */
  lose(holder: Holder): void;
  /** The fence has committed. */
  prolonged(holder: Holder): void;
  close(): Promise<void>;
}

export type Fence = 'held' | 'lost' | 'revised';

interface LeaseRow {
  readonly subscription: string;
  readonly owner: string | null;
  readonly epoch: number;
  readonly expires: number;
  readonly clean: number;
  readonly revision: number;
}

// All by primary key, or over a table of one row per subscription.
const sql = {
  all: 'select subscription, owner, epoch, expires, clean, revision from waybill_lease',
  one: 'select subscription, owner, epoch, expires, clean, revision from waybill_lease where subscription = ?',
  // Everything as it was seen: a holder that prolonged it since keeps it.
  take: `update waybill_lease set owner = ?, epoch = epoch + 1, expires = ?, clean = 0
    where subscription = ? and epoch = ? and owner is ? and expires = ? returning epoch`,
  renew: 'update waybill_lease set expires = ? where owner = ? returning subscription, owner, epoch, expires, clean, revision',
  fence: 'update waybill_lease set expires = ? where subscription = ? and owner = ? and epoch = ? and revision = ?',
  give: 'update waybill_lease set owner = null, clean = ? where subscription = ? and owner = ? and epoch = ?',
};

interface Held {
  readonly epoch: number;
  prolongedMs: number;
}

export function createLeases(options: {
  readonly database: SqliteDatabase;
  readonly owner: string;
  readonly clock: Clock;
  readonly trouble: (error: unknown) => void;
}): Leases {
  const { database, owner, clock } = options;
  const standby = new Map<string, Holder>();
  const held = new Map<Holder, Held>();
  /** Those who joined since the last turn. */
  const looked: (() => void)[] = [];
  /** Trouble is told of once, until a turn succeeds. */
  let troubled = false;
  let renewedMs = clock.monotonic();

  const isFree = (row: LeaseRow, nowMs: number): boolean =>
    row.owner === null ||
    row.owner === owner ||
    row.expires < nowMs ||
    row.expires > nowMs + leaseMs + standbyEveryMs || // the clock was set back
    !isAlive(row.owner);

  const acquire = async (): Promise<void> => {
    const rows = await database.read((statements) => statements.all<LeaseRow>(sql.all));
    const nowMs = clock.now();
    const free = rows.filter((row) => standby.has(row.subscription) && isFree(row, nowMs));
    if (free.length === 0) return;
    const grants = await database.write(({ statements }) => {
      const taken: [row: LeaseRow, grant: Grant][] = [];
      const expires = Math.floor(clock.now()) + leaseMs;
      for (const row of free) {
        const { subscription, epoch, owner: before } = row;
        const now = statements.get<{ epoch: number }>(sql.take, owner, expires, subscription, epoch, before, row.expires);
        if (now === undefined) continue;
        // Our own, of a hold that was forgotten without a crash: what it had in flight was undone.
        const predecessor = before === owner && row.clean === 0 ? 'beyond' : leavingOf(row.clean);
        taken.push([row, { epoch: now.epoch, predecessor, grantedMs: clock.now(), state: readSubscription(statements, subscription) }]);
      }
      return taken;
    });
    const unwanted: LeaseRow[] = [];
    for (const [row, grant] of grants) {
      const holder = standby.get(row.subscription);
      if (holder === undefined) {
        unwanted.push({ ...row, epoch: grant.epoch }); // it left in between
        continue;
      }
      standby.delete(row.subscription);
      held.set(holder, { epoch: grant.epoch, prolongedMs: clock.monotonic() });
      holder.granted(grant);
    }
    if (unwanted.length === 0) return;
    await database.write(({ statements }) => {
      for (const row of unwanted) statements.run(sql.give, row.clean, row.subscription, owner, row.epoch);
    });
  };

  const renew = async (): Promise<void> => {
    const lost: Holder[] = [];
    const revised: Holder[] = [];
    const kept: [Holder, readonly StoredPlace[]][] = [];
    await database.write(({ statements }) => {
      const rows = new Map(
        statements.all<LeaseRow>(sql.renew, Math.floor(clock.now()) + leaseMs, owner).map((row) => [row.subscription, row]),
      );
      for (const [holder, { epoch }] of held) {
        const row = rows.get(holder.name);
        rows.delete(holder.name);
        if (row?.epoch !== epoch) lost.push(holder);
        else if (row.revision !== holder.revision) revised.push(holder);
        else {
          const places = holder.due();
          writePlaces(statements, holder.name, places);
          if (places.length > 0) kept.push([holder, places]);
        }
      }
      // Ours by name, yet nobody's here: giving it back had failed.
      for (const { subscription, epoch } of rows.values()) statements.run(sql.give, cleanOf.beyond, subscription, owner, epoch);
    });
    const nowMs = clock.monotonic();
    renewedMs = nowMs;
    for (const state of held.values()) state.prolongedMs = nowMs;
    for (const [holder, places] of kept) holder.kept(places);
    for (const holder of revised) holder.revised();
    for (const holder of lost) lose(holder);
  };

  const lose = (holder: Holder): void => {
    if (!held.delete(holder)) return;
    standby.set(holder.name, holder);
    holder.lost();
    loop.wake();
  };

  const turn = async (): Promise<number> => {
    const joined = looked.splice(0);
    try {
      const nowMs = clock.monotonic();
      if (held.size > 0 && nowMs >= renewalDueMs()) await renew();
      if (standby.size > 0) await acquire();
      troubled = false;
    } catch (error) {
      if (!troubled) options.trouble(error);
      troubled = true;
    } finally {
      for (const resolve of joined) resolve();
    }
    if (standby.size > 0) return standbyEveryMs;
    if (held.size === 0) return idleMs;
    return Math.max(standbyEveryMs, renewalDueMs() - clock.monotonic());
  };

  /** The one prolonged longest ago says when: handling prolongs what it works on by itself. */
  const renewalDueMs = (): number => {
    let oldestMs = Infinity;
    for (const { prolongedMs } of held.values()) oldestMs = Math.min(oldestMs, prolongedMs);
    return Math.min(oldestMs + renewEveryMs, renewedMs + keepEveryMs);
  };

  const loop: Loop = createLoop({ clock, turn, onError: options.trouble });
  let started = false;

  return {
    join(holder) {
      standby.set(holder.name, holder);
      return new Promise((resolve) => {
        looked.push(resolve);
        if (!started) loop.start();
        started = true;
        loop.wake();
      });
    },
    async leave(holder, goodbye) {
      standby.delete(holder.name);
      const state = held.get(holder);
      if (state === undefined) return;
      try {
        await database.write(({ statements }) => {
          held.delete(holder);
          const row = statements.get<LeaseRow>(sql.one, holder.name);
          if (row?.owner !== owner || row.epoch !== state.epoch) return;
          const { places, leaving } = goodbye();
          // What was read under an older declaration must not be stepped over: then it is read again.
          const mayMove = row.revision === holder.revision;
          if (mayMove) writePlaces(statements, holder.name, places);
          const clean = leaving === 'clean' && !mayMove ? 'beyond' : leaving;
          statements.run(sql.give, cleanOf[clean], holder.name, owner, state.epoch);
        });
      } finally {
        held.delete(holder); // what could not be given back is not prolonged: it expires
      }
    },
    fence(statements, holder) {
      const epoch = held.get(holder)?.epoch;
      if (epoch === undefined) return 'lost';
      const expires = Math.floor(clock.now()) + leaseMs;
      if (statements.run(sql.fence, expires, holder.name, owner, epoch, holder.revision).changes === 1) return 'held';
      return ownership(statements.get<LeaseRow>(sql.one, holder.name), epoch, 'revised');
    },
    async check(holder) {
      const epoch = held.get(holder)?.epoch;
      if (epoch === undefined) return 'lost';
      const row = await database.read((statements) => statements.get<LeaseRow>(sql.one, holder.name));
      return row?.revision === holder.revision ? ownership(row, epoch, 'held') : ownership(row, epoch, 'revised');
    },
    lose,
    prolonged(holder) {
      const state = held.get(holder);
      if (state !== undefined) state.prolongedMs = clock.monotonic();
    },
    async close() {
      await loop.stop();
      for (const resolve of looked.splice(0)) resolve();
    },
  };

  function ownership(row: LeaseRow | undefined, epoch: number, ours: Fence): Fence {
    return row?.owner === owner && row.epoch === epoch ? ours : 'lost';
  }
}
