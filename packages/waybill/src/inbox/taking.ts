/**
 * What a subscription is to work on, as items in its lanes: deliveries of its consumer, decoded, and its own messages that
 * waited and are due. Nothing is written here but a publisher's heartbeat, which is settled at once; who dies has taken
 * nothing. Before what waits is looked at, nothing is known of it; after that it is looked at again when something may be
 * due, or when that is asked for, and not before each batch.
 */
import { type Clock, sleep } from '../contract/clock.ts';
import { isHeartbeat } from '../contract/control.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Decode, Plan } from '../contract/handling.ts';
import { isLater } from '../contract/maybe.ts';
import type { StoreSession, WaitingRow } from '../contract/store.ts';
import type { Consumer, Delivery } from '../contract/transport.ts';
import { type Item, readableFirst, withoutCount } from './item.ts';

export interface Taking {
  /** Looks at what waits if something may be due, then receives, for a bounded time; what has come is in the lanes after that. */
  take(): Promise<void>;
  /**
   * Takes no longer than now, and looks at what waits the next time.
   * @param grows a delivery was put behind what waits for its key
   */
  wake(grows?: boolean): void;
  /** Looks at what waits the next time. */
  lookAgain(): void;
  /** Takes no longer than now. */
  interrupt(): void;
}

/** It is seen this often what is due although nothing announced it: another process may have put it there. */
export const pollMs = 1_000;
/** A receive that waits in vain ends after so long: what waits is announced. */
const idleMs = 10_000;
/** What this instance has no handler for it puts off again so much later: one that has looks at the same time, and comes first. */
const othersFirstMs = 250;
/** Waiting rows taken at once. */
const waitingMax = 50;
/** With those that stand behind them. */
const behindMax = 200;
/** So long at most, after a delivery had to line up, what waits and is due goes first: a line that grows faster than it is done would never end. */
const linesFirstMs = 200;
/** Runs that ended with the process, all but the first of them alone, until the message is parked. */
const crashesMax = 4;

/** As it is delivered, when nothing is known of it yet. */
const plain = { delivery: undefined, deliveryCount: undefined, row: undefined, line: undefined, attempt: 0, crashes: 0, started: true, together: Infinity, threw: undefined, newer: undefined };

