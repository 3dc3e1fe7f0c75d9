/**
 * How far each source has been applied, by whichever instances work on a subscription.
 *
 * In: what came out of each of its queues here, what went back to them, and the words of the service's other instances.
 * Out: per source, the moment until which everything that it had published has been applied. Guaranteed: it is never later
 * than the truth, as far as the broker gives out a queue in its order:
 *
 *     partitions   each is given to one instance at a time, and each gets every heartbeat: the least far one counts, by
 *                  what anybody ever said of it, as it stays true
 *     one queue    instances take turns at it: the least far one counts, by its latest word; who has taken nothing of a
 *                  source yet is not waited for, and who falls silent counts for a moment longer, until what it held has
 *                  come to another
 *
 * A crash forgets it: heartbeats tell again within seconds. Cost: a lookup per message; a word per second and instance,
 * and one more when it first takes something of a source.
 */
import type { SourceProgress } from '../../contract/transport.ts';

/** Sources whose progress is kept. */
const sourcesMax = 1_000;
/** Sources of which others are told. */
const toldMax = 200;
/** The last word of an instance at a shared queue counts for so long. */
const wordMs = 4_000;

interface Came {
  readonly source: string;
  /** Wall time, by the source's clock. */
  readonly time: number;
  readonly isHeartbeat: boolean;
}

/** What one instance says, per source: how far each queue is (null: not known to it), and whether a message ever came. */
export type Word = Readonly<Record<string, { readonly until: readonly (number | null)[]; readonly sent: boolean }>>;

export class Progress {
  /** Per queue and source, the newest that came out of it here and did not go back. */
  readonly #newest: readonly Map<string, number>[];
  /** Sources of which more than heartbeats came, here or elsewhere. */
  readonly #sent = new Set<string>();
  /** By partition and source, the furthest that another said. */
  readonly #said: readonly Map<string, number>[];
  /** The latest words of others at a shared queue. */
  readonly #words = new Map<string, { readonly word: Word; readonly atMs: number }>();

  constructor(queues: number) {
    this.#newest = Array.from({ length: queues }, () => new Map<string, number>());
    this.#said = this.#newest.map(() => new Map<string, number>());
  }

  get #shared(): boolean {
    return this.#newest.length === 1;
  }

  /** @returns whether it is the first of its source here: others do not wait for this instance until it has told them */
  took(queue: number, { source, time, isHeartbeat }: Came): boolean {
    const newest = this.#newest[queue]!;
    const before = newest.get(source);
    if (before === undefined && newest.size >= sourcesMax) return false;
    if (before === undefined || time > before) newest.set(source, time);
    if (!isHeartbeat && this.#sent.size < sourcesMax) this.#sent.add(source);
    return before === undefined;
  }

  /** It went back to its queue, and comes again, here or elsewhere. */
  returned(queue: number, { source, time, isHeartbeat }: Came): void {
    const before = this.#newest[queue]!.get(source);
    if (!isHeartbeat && before !== undefined && time <= before) this.#newest[queue]!.set(source, time - 1);
  }

  /** What this instance knows itself; `outstanding`: per queue, what came out of it and has not been applied. */
  word(outstanding: readonly (readonly Came[])[]): Word {
    const word: Record<string, { until: (number | null)[]; sent: boolean }> = {};
    const sources = new Set(this.#newest.flatMap((newest) => [...newest.keys()]));
    for (const source of [...sources].slice(0, toldMax)) {
      word[source] = { until: this.#newest.map((_, queue) => this.#own(queue, source, outstanding) ?? null), sent: this.#sent.has(source) };
    }
    return word;
  }

  heard(by: string, word: Word, nowMs: number): void {
    for (const [source, { until, sent }] of Object.entries(word)) {
      if (sent && this.#sent.size < sourcesMax) this.#sent.add(source);
      if (this.#shared) continue;
      for (const [queue, said] of this.#said.entries()) {
        const ms = until[queue];
        if (typeof ms !== 'number' || (!said.has(source) && said.size >= sourcesMax)) continue;
        said.set(source, Math.max(ms, said.get(source) ?? ms));
      }
    }
    if (this.#shared) this.#words.set(by, { word, atMs: nowMs });
    for (const [who, { atMs }] of this.#words) if (nowMs - atMs > wordMs) this.#words.delete(who);
  }

  report(outstanding: readonly (readonly Came[])[], nowMs: number): SourceProgress[] {
    const others = [...this.#words.values()].filter(({ atMs }) => nowMs - atMs <= wordMs).map(({ word }) => word);
    const sources = new Set([...this.#newest, ...this.#said].flatMap((known) => [...known.keys()]));
    for (const word of others) for (const source of Object.keys(word)) sources.add(source);
    return [...sources].map((source) => {
      const reached = this.#shared
        ? [this.#own(0, source, outstanding), ...others.map((word) => word[source]?.until[0] ?? undefined)].filter((ms) => ms !== undefined)
        : this.#newest.map((_, queue) => Math.max(this.#own(queue, source, outstanding) ?? 0, this.#said[queue]!.get(source) ?? 0));
      const waiting = outstanding.flat().filter((one) => one.source === source && !one.isHeartbeat).length;
      return {
        source,
        appliedUntilMs: reached.length === 0 ? 0 : Math.min(...reached),
        waiting: waiting > 0 ? waiting : undefined, // what else lies in a queue the broker does not tell
        ...(!this.#sent.has(source) && { onlyHeartbeats: true }),
      };
    });
  }

  /** Whether more than heartbeats came of it, here or elsewhere. */
  knows(source: string): boolean {
    return this.#sent.has(source);
  }

  /** The newest of a source that is known to have come out of this queue, here or elsewhere. */
  reached(queue: number, source: string): number {
    const others = this.#shared ? [...this.#words.values()].map(({ word }) => word[source]?.until[0] ?? 0) : [this.#said[queue]!.get(source) ?? 0];
    return Math.max(this.#newest[queue]!.get(source) ?? 0, ...others);
  }

  #own(queue: number, source: string, outstanding: readonly (readonly Came[])[]): number | undefined {
    let until = this.#newest[queue]!.get(source);
    if (until === undefined) return undefined;
    for (const one of outstanding[queue]!) if (one.source === source && !one.isHeartbeat) until = Math.min(until, one.time - 1);
    return until;
  }
}
