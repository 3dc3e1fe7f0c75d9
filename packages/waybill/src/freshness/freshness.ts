/**
 * How far this service has applied what others published (G10).
 *
 * In: a publish's token, or a source. Out: whether it has been applied here; how far each subscription stands. A message
 * is applied when its inbox row is committed and it neither waits nor has failed. Nothing is written; nothing is promised
 * beyond what was read.
 *
 * Cost: `caughtUp` one look per subscription that takes the type, again upon each `applied` signal of it and each 250 ms;
 * `list` two reads per subscription. Nothing per message: what is known is what the inbox and the transport keep anyway.
 * Over a broker each publisher sends one heartbeat per second, so that a quiet one does not look as if it were away.
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
  readonly timeMs: number;
}

/** Another instance may have applied it: no signal here tells. */
const pollMs = 250;
/** How far the clocks of two machines may differ. */
const skewMs = 60_000;
/** A copy that is older than this is not `current` any more. */
const currentMs = 5_000;

export function createFreshness(options: {
  store: StoreSession;
  clock: Clock;
  signals: Signals;
  /** Subscriptions here that take one of these types, and since when they get what is published. */
  takers: (types: readonly string[]) => readonly { readonly name: string; readonly sinceMs: number }[];
  /** Inbox rows of messages that are older than this may have been trimmed. */
  inboxMs: number;
  progress: () => Promise<readonly { readonly subscription: string; readonly sources: readonly SourceProgress[]; readonly known: boolean }[]>;
}): {
  caughtUp(token: TokenContent, timeoutMs: number): Promise<boolean>;
  list(source?: string): Promise<Freshness[]>;
} {
  const { store, clock, signals } = options;

  const applied = async ({ source, id, types, timeMs }: TokenContent): Promise<boolean> => {
    for (const { name, sinceMs } of options.takers(types)) {
      const [standing] = await store.ports.inspect.standing(name, [{ source, id }]);
      if (standing === 'waiting' || standing === 'failed') return false;
      // Whatever is older never came here, or its row has gone.
      const expected = timeMs > Math.max(sinceMs - skewMs, clock.now() - options.inboxMs);
      if (expected && standing === 'unknown') return false;
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
      for (const { subscription, sources, known } of await options.progress()) {
        const waiting = await countedBySource(store, 'waiting', subscription);
        const failed = await countedBySource(store, 'failures', subscription);
        for (const progress of sources) {
          if (source !== undefined && progress.source !== source) continue;
          const behind = (progress.waiting ?? 0) + (waiting.get(progress.source) ?? 0);
          rows.push({
            source: progress.source,
            subscription,
            appliedUntil: new Date(progress.appliedUntilMs),
            waiting: progress.waiting === undefined && behind === 0 ? undefined : behind,
            state: stateOf({ failing: failed.has(progress.source), known, behind, reachedMs: progress.appliedUntilMs, nowMs: clock.now() }),
          });
        }
      }
      return rows;
    },
  };
}

function stateOf({ failing, known, behind, reachedMs, nowMs }: { failing: boolean; known: boolean; behind: number; reachedMs: number; nowMs: number }): Freshness['state'] {
  if (failing) return 'failing';
  if (!known) return 'unknown';
  if (behind > 0) return 'behind';
  if (reachedMs === 0) return 'unknown';
  return nowMs - reachedMs > currentMs ? 'behind' : 'current';
}

/** Rows of one subscription that are looked at: what lies past them changes no state. */
const rowsMax = 1_000;

/** What waits, or has failed, of each source. */
async function countedBySource({ ports }: StoreSession, what: 'waiting' | 'failures', subscription: string): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const { message } of await ports.inspect[what]({ subscription, limit: rowsMax })) {
    counts.set(message.source, (counts.get(message.source) ?? 0) + 1);
  }
  return counts;
}
