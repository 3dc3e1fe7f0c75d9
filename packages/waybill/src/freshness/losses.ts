/**
 * Notices what a broker had confirmed and lost (promise 6, I22).
 *
 * In: that a subscription could not reach its broker for a while, or that its queue was not there and had to be made. Out:
 * the signal `lost`, for each source of which messages never came. Compared are the source's ledger, from the moment up to
 * which all had been taken, and this service's inbox: what has left no trace there at two looks, although the subscription
 * has come past it, is lost. Nothing is written; a crash forgets a comparison that was not over (an `audit` finds the same).
 *
 * Cost: none while the broker stays; after trouble, two reads for each 200 messages that were published meanwhile. A queue
 * that was made anew: of all that the ledger holds since the subscription began.
 */
import type { Clock } from '../contract/clock.ts';
import type { History } from '../contract/history.ts';
import type { Loop } from '../contract/loop.ts';
import { createLoop } from '../contract/loop.ts';
import type { WireMessage } from '../contract/message.ts';
import type { Signals } from '../contract/signals.ts';
import type { StoreSession } from '../contract/store.ts';
import type { SourceProgress } from '../contract/transport.ts';

/** Between two looks; messages that come again after the trouble need some time. */
const lookMs = 10_000;
/** Looks at one source, of which some message is still on its way; then it is left to an audit. */
const looksMax = 30;
/** How far the clocks of two machines may differ. */
const skewMs = 60_000;
/** A subscription that is younger than this when its queue is made has never had one. */
const firstMs = 10_000;
const pageMax = 200;
/** Messages without a trace that are remembered from one look to the next; a broker that loses more is noticed by these. */
const suspectsMax = 10_000;

export interface LossesOptions {
  readonly clock: Clock;
  readonly signals: Signals;
  readonly store: () => StoreSession;
  readonly history: () => History;
  /** The subscription, unless it is gone or takes no events. */
  readonly subscription: (name: string) => Watched | undefined;
}

export interface Watched {
  /** Types on the wire, older versions too. */
  readonly types: readonly string[];
  /** Since when it is there, by the wall clock; undefined while that is not known. */
  readonly thereSinceMs: number | undefined;
  /** Since when it gets what is published; 0: from the beginning. */
  readonly beganMs: number;
  progress(): readonly SourceProgress[];
}

/** One comparison that is to be made, source by source. */
interface Suspicion {
  readonly subscription: string;
  /** Wall time: what was published before has been taken on. Undefined: all of it is in doubt. */
  readonly fromMs: ReadonlyMap<string, number> | undefined;
  /** Wall time: what is published from now on comes after the trouble. */
  untilMs: number;
  readonly sources: Map<string, { looks: number; suspects: ReadonlySet<string>; done: boolean }>;
}