export function createTaking(host: {
  readonly plan: Plan;
  readonly store: StoreSession;
  readonly consumer: Consumer;
  readonly clock: Clock;
  readonly decode: Decode;
  readonly owner: string;
  /** Waiting rows in hand: read again they are passed over. */
  readonly held: Set<number>;
  /** Deliveries that there is room for, at least one. */
  readonly room: () => number;
  /** What was read and decoded meanwhile stays where it was. */
  readonly mayNotRun: () => boolean;
  /** How often all that was in hand was let go of: what was received before that goes back, too. */
  readonly forgets: () => number;
  readonly stopping: AbortSignal;
  /** In one step: they share a transaction. */
  readonly push: (items: readonly Item[]) => void;
}): Taking {
  const { plan, store, consumer, clock, decode, held, mayNotRun } = host;
  const { waiting } = store.ports;
  let receiving = new AbortController();
  /** What waits is looked at again from then on, by the monotonic clock; or when that is asked for, as it is when something is due. */
  let lookMs = -Infinity;
  let lookAsked = false;
  /** Until then, by the monotonic clock, nothing is received while something that waited is in hand. */
  let linesFirstUntilMs = -Infinity;
  let grows = false;

  const take = async (): Promise<void> => {
    receiving = new AbortController();
    const waitMs = consumer.active ? await lookAtWaiting() : pollMs;
    if (!consumer.active) lookAsked = true; // once it is
    if (mayNotRun()) return;
    const firstMs = linesFirstUntilMs - clock.monotonic();
    if (held.size > 0 && firstMs > 0) return sleep(clock, firstMs, receiving.signal);
    grows = false;
    const max = host.room();
    const forgets = host.forgets();
    const deliveries = await withoutBeats(await consumer.receive(max, { waitMs, signal: receiving.signal }));
    if (deliveries.length > 0 && plan.lingerMs > 0 && deliveries.length < max) {
      await sleep(clock, plan.lingerMs, host.stopping);
      deliveries.push(...(await receiveMore(deliveries, max)));
    }
    const items: Item[] = [];
    for (const delivery of deliveries) {
      const decoding = decode(delivery);
      items.push({ ...plain, incoming: isLater(decoding) ? await decoding : decoding, delivery, deliveryCount: delivery.deliveryCount });
    }
    if (mayNotRun() || host.forgets() !== forgets) return consumer.release(deliveries);
    host.push(readableFirst(items));
  };

  /** A publisher's word that it has sent everything: taken, and nothing is done. */
  const withoutBeats = async (received: readonly Delivery[]): Promise<Delivery[]> => {
    if (!received.some(isHeartbeat)) return [...received];
    const beats = received.filter(isHeartbeat);
    await consumer.settle(beats);
    return received.filter((delivery) => !isHeartbeat(delivery));
  };

  const receiveMore = async (first: readonly Delivery[], max: number): Promise<readonly Delivery[]> => {
    try {
      return await withoutBeats(await consumer.receive(max - first.length, { waitMs: 0, signal: receiving.signal }));
    } catch (error) {
      await consumer.release(first);
      throw error;
    }
  };

  /** Answers how long there is nothing to do. */
  const lookAtWaiting = async (): Promise<number> => {
    if (lookAsked || clock.monotonic() >= lookMs) {
      lookAsked = false;
      lookMs = -Infinity; // should it fail
      const waitMs = await takeWaiting();
      lookMs = clock.monotonic() + waitMs;
    }
    return Math.min(idleMs, Math.max(0, lookMs - clock.monotonic()));
  };

  /** Puts what is due into the lanes; answers how long there is nothing more to do. */
  const takeWaiting = async (): Promise<number> => {
    const { rows, nowMs, nextDueMs } = await waiting.due(plan.name, 'now', waitingMax, host.owner);
    const fresh = rows.filter(({ row }) => !held.has(row));
    for (const { row } of fresh) held.add(row); // before anything is awaited: what is in hand now may be done by then
    const items: Item[] = [];
    try {
      for (const row of fresh) items.push(await fromWaiting(row));
      items.push(...(await behind(items)));
    } catch (error) {
      for (const { row } of fresh) held.delete(row); // read again
      throw error;
    }
    putWaiting(items.filter(({ incoming }) => incoming.kind !== 'leave'));
    const others = items.filter(({ incoming }) => incoming.kind === 'leave');
    if (others.length > 0) clock.after(othersFirstMs, () => putWaiting(others));
    if (nextDueMs === undefined) return Infinity;
    // What is due and in hand wakes this loop when it is finished.
    const untilMs = nextDueMs - nowMs;
    return untilMs <= 0 ? pollMs : Math.min(pollMs, untilMs);
  };

  /**
   * What stands in line behind these and may run right after them, in its order. After a crash or a long retry a busy key has
   * thousands: one at a time, each with a look of its own, they would never catch up.
   */
  const behind = async (heads: readonly Item[]): Promise<Item[]> => {
    const first = heads.filter(({ incoming, row, crashes }) => incoming.kind === 'run' && row!.inOrder && row!.attempt === 0 && crashes === 0);
    if (first.length === 0 || waiting.behind === undefined || plan.setBased || store.capabilities.cheapSavepoints) return [];
    const items: Item[] = [];
    const lines = new Map(first.map(({ row: head, line }) => [head!.message.key, line]));
    for (const row of await waiting.behind(first.map(({ row: head }) => head!), behindMax)) {
      const { key } = row.message;
      const line = lines.get(key);
      const item = line === undefined || held.has(row.row) ? undefined : await fromWaiting(row);
      if (item?.incoming.kind === 'run') {
        items.push({ ...item, line });
        line!.left++;
      } else lines.delete(key); // its turn comes when it is the first
    }
    for (const { row } of items) held.add(row!.row);
    return items;
  };

  const putWaiting = (items: readonly Item[]): void => {
    if (mayNotRun()) for (const { row } of items) held.delete(row!.row);
    else host.push(items);
  };

  const fromWaiting = async (read: WaitingRow): Promise<Item> => {
    const row = { ...read, owner: host.owner };
    const { attempt } = row;
    const { message, deliveryCount } = withoutCount(row.message);
    const crashes = Math.max(0, row.starts - attempt);
    const incoming =
      crashes < crashesMax
        ? await decode(message, true)
        : ({ kind: 'fail', wire: message, error: crashError(crashes) } as const);
    // What may take the process along runs alone; so does what failed before, where it would undo its neighbours.
    const together = crashes > 0 || (attempt > 0 && !store.capabilities.cheapSavepoints) ? 1 : Infinity;
    return { ...plain, incoming, row, deliveryCount, attempt, crashes: crashes < crashesMax ? crashes : 0, line: { left: 1, broken: false }, started: false, together };
  };

  const crashError = (crashes: number): WaybillError =>
    new WaybillError(
      'HANDLER_CRASHED',
      `${plan.name}: the process died ${crashes} times while it ran this message alone; mend the handler, then retry`,
    );

  return {
    take,
    wake(more = false) {
      lookAsked = true;
      if (more && !grows) linesFirstUntilMs = clock.monotonic() + linesFirstMs;
      grows ||= more;
      receiving.abort();
    },
    lookAgain() {
      lookAsked = true;
    },
    interrupt: () => receiving.abort(),
  };
}
