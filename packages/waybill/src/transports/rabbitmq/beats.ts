/**
 * Publishers' heartbeats on their way into a subscription's queues.
 *
 * A heartbeat says that all before it has been sent, so it must come out of a queue behind all of that. But a broker lets
 * what has run out go only at the head of a queue: in one that nobody reads they would heap up, a service that is away for
 * a night would find hundreds of thousands. So each living instance hears them itself, and puts them into the queues that
 * it reads: later than its publisher would have, which is right as well. One at a time per queue and source: the next when
 * that one has come out, here or at another instance, or has run out. And only of sources that a subscription has to do
 * with: else each publisher of the system would cost each queue of the system a message.
 *
 * A crash leaves one heartbeat per queue and source behind. Cost: nothing per message; a second's heartbeat of a publisher
 * is a message to each instance, and to each queue that has a reader and takes from it; there every other one, until
 * somebody asks.
 */
import { heartbeatLifeMs } from '../../contract/control.ts';

/** From one to the next while nobody asks how far the subscription is: every other one of a publisher's. What is 5 s old is not current. */
const restMs = 1_500;
/** Where an instance stands by, it steps in for the one that reads once that is so late. */
const lateMs = 3_000;
/** Sources that are remembered per queue. */
const sourcesMax = 1_000;

export class Beats {
  /** Per queue and source, the one that was put there last. */
  readonly #under: readonly Map<string, { readonly time: number; readonly atMs: number }>[];

  constructor(queues: number) {
    this.#under = Array.from({ length: queues }, () => new Map<string, { time: number; atMs: number }>());
  }

  /**
   * Whether to put this one into the queue.
   * @param time by the source's clock
   * @param reached the newest of this source that has come out of the queue, by the same clock
   * @param watched whether somebody has asked lately how far the subscription is
   * @param active whether this instance is the one that reads it, as far as is known
   */
  takes(queue: number, beat: { source: string; time: number }, { reached, active, watched, nowMs }: { reached: number; active: boolean; watched: boolean; nowMs: number }): boolean {
    const under = this.#under[queue]!;
    const before = under.get(beat.source);
    if (before !== undefined && reached < before.time && nowMs - before.atMs < heartbeatLifeMs) return false;
    if (before !== undefined && !watched && beat.time - before.time < restMs) return false;
    if (!active && reached >= beat.time - lateMs) return false;
    if (before === undefined && under.size >= sourcesMax) return false;
    under.set(beat.source, { time: beat.time, atMs: nowMs });
    return true;
  }
}
