/**
 * How far this service has applied what others published (G10).
 *
 * In: a publish's token, or a source. Out: whether it has been applied here; how far each subscription stands. A message
 * is applied when its inbox row is committed and it neither waits nor has failed. Nothing is written; nothing is promised
 * beyond what was read.
 *
 * Cost: `caughtUp` one look per subscription that takes the type, again upon each `applied` signal and each 250 ms.
 */
import type { Freshness } from '../contract/api.ts';
import type { Clock } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Signals } from '../contract/signals.ts';
import type { StoreSession } from '../contract/store.ts';
import type { SourceProgress } from '../contract/transport.ts';

interface TokenContent {
  readonly source: string;
  readonly id: string;
  readonly types: readonly string[];
}

/** Another instance may have applied it: no signal here tells. */
const pollMs = 250;
/** A copy that is older than this is not `current` any more. */
const currentMs = 5_000;

export function createFreshness(options: {
  store: StoreSession;
  clock: Clock;
  signals: Signals;
  /** Names of the subscriptions here that take one of these types. */
  takers: (types: readonly string[]) => readonly string[];
  progress: () => readonly { readonly subscription: string; readonly sources: readonly SourceProgress[]; readonly active: boolean }[];
}): {
  caughtUp(token: TokenContent, timeoutMs: number): Promise<boolean>;
  list(source?: string): Promise<Freshness[]>;
} {
  const { store, clock, signals } = options;

  const applied = async ({ source, id, types }: TokenContent): Promise<boolean> => {
    for (const subscription of options.takers(types)) {
      if (!(await store.ports.inbox.has(subscription, { source, id }))) return false;
      if (await store.ports.inspect.pending(subscription, source, id)) return false;
    }
    return true;
  };

  return {
    async caughtUp(token, timeoutMs) {
      if (!Number.isFinite(timeoutMs) || timeoutMs < 0) {
        throw new WaybillError('INVALID_OPTION', 'caughtUp: timeoutMs must be a number of milliseconds from 0 on');
      }
      const deadline = clock.monotonic() + timeoutMs;
      for (;;) {
        let hear = (): void => {};
        const heard = new Promise<void>((resolve) => {
          hear = resolve;
        });
        // Listening begins before the look, so that nothing falls in between.
        const stops = (['applied', 'duplicate', 'stale'] as const).map((name) => signals.on(name, (d) => d.id === token.id && hear()));
        const left = deadline - clock.monotonic();
        const cancel = clock.after(Math.max(0, Math.min(pollMs, left)), hear);
        try {
          if (await applied(token)) return true;
          if (left <= 0) return false;
          await heard;
        } finally {
          cancel();
          for (const stop of stops) stop();
        }
      }
    },

    async list(source) {
      const rows: Freshness[] = [];
      for (const { subscription, sources, active } of options.progress()) {
        const failing = (await store.ports.inspect.failures({ subscription, limit: 1 })).length > 0;
        for (const progress of sources) {
          if (source !== undefined && progress.source !== source) continue;
          const ageMs = clock.now() - progress.appliedUntilMs;
          const behind = (progress.waiting ?? 0) > 0 || ageMs > currentMs;
          rows.push({
            source: progress.source,
            subscription,
            appliedUntil: new Date(progress.appliedUntilMs),
            waiting: progress.waiting,
            state: failing ? 'failing' : !active ? 'unknown' : behind ? 'behind' : 'current',
          });
        }
      }
      return rows;
    },
  };
}
