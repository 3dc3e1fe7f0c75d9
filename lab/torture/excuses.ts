/**
 * What may be gone, come again or come late, and what may not, once queues were deleted and backups put back: told by the history alone.
 *
 * Promised after a restore: what was committed before the backup began is there, and so is what was committed since it was put back. What
 * was committed in between is all there or all gone, each transaction for itself; what others have taken of it stands with them, and
 * comes nowhere else. Each message that a ledger holds in the end has one effect. A saga that had not ended when the backup began ends, but
 * may have done twice what it did between backup and restore, as it does not know of it.
 */
import type { Line } from './history.ts';
import { everybody } from './deletions.ts';

export interface Excuses {
  /** Its source may not have it any more, or have it again. */
  mayBeGone(id: string): boolean;
  /** Something was deleted or restored that may have cost this subscription messages. */
  mayMiss(subscription: string): boolean;
  /** What was lost and sent again comes out of its order: published again when it was missing, or since nobody had noted it as sent. `subscription id` */
  readonly late: ReadonlySet<string>;
  /** Orders that had not ended when a backup began that was put back later. */
  readonly inDoubt: ReadonlySet<string>;
}

interface Told {
  readonly triedMs: number;
  /** The last that is known of it at its source: its commit, or that it was taken back. */
  lastMs: number;
}

export function excusesOf(history: readonly Line[]): Excuses {
  const restores = history.filter(({ what }) => what === 'restored');
  const restoredBank = restores.filter(({ services }) => services!.includes('bank'));
  const told = new Map<string, Told>();
  const orders = new Map<string, number>();
  for (const { what, id, ids = [], key, n, t } of history) {
    if (what === 'tried') told.set(id!, { triedMs: t, lastMs: Infinity });
    if (what === 'tried' && n === undefined) orders.set(key!, t);
    if (what === 'committed' || what === 'undone' || what === 'taken back' || what === 'not taken back') for (const one of id === undefined ? ids : [id]) told.get(one)!.lastMs = t;
    if (what === 'taking back') told.get(id!)!.lastMs = Infinity;
  }
  const gone = [...told].filter(([, { triedMs, lastMs }]) => restoredBank.some((restore) => triedMs <= restore.t && lastMs >= restore.sinceMs!));
  const goneIds = new Set(gone.map(([id]) => id));
  const deleted = new Set(history.flatMap(({ what, sub }) => (what === 'deleted' ? [sub!] : [])));
  return {
    mayBeGone: (id) => goneIds.has(id),
    mayMiss: (subscription) => deleted.has(everybody) || deleted.has(subscription) || restores.some(({ services, rereads }) => !rereads && services!.includes(subscription.split('.', 1)[0]!)),
    late: new Set([...history.flatMap(({ what, sub, ids = [] }) => (what === 'missing' ? ids.map((id) => `${sub} ${id}`) : [])), ...sentAgain(history, told)]),
    inDoubt: new Set(restores.flatMap(({ t, ids = [] }) => [...orders].flatMap(([order, triedMs]) => (triedMs <= t && !ids.includes(order) ? [order] : [])))),
  };
}

/** What may have been in the queue when that was deleted, and had not run there: a relay that died, or was restored, before it noted it as sent sends it again. */
function sentAgain(history: readonly Line[], told: ReadonlyMap<string, Told>): string[] {
  const deletedMs = new Map<string, number>();
  const began = new Set<string>();
  const again: string[] = [];
  for (const { what, sub, id, t } of history) {
    if (what === 'deleted') deletedMs.set(sub!, t);
    const place = `${sub} ${id}`;
    if (what !== 'run' || began.has(place)) continue;
    began.add(place);
    const lostMs = Math.max(deletedMs.get(everybody) ?? -Infinity, deletedMs.get(sub!) ?? -Infinity);
    if (told.get(id!) !== undefined && told.get(id!)!.triedMs < lostMs) again.push(place);
  }
  return again;
}
