/**
 * A subscription that begins in the past, on a transport that keeps none: what publishers have sent before is asked of
 * them, page by page, and comes as deliveries before their live ones.
 *
 *     source:  unknown ──seen──► joining ──all its history applied──► joined
 *
 * Guaranteed, per source: everything that its ledger still holds, in order, then the live flow; without gap, since the
 * queue was bound before the first page was asked; without double, since the inbox knows (source, id). Live messages of a
 * source that has not been joined are kept aside, those of others go on. A crash leaves a source that is joined again
 * from its first page: what was applied is dropped by the inbox.
 */
import { type Clock, sleep } from '../contract/clock.ts';
import { isHeartbeat } from '../contract/control.ts';
import { WaybillError } from '../contract/errors.ts';
import type { History, HistoryPage } from '../contract/history.ts';
import type { Signals } from '../contract/signals.ts';
import type { Consumer, Delivery } from '../contract/transport.ts';

const pageMax = 200;
/** Live deliveries kept aside at most: past it nothing more is received until a source has been joined. */
const asideMax = 1_000;
const retryFirstMs = 1_000;
const retryMaxMs = 30_000;

export interface LateOptions {
  readonly subscription: string;
  readonly clock: Clock;
  readonly signals: Signals;
  readonly history: Pick<History, 'read'>;
  readonly types: readonly string[];
  /** Undefined: from the beginning. */
  readonly sinceMs: number | undefined;
  readonly isJoined: (source: string) => Promise<boolean>;
  readonly joined: (source: string) => Promise<void>;
}

export interface LateConsumer extends Consumer {
  /** Sources whose history has not all been applied. */
  readonly joining: number;
  /** Its history had something for this subscription, and is applied. */
  gave(source: string): boolean;
  /** Something may come of it: it has not been asked yet, or it gave something. */
  awaits(source: string): boolean;
}

