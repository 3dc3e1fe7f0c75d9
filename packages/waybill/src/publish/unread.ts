import type { Clock } from '../contract/clock.ts';
import type { ContractDefinition } from '../contract/contracts.ts';
import type { Signals } from '../contract/signals.ts';

/** One type is looked at this often at most. */
const lookMs = 60_000;
/** Types remembered; past it all are looked at again. */
const typesMax = 1_000;

/**
 * Notices a new version that nobody takes while an older one has subscribers: the publisher was deployed before its
 * receivers, and without a `downcast` they get nothing. A broker tells only of what was sent: there the older version's
 * subscribers are taken for granted. Costs a look into a map per publish of such a version.
 */
export function createUnreadWatch(options: {
  clock: Clock;
  signals: Signals;
  /** Undefined while that cannot be told. */
  isTaken: (type: string) => boolean | undefined;
}): (contract: ContractDefinition) => void {
  const { clock, signals, isTaken } = options;
  const lookedMs = new Map<string, number>();
  return (contract) => {
    if (contract.kind !== 'event' || !contract.previous || contract.downcast) return;
    const nowMs = clock.monotonic();
    if (nowMs - (lookedMs.get(contract.type) ?? -Infinity) < lookMs) return;
    if (lookedMs.size >= typesMax) lookedMs.clear();
    const taken = isTaken(contract.type);
    if (taken === undefined) return;
    lookedMs.set(contract.type, nowMs);
    if (taken) return;
    for (let older: ContractDefinition | undefined = contract.previous; older; older = older.previous) {
      if (isTaken(older.type) !== false) return signals.emit('version-unread', { type: contract.type, older: older.type });
    }
  };
}
