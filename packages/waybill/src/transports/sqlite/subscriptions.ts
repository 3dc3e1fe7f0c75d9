/**
 * What a service subscribes to: rows of `waybill_subscription` in its own file, one per subscription and type, and with
 * them the lease that makes one bus at a time work on it. A publisher reads them to know whether a command is taken.
 *
 *     (none) ──declare──► taken ──a new version of the code no longer names it──► dropped ──ten minutes──► not taken
 *                           │ ▲                                                      │
 *                           │ └───────────────── declared again ◄────────────────────┘
 *                           └──remove, apply──► stopped: rows up to then, then all is removed
 *
 * Every change raises the lease's `revision`, which stands in the fence: a bus of older code that works on the
 * subscription takes the change up before it commits anything more, and never steps over rows that newer code declared.
 */
import type { Declaration } from '../../contract/transport.ts';
import type { Statements } from '../../stores/sqlite/port.ts';
import { isAlive } from './owner.ts';
import { readPlaces, writePlaces, type StoredPlace } from './positions.ts';

/** Instances of older and newer code run side by side for this long: what either takes is taken. */
export const droppedGraceMs: number = 10 * 60_000;

export interface DeclaredType {
  readonly type: string;
  readonly kind: string;
  /** Wall time: rows written before are not for it, unless they lie past a position set at its declaration. */
  readonly started: number;
  readonly stopped: number | null;
  readonly dropped: number | null;
}

export interface SubscriptionState {
  readonly revision: number;
  readonly types: readonly DeclaredType[];
  readonly places: ReadonlyMap<string, StoredPlace>;
}

// By primary key or its first part throughout; a service has tens of these rows.
const sql = {
  revision: 'select revision from waybill_lease where subscription = ?',
  types: `select type, kind, coalesce(started, 0) as started, stopped, dropped from waybill_subscription where name = ?`,
  insert: `insert into waybill_subscription (name, type, kind, started) values (?, ?, ?, ?)`,
  restart: 'update waybill_subscription set kind = ?, started = ?, stopped = null, dropped = null where name = ? and type = ?',
  drop: 'update waybill_subscription set dropped = ? where name = ? and type = ?',
  stop: 'update waybill_subscription set stopped = ? where name = ? and stopped is null',
  revise: `insert into waybill_lease (subscription, owner, epoch, expires, clean, revision) values (?, null, 0, 0, 1, 1)
    on conflict (subscription) do update set revision = revision + 1`,
  lease: 'select owner, epoch, clean from waybill_lease where subscription = ?',
  adoptLease: `insert into waybill_lease (subscription, owner, epoch, expires, clean, revision) values (?, null, ?, 0, ?, 1)
    on conflict (subscription) do nothing`,
  adoptTypes: 'update or ignore waybill_subscription set name = ? where name = ?',
  adoptPlaces: 'update or ignore waybill_position set subscription = ? where subscription = ?',
  adoptWaiting: 'update waybill_waiting set subscription = ? where subscription = ?',
  adoptFailures: 'update waybill_failures set subscription = ? where subscription = ?',
  deleteTypes: 'delete from waybill_subscription where name = ?',
  deletePlaces: 'delete from waybill_position where subscription = ?',
  deleteLease: 'delete from waybill_lease where subscription = ?',
  deleteWaiting: 'delete from waybill_waiting where subscription = ?',
};

/** Revision first: what is declared while the rest is read makes the next fence fail, never pass. */
export function readSubscription(statements: Statements, name: string): SubscriptionState {
  return {
    revision: statements.get<{ revision: number }>(sql.revision, name)?.revision ?? 0,
    types: statements.all<DeclaredType>(sql.types, name),
    places: readPlaces(statements, name),
  };
}

export function exists(statements: Statements, name: string): boolean {
  return statements.get(sql.revision, name) !== undefined;
}

export interface Beginning {
  readonly nowMs: number;
  /** Where it begins in the ledgers that are there. */
  readonly places: () => readonly StoredPlace[];
}

/** Registers what is taken; carries over former names; sets where it begins when it is new. Safe to repeat. */
export function declareSubscription(statements: Statements, declaration: Declaration, { nowMs, places }: Beginning): void {
  const { name } = declaration;
  let changed = false;
  for (const former of declaration.formerly) if (former !== name && adopt(statements, former, name)) changed = true;
  const known = new Map(statements.all<DeclaredType>(sql.types, name).map((row) => [row.type, row]));
  const isNew = known.size === 0 && !changed;
  const started = isNew ? startOf(declaration.from, nowMs) : nowMs;
  for (const { type, kind } of declaration.bindings) {
    const row = known.get(type);
    known.delete(type);
    if (row === undefined) statements.run(sql.insert, name, type, kind, started);
    else if (row.kind !== kind || row.stopped !== null || row.dropped !== null) {
      const forgotten = row.dropped !== null && row.dropped <= nowMs - droppedGraceMs;
      statements.run(sql.restart, kind, forgotten ? nowMs : row.started, name, type);
    } else continue;
    changed = true;
  }
  for (const { type, dropped } of known.values()) {
    if (dropped !== null) continue;
    statements.run(sql.drop, nowMs, name, type);
    changed = true;
  }
  if (isNew) writePlaces(statements, name, places());
  if (changed || !exists(statements, name)) statements.run(sql.revise, name);
}

function startOf(from: Declaration['from'], nowMs: number): number {
  return from === 'now' ? nowMs : from === 'beginning' ? 0 : Math.floor(from);
}

/** Gives what is a former name's to the new one. Where both have a position, the new one's is further on. */
function adopt(statements: Statements, former: string, name: string): boolean {
  const lease = statements.get<{ owner: string | null; epoch: number; clean: number }>(sql.lease, former);
  if (lease === undefined) return false;
  // Whoever worked under the former name is fenced by its lease being gone; alive, it leaves nothing half done.
  const crashed = lease.clean === 0 && lease.owner !== null && !isAlive(lease.owner);
  statements.run(sql.adoptLease, name, lease.epoch, crashed ? 0 : 2);
  for (const carry of [sql.adoptTypes, sql.adoptPlaces, sql.adoptWaiting, sql.adoptFailures]) statements.run(carry, name, former);
  for (const rest of [sql.deleteTypes, sql.deletePlaces, sql.deleteLease]) statements.run(rest, former);
  return true;
}

/** No row written later is taken. False when there is no such subscription. */
export function stopSubscription(statements: Statements, name: string, nowMs: number): boolean {
  if (!exists(statements, name)) return false;
  if (statements.run(sql.stop, nowMs, name).changes > 0) statements.run(sql.revise, name);
  return true;
}

/** Removes all that is the subscription's, except what it gave up: that stays to be looked at. */
export function deleteSubscription(statements: Statements, name: string): void {
  for (const part of [sql.deleteTypes, sql.deletePlaces, sql.deleteLease, sql.deleteWaiting]) statements.run(part, name);
}
