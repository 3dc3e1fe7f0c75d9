import type { Clock } from '../contract/clock.ts';
import type { Plan } from '../contract/handling.ts';
import type { Signals } from '../contract/signals.ts';
import type { Item, Outcome } from './item.ts';

/** What became of a message, as a signal; told once the transaction that made it so has committed. */
export function createReport(host: {
  readonly plan: Plan;
  readonly clock: Clock;
  readonly signals: Signals;
  readonly attempts: number;
}): (item: Item, outcome: Outcome) => void {
  const { plan, clock, signals, attempts } = host;
  return (item, outcome) => {
    if (outcome.kind === 'applied' && !signals.has('applied')) return;
    const { id, source, type, key, time } = item.incoming.wire;
    const ref = { subscription: plan.name, id, source, type, key };
    switch (outcome.kind) {
      case 'applied':
        return signals.emit('applied', { ...ref, attempt: outcome.attempt, ageMs: clock.now() - time });
      case 'duplicate':
      case 'stale':
      case 'expired':
        return signals.emit(outcome.kind, ref);
      case 'skipped':
        return signals.emit('skipped', { ...ref, reason: outcome.reason });
      case 'retrying': {
        const { attempt, dueMs, error } = outcome;
        return signals.emit('retrying', { ...ref, attempt, attempts, dueMs, error });
      }
      case 'failed':
        return signals.emit('failed', { ...ref, attempts: outcome.attempts, error: outcome.error });
      case 'gone':
      case 'moved':
        return; // nothing has been done yet, or somebody else has
    }
  };
}
