import { isHeartbeat } from '../contract/control.ts';
import type { Consumer, Delivery, TransportSession } from '../contract/transport.ts';
import type { CrashPoint } from './crash-points.ts';
import { Died, type Life } from './life.ts';
import { passing } from './store.ts';

/** What a test may do with the deliveries of a subscription. */
export interface Tap {
  readonly subscription: string;
  /** Delivers again what was delivered under this id; answers how many deliveries that are. */
  redeliver(id: string): number;
  /** Deliveries put in by hand and not taken yet. */
  readonly waiting: number;
}

/** Deliveries remembered per subscription, so that they can come again: the newest. */
const rememberedMax = 10_000;

/** What one subscription was given, over all lives of its bus. */
export type Remembered = Map<string, Map<string, Delivery[]>>;

/**
 * A transport session as one life of a bus sees it: it ends the life at its crash points, remembers what was delivered,
 * and delivers it again when asked to. The broker knows nothing of those: they are never acknowledged to it.
 */
export function watchTransport(
  real: TransportSession,
  watch: {
    readonly life: Life;
    readonly reach: (point: CrashPoint) => boolean;
    readonly remembered: Remembered;
    readonly tapped: (tap: Tap) => void;
  },
): TransportSession {
  const { life, reach, remembered } = watch;
  return passing(
    real,
    {
      send: (messages) =>
        life.operation(async () => {
          if (reach('before relay.send')) throw new Died();
          const outcomes = await real.send(messages);
          reach('relay.send');
          return outcomes;
        }),
      consume: (declaration) =>
        life.operation(async () => {
          const consumer = await real.consume(declaration);
          const seen = remembered.get(declaration.name) ?? new Map<string, Delivery[]>();
          remembered.set(declaration.name, seen);
          const { watched, tap } = watchConsumer(consumer, { life, reach, seen, subscription: declaration.name });
          watch.tapped(tap);
          return watched;
        }),
      // A question that is answered at once, not an operation.
      ...(real.isTaken && { isTaken: (type) => real.isTaken!(type) }),
      // Removal may wait for others to apply what is queued.
      remove: (name, queued) => life.wait(() => real.remove(name, queued)),
    },
    (method) => (...given: unknown[]) => life.operation(() => method(...given)),
  );
}

function watchConsumer(
  real: Consumer,
  watch: { life: Life; reach: (point: CrashPoint) => boolean; seen: Map<string, Delivery[]>; subscription: string },
): { watched: Consumer; tap: Tap } {
  const { life, reach, seen } = watch;
  const again: Delivery[] = [];
  const ours = new Set<Delivery>();
  let wake = (): void => {};

  const remember = (delivery: Delivery): void => {
    if (isHeartbeat(delivery)) return;
    const id = delivery.headers['ce-id'] ?? '';
    // Under one id there may be several: a message and its form in an older version.
    const others = (seen.get(id) ?? []).filter((other) => other.headers['ce-type'] !== delivery.headers['ce-type']);
    seen.set(id, [...others, { ...delivery, redelivered: true, suspect: false }]);
    if (seen.size > rememberedMax) seen.delete(seen.keys().next().value!);
  };
  const theirs = (deliveries: readonly Delivery[]): Delivery[] => deliveries.filter((delivery) => !ours.has(delivery));
  const takeAgain = (max: number): Delivery[] => {
    const taken = again.splice(0, max);
    for (const delivery of taken) ours.add(delivery);
    return taken;
  };

  const watched = passing<Consumer>(real, {
    receive: (max, { waitMs, signal }) =>
      life.wait(async () => {
        const first = takeAgain(max);
        if (first.length > 0) return first;
        const early = new AbortController();
        wake = () => early.abort();
        const deliveries = await real.receive(max, { waitMs, signal: AbortSignal.any([signal, early.signal]) });
        wake = () => {};
        for (const delivery of deliveries) remember(delivery);
        return [...deliveries, ...takeAgain(max - deliveries.length)];
      }),
    settleIn: (tx, deliveries) => life.operation(() => real.settleIn(tx, theirs(deliveries))),
    settle: (deliveries) =>
      life.operation(async () => {
        if (reach('before inbox.settle')) throw new Died();
        await real.settle(theirs(deliveries));
        for (const delivery of deliveries) ours.delete(delivery);
        reach('inbox.settle');
      }),
    release: (deliveries) =>
      life.operation(async () => {
        const given = theirs(deliveries);
        again.unshift(...deliveries.filter((delivery) => ours.delete(delivery)));
        await real.release(given);
      }),
    close: () => life.operation(() => real.close()),
  });

  const tap: Tap = {
    subscription: watch.subscription,
    get waiting() {
      return again.length;
    },
    redeliver(id) {
      const copies = seen.get(id) ?? [];
      again.push(...copies.map((delivery) => ({ ...delivery, headers: { ...delivery.headers }, body: delivery.body.slice() })));
      if (copies.length > 0) wake();
      return copies.length;
    },
  };
  return { watched, tap };
}