export function createLosses(options: LossesOptions): Loop {
  const { clock, signals } = options;
  const suspicions = new Map<string, Suspicion>();
  /** Subscriptions whose broker is away, and how far they had come. */
  const away = new Map<string, ReadonlyMap<string, number>>();

  const suspect = (subscription: string, fromMs: Suspicion['fromMs']): void => {
    const before = suspicions.get(subscription);
    const unfinished = before && [...before.sources.values()].some(({ done }) => !done);
    // A comparison that is not over is made again from where it began.
    const from = unfinished || (before && before.sources.size === 0) ? before.fromMs : fromMs;
    suspicions.set(subscription, { subscription, fromMs: from && fromMs ? from : undefined, untilMs: clock.now(), sources: new Map() });
    loop.wake();
  };

  signals.on('paused', ({ subscription, reason }) => {
    const watched = reason === 'transport' && !away.has(subscription) ? options.subscription(subscription) : undefined;
    if (watched) away.set(subscription, new Map(watched.progress().flatMap(({ source, appliedUntilMs }) => (appliedUntilMs > 0 ? [[source, appliedUntilMs]] : []))));
  });
  signals.on('resumed', ({ subscription }) => {
    const reached = away.get(subscription);
    away.delete(subscription);
    if (reached && reached.size > 0) suspect(subscription, reached);
  });
  signals.on('queue-made', ({ subscription }) => suspect(subscription, undefined));

  const look = async (suspicion: Suspicion, watched: Watched): Promise<boolean> => {
    let open = false;
    for (const source of await options.history().sources()) {
      const state = suspicion.sources.get(source) ?? { looks: 0, suspects: new Set<string>(), done: false };
      suspicion.sources.set(source, state);
      if (state.done) continue;
      // A source that was silent until now has nothing of before that could be lost on the way to a queue that stayed.
      const fromMs = suspicion.fromMs === undefined ? 0 : suspicion.fromMs.get(source);
      if (fromMs === undefined) {
        state.done = true;
        continue;
      }
      state.looks++;
      const { lost, onTheirWay } = await missing(watched, { source, subscription: suspicion.subscription, fromMs: Math.max(0, fromMs - skewMs, watched.beganMs), untilMs: suspicion.untilMs + skewMs });
      const twice = lost.filter(({ id }) => state.suspects.has(id));
      state.suspects = new Set(lost.map(({ id }) => id));
      state.done = state.looks >= looksMax || (!onTheirWay && twice.length === lost.length);
      if (state.done && twice.length > 0) tell(suspicion.subscription, source, twice);
      open ||= !state.done;
    }
    return open;
  };

  const tell = (subscription: string, source: string, lost: readonly WireMessage[]): void => {
    const times = lost.map(({ time }) => time);
    signals.emit('lost', { subscription, source, count: lost.length, firstId: lost[0]!.id, fromMs: Math.min(...times), untilMs: Math.max(...times) });
  };

  /** What the source has published in this time, and the subscription has come past without a trace of it. */
  const missing = async (
    watched: Watched,
    { source, subscription, fromMs, untilMs }: { source: string; subscription: string; fromMs: number; untilMs: number },
  ): Promise<{ lost: WireMessage[]; onTheirWay: boolean }> => {
    const { types } = watched;
    const traceless: WireMessage[] = [];
    let after: string | undefined;
    for (let more = true; more && traceless.length < suspectsMax; ) {
      const page = await options.history().read(source, { types, after, ...(fromMs > 0 && { sinceMs: fromMs }), untilMs, max: pageMax });
      const messages = page.messages.filter(({ headers }) => !types.includes(headers['ce-waybilldowncastof'] ?? '')); // the older form of one that counts
      traceless.push(...(await withoutTrace(subscription, messages)));
      ({ next: after, more } = page);
      await clock.turn();
    }
    const progress = watched.progress().find((one) => one.source === source);
    const passed = (message: WireMessage): boolean => progress !== undefined && (progress.waiting ?? 0) === 0 && message.time < progress.appliedUntilMs;
    const lost: WireMessage[] = [];
    // Looked at again after the progress was read, so that it cannot be ahead of the inbox.
    for (let at = 0; at < traceless.length; at += pageMax) lost.push(...(await withoutTrace(subscription, traceless.slice(at, at + pageMax).filter(passed))));
    return { lost, onTheirWay: traceless.some((message) => !passed(message)) };
  };

  const withoutTrace = async (subscription: string, messages: readonly WireMessage[]): Promise<WireMessage[]> => {
    if (messages.length === 0) return [];
    const standings = await options.store().ports.inspect.standing(subscription, messages);
    return messages.filter((_, i) => standings[i] === 'unknown');
  };

  const loop = createLoop({
    clock,
    async turn() {
      for (const suspicion of [...suspicions.values()]) {
        const watched = options.subscription(suspicion.subscription);
        // Its first start: the queue was not there because it never had been.
        const isNew = watched?.thereSinceMs !== undefined && suspicion.fromMs === undefined && watched.thereSinceMs > suspicion.untilMs - firstMs;
        if (!watched || isNew) suspicions.delete(suspicion.subscription);
        else if (watched.thereSinceMs === undefined || clock.now() - suspicion.untilMs < lookMs / 2) continue;
        // A source that has not been heard of since may speak up later: a queue that was made anew stays in doubt.
        else if (!(await look(suspicion, watched)) && suspicion.fromMs !== undefined && suspicions.get(suspicion.subscription) === suspicion) suspicions.delete(suspicion.subscription);
      }
      return suspicions.size === 0 ? idleMs : lookMs;
    },
    onError: () => {}, // the source, or the store, is away: it is looked at again
  });
  return loop;
}

/** Nothing to compare: a suspicion wakes it. */
const idleMs = 3_600_000;
