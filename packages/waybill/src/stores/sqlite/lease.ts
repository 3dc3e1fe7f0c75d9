/**
 * The right of one instance to do one thing for its service: a row with an owner, an epoch that only grows, and a time
 * until which it holds. Correctness rests on the epoch alone, which every write of the holder checks in its own
 * transaction; the clock only says when others may try.
 *
 * A look costs one read, taking and renewing one statement in a transaction.
 */
import type { Statements } from './port.ts';

export interface LeaseRow {
  readonly owner: string | null;
  readonly epoch: number;
  /** Wall time in milliseconds. */
  readonly expires: number;
  /** 1: given back in peace. 0: held, or its holder died. */
  readonly clean: number;
  readonly revision: number;
}

/** Whose lease, and in which epoch. */
export interface Hold {
  readonly name: string;
  readonly owner: string;
  readonly epoch: number;
}

export function readLease(statements: Statements, name: string): LeaseRow | undefined {
  // search by primary key
  return statements.get<LeaseRow>('select owner, epoch, expires, clean, revision from waybill_lease where subscription = ?', name);
}

/**
 * Whether another may take it: given back, past its time, or so far ahead that the clock must have stepped back.
 * @param hasDied tells dead owners by their name, where that can be known
 */
export function isFree(
  lease: LeaseRow | undefined,
  { nowMs, leaseMs, hasDied }: { nowMs: number; leaseMs: number; hasDied?: (owner: string) => boolean },
): boolean {
  if (lease === undefined || lease.owner === null) return true;
  return lease.expires <= nowMs || lease.expires > nowMs + leaseMs || (hasDied?.(lease.owner) ?? false);
}

/** Takes the lease that was seen; undefined when somebody was faster. `clean`: whether the one before left in peace. */
export function takeLease(
  statements: Statements,
  { name, owner, seen, expiresMs }: { name: string; owner: string; seen: LeaseRow | undefined; expiresMs: number },
): { readonly hold: Hold; readonly clean: boolean } | undefined {
  const taken = statements.get<{ epoch: number }>(
    `insert into waybill_lease (subscription, owner, epoch, expires, clean) values (?1, ?2, 1, ?3, 0)
     on conflict (subscription) do update set owner = ?2, epoch = epoch + 1, expires = ?3, clean = 0 where epoch = ?4 and expires = ?5
     returning epoch`,
    name,
    owner,
    Math.floor(expiresMs),
    seen?.epoch ?? 0,
    seen?.expires ?? 0,
  );
  if (taken === undefined) return undefined;
  return { hold: { name, owner, epoch: taken.epoch }, clean: seen === undefined || seen.clean === 1 };
}

/** Fence and renewal in one: false when another has taken over, and then nothing may be committed. */
export function renewLease(statements: Statements, { name, owner, epoch }: Hold, expiresMs: number): boolean {
  // search by primary key
  const sql = 'update waybill_lease set expires = ? where subscription = ? and owner = ? and epoch = ?';
  return statements.run(sql, Math.floor(expiresMs), name, owner, epoch).changes === 1;
}

/** Gives it back in peace; false when it had been lost. */
export function releaseLease(statements: Statements, { name, owner, epoch }: Hold): boolean {
  // search by primary key
  const sql = 'update waybill_lease set owner = null, expires = 0, clean = 1 where subscription = ? and owner = ? and epoch = ?';
  return statements.run(sql, name, owner, epoch).changes === 1;
}
