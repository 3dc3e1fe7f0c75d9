import assert from 'node:assert/strict';
import type { Clock } from '../../../contract/clock.ts';
import { WaybillError, type WaybillErrorCode } from '../../../contract/errors.ts';
import type { WireMessage } from '../../../contract/message.ts';
import type { Claim, FailureRow, MaybePromise, StoreSession, StoreTransaction, WaitingEntry, WaitingRow } from '../../../contract/store.ts';
import type { Case, Driver } from '../conformance.ts';
import type { RecordingHost } from '../host.ts';
import { message } from '../message.ts';

export { labels, message } from '../message.ts';

/** What not every store can do, or not every test can make it do. */
export type StoreAbility =
  /** Users' own tables: `world.query`. */
  | 'sql'
  /** Several sessions on the same data. */
  | 'sessions'
  /** Data outlives the last session. */
  | 'restart'
  /** Has tables of Waybill's that must be made first. */
  | 'migrations'
  /** The event store. */
  | 'streams'
  /** Published rows can be read again: `outbox.history`. */
  | 'history'
  /** A transaction can begin at its first statement: not where the user's library hands it out begun. */
  | 'lazy'
  /** What users get of a transaction is `SqlTransaction`, not their library's own. */
  | 'own-sql'
  /** Its waits follow `world.pass`. */
  | 'hurry'
  /** Keeps sagas. */
  | 'sagas';

/** A store, empty at first, and the sessions that a case opens on it. */
export interface StoreWorld {
  readonly clock: Clock;
  /** What has not happened after this many milliseconds will not. Only waited for when something is wrong. */
  readonly patienceMs: number;
  /** Signals and log lines of all its sessions. */
  readonly reports: RecordingHost['reports'];
  /** A session of a process. @param as service `basket` and `migrate: 'auto'` by default */
  open(as?: { readonly service?: string; readonly migrate?: 'auto' | 'check' }): Promise<StoreSession>;
  /** Lets this much time go by: for leases, ages, due times. */
  pass(ms: number): Promise<void>;
  /** One statement with `$1` placeholders, as the user's code would run it on `tx.native`. */
  query?(native: unknown, text: string, values?: readonly unknown[]): Promise<readonly Record<string, unknown>[]>;
  close(): Promise<void>;
}

export type StoreCase = Case<StoreWorld, StoreAbility>;
export type StoreDriver = Driver<StoreWorld, StoreAbility>;

/** The subscription that most cases speak of. */
export const prices = 'basket.prices';

/** A message that waits to be run again. */
export function entry(label: string, of: Partial<WaitingEntry> & { readonly key?: string } = {}): WaitingEntry {
  const { key, ...rest } = of;
  return {
    subscription: prices,
    message: message(label, { key }),
    dueMs: 0,
    attempt: 1,
    attempts: 10,
    firstFailedMs: 1_000,
    error: undefined,
    reason: 'retry',
    inOrder: key !== undefined,
    ...rest,
  };
}

/** A message that was given up. */
export function failure(label: string, of: Partial<FailureRow> & { readonly key?: string; readonly type?: string } = {}): FailureRow {
  const { key, type, ...rest } = of;
  return {
    subscription: prices,
    message: message(label, { key, ...(type !== undefined && { type }) }),
    error: { code: 'HANDLER_FAILED', message: 'out of stock', stack: undefined },
    attempts: 11,
    firstFailedMs: 1_000,
    lastFailedMs: 2_000,
    holds: false,
    ...rest,
  };
}

/** What is due, with labels. @param of subscription `null`: what waits to be sent */
export async function due(
  { ports }: StoreSession,
  nowMs: number,
  of: { readonly subscription?: string | null; readonly max?: number; readonly owner?: string | undefined } = {},
): Promise<{ rows: readonly WaitingRow[]; names: string[]; nextDueMs: number | undefined }> {
  const subscription = of.subscription === null ? undefined : (of.subscription ?? prices);
  const { rows, nextDueMs } = await ports.waiting.due(subscription, nowMs, of.max ?? 100, of.owner);
  return { rows, names: rows.map((row) => label(row.message)), nextDueMs };
}

export function label({ body }: WireMessage): string {
  return new TextDecoder().decode(body);
}

/** Fails unless it is refused with this code. */
export async function refused(code: WaybillErrorCode, work: () => MaybePromise<unknown>, what?: string): Promise<void> {
  await assert.rejects(async () => void (await work()), (error) => WaybillError.is(error, code), what ?? `to be refused with ${code}`);
}

/** A transaction that undoes itself after `work`. */
export async function undone<R>(session: StoreSession, work: (tx: StoreTransaction) => MaybePromise<R>): Promise<R> {
  class Undo extends Error {}
  let result: { readonly of: R } | undefined;
  const transaction = session.transaction(async (tx) => {
    result = { of: await work(tx) };
    throw new Undo();
  });
  try {
    await transaction;
  } catch (error) {
    if (!(error instanceof Undo)) throw error;
  }
  return result!.of;
}

/** A transaction that stays open until `end` is called; rejecting `end` undoes it. */
export function held<R>(session: StoreSession, work: (tx: StoreTransaction) => MaybePromise<R>): {
  readonly worked: Promise<R>;
  end(outcome: 'commit' | 'rollback'): Promise<void>;
} {
  const worked = Promise.withResolvers<R>();
  const gate = Promise.withResolvers<void>();
  const transaction = session.transaction(async (tx) => {
    worked.resolve(await work(tx));
    await gate.promise;
  });
  transaction.catch((error: unknown) => worked.reject(error as Error));
  return {
    worked: worked.promise,
    async end(outcome) {
      if (outcome === 'commit') gate.resolve();
      else gate.reject(new Error('undone'));
      await transaction.catch(() => {});
    },
  };
}

/** A few turns, in which whatever does not have to wait gets ahead. */
export async function turns(world: StoreWorld): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await world.clock.turn();
}

/** Fails unless the promise settles in time. */
export async function within<T>({ clock, patienceMs }: StoreWorld, promise: Promise<T>, what: string): Promise<T> {
  let cancel = (): void => {};
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(patienceMs, () => reject(new assert.AssertionError({ message: `${what}, but did not` })));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    cancel();
  }
}

/** One instance, and another. */
export const me: Claim = { owner: 'me', claimMs: 1_000 };
export const other: Claim = { owner: 'another', claimMs: 1_000 };

export async function add(session: StoreSession, ...entries: readonly WaitingEntry[]): Promise<void> {
  await session.transaction((tx) => session.ports.waiting.add(tx, entries));
}

export async function fail(session: StoreSession, ...rows: readonly FailureRow[]): Promise<void> {
  await session.transaction((tx) => session.ports.failures.add(tx, rows));
}
