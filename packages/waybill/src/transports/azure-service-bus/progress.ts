import { heartbeatType } from '../../contract/control.ts';
import type { SourceProgress } from '../../contract/transport.ts';
import type { Held } from './held.ts';

/**
 * How far each source has been applied, by what came here: up to the newest message of it that was settled, unless an
 * older one is still in hand. What waits at the broker is not known, nor what other instances hold.
 */
export class Progress {
  readonly #newestMs = new Map<string, number>();
  /** Sources of which more than heartbeats came. */
  readonly #sent = new Set<string>();
  readonly #held = new Map<string, Set<Held>>();

  took(held: Held): void {
    const { source, timeMs } = held.arrived;
    this.#newestMs.set(source, Math.max(timeMs, this.#newestMs.get(source) ?? timeMs));
    if (held.message.subject !== heartbeatType) this.#sent.add(source);
    const open = this.#held.get(source);
    if (open) open.add(held);
    else this.#held.set(source, new Set([held]));
  }

  ended(held: Held): void {
    this.#held.get(held.arrived.source)?.delete(held);
  }

  report(): SourceProgress[] {
    return [...this.#newestMs].map(([source, newestMs]) => {
      let appliedUntilMs = newestMs;
      for (const { arrived } of this.#held.get(source) ?? []) appliedUntilMs = Math.min(appliedUntilMs, arrived.timeMs - 1);
      return { source, appliedUntilMs, waiting: undefined, ...(!this.#sent.has(source) && { onlyHeartbeats: true }) };
    });
  }
}