/** The same consumer, which first catches up. */
export function lateConsumer(consumer: Consumer, options: LateOptions): LateConsumer {
  const { subscription, clock, signals } = options;
  const stopping = new AbortController();
  const states = new Map<string, 'joining' | 'joined'>();
  /** History that is to be given out, in order; what was given out and is not settled, with its place. */
  let ready: { readonly delivery: Delivery; readonly source: string; readonly place: number }[] = [];
  const given = new Map<Delivery, (typeof ready)[number]>();
  const open = new Map<string, number>();
  let aside: Delivery[] = [];
  /** Sources that had something to give. */
  const gave = new Set<string>();
  let places = 0;
  let changed = new AbortController();
  const change = (): void => {
    changed.abort();
    changed = new AbortController();
  };

  const sourceOf = ({ headers }: Delivery): string => headers['ce-source'] ?? '';

  /** Whether live messages of this source may pass; the first of one that has not been joined starts that. */
  const passes = async (source: string): Promise<boolean> => {
    if (!states.has(source)) {
      const joined = await options.isJoined(source);
      states.set(source, joined ? 'joined' : 'joining');
      if (!joined) void join(source);
    }
    return states.get(source) === 'joined';
  };

  const join = async (source: string): Promise<void> => {
    let after: string | undefined;
    let pauseMs = retryFirstMs;
    for (let first = true; !stopping.signal.aborted; ) {
      let page: HistoryPage;
      try {
        page = await options.history.read(source, { types: options.types, after, sinceMs: options.sinceMs, max: pageMax });
        pauseMs = retryFirstMs;
      } catch (error) {
        if (WaybillError.is(error, 'UNROUTABLE')) {
          tell(source, new WaybillError('LEDGER_SKIPPED', `${subscription}: '${source}' cannot be asked for what it sent before (it is no Waybill service, or an older one): its messages are taken from now on`));
          break;
        }
        await sleep(clock, pauseMs * (0.5 + clock.random() / 2), stopping.signal);
        pauseMs = Math.min(pauseMs * 2, retryMaxMs);
        continue;
      }
      if (first && page.trimmed) {
        tell(source, new WaybillError('LEDGER_TRIMMED', `${subscription} begins with what '${source}' still has: its oldest messages have been removed (horizonMs). Ask it for the state that they told of`));
      }
      first = false;
      add(source, page);
      // The next page when this one is applied: what is far ahead would only take memory.
      while ((open.get(source) ?? 0) > 0 && !stopping.signal.aborted) await sleep(clock, 1_000, changed.signal);
      if (!page.more) break;
      after = page.next;
    }
    await finish(source);
  };

  const finish = async (source: string): Promise<void> => {
    for (let pauseMs = retryFirstMs; !stopping.signal.aborted; pauseMs = Math.min(pauseMs * 2, retryMaxMs)) {
      try {
        await options.joined(source);
        break;
      } catch {
        await sleep(clock, pauseMs, stopping.signal); // the store is away
      }
    }
    if (stopping.signal.aborted) return;
    states.set(source, 'joined');
    change();
  };

  const tell = (source: string, error: WaybillError): void => signals.emit('ledger', { source, subscription, error });

  const add = (source: string, { messages }: HistoryPage): void => {
    for (const { kind, headers, body } of messages) {
      ready.push({ delivery: { kind, headers, body, redelivered: true, suspect: false }, source, place: places++ });
    }
    open.set(source, (open.get(source) ?? 0) + messages.length);
    if (messages.length > 0) gave.add(source);
    if (messages.length > 0) change();
  };

  const give = (max: number): Delivery[] => {
    const some = ready.splice(0, max);
    for (const one of some) given.set(one.delivery, one);
    return some.map(({ delivery }) => delivery);
  };

  const live = async (deliveries: readonly Delivery[]): Promise<Delivery[]> => {
    try {
      for (const delivery of deliveries) await passes(sourceOf(delivery));
    } catch (error) {
      await consumer.release(deliveries); // the store is away
      throw error;
    }
    const mayPass = (delivery: Delivery): boolean => isHeartbeat(delivery) || states.get(sourceOf(delivery)) === 'joined';
    const behind = aside.length > 0; // what was kept aside goes first, also of a source that was joined just now
    const passing = deliveries.filter((delivery) => mayPass(delivery) && !(behind && aside.some((one) => sourceOf(one) === sourceOf(delivery))));
    aside.push(...deliveries.filter((delivery) => !passing.includes(delivery)));
    return passing;
  };

  const fromAside = (max: number): Delivery[] => {
    const passing = aside.filter((delivery) => states.get(sourceOf(delivery)) === 'joined').slice(0, max);
    aside = aside.filter((delivery) => !passing.includes(delivery));
    return passing;
  };

  const foreign = (deliveries: readonly Delivery[]): Delivery[] => deliveries.filter((delivery) => !given.has(delivery));

  return {
    get active() {
      return consumer.active;
    },
    get joining() {
      return [...states.values()].filter((state) => state !== 'joined').length;
    },
    async receive(max, { waitMs, signal }) {
      const history = give(max);
      const first = [...history, ...fromAside(max - history.length)];
      if (first.length > 0) return first;
      const either = AbortSignal.any([signal, changed.signal]);
      if (aside.length >= asideMax) {
        await sleep(clock, waitMs, either);
        return give(max);
      }
      return live(await consumer.receive(max, { waitMs, signal: either }));
    },
    settleIn: (tx, deliveries) => consumer.settleIn(tx, foreign(deliveries)),
    async settle(deliveries) {
      const others = foreign(deliveries);
      for (const delivery of deliveries) {
        const one = given.get(delivery);
        if (!one) continue;
        given.delete(delivery);
        open.set(one.source, open.get(one.source)! - 1);
      }
      if (others.length < deliveries.length) change();
      if (others.length > 0) await consumer.settle(others);
    },
    async release(deliveries) {
      const others = foreign(deliveries);
      const back = deliveries.flatMap((delivery) => given.get(delivery) ?? []);
      for (const { delivery } of back) given.delete(delivery);
      ready = [...back, ...ready].sort((a, b) => a.place - b.place);
      if (others.length > 0) await consumer.release(others);
    },
    gave: (source) => gave.has(source) && states.get(source) === 'joined',
    awaits: (source) => gave.has(source) || !states.has(source),
    progress: () => consumer.progress(),
    ...(consumer.standby && { standby: () => consumer.standby!() }),
    async close() {
      stopping.abort();
      change();
      await consumer.close();
    },
  };
}
