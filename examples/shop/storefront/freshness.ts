import type { Freshness } from 'waybill';
import type { Watched } from './watch.ts';
import { longTime, span } from './pages/format.ts';
import { titleOf } from './services.ts';

/** Milliseconds after which lateness is said in words, with the reason. */
export const LATE_MS = 5_000;

/** How old something is that was copied from another service, and why. */
export interface Copied {
  readonly state: 'current' | 'late' | 'down' | 'failing';
  /** Everything that its source had said until then is in it. */
  readonly asOf: Date | undefined;
  readonly sentence: string;
}

/** The copy of the catalogue behind the product pages. */
export function productsCopied({ now, copy, catalog }: { now: Date; copy: Freshness | undefined; catalog: Watched }): Copied {
  const asOf = copy?.appliedUntil;
  if (!catalog.answering) {
    return {
      state: 'down',
      asOf,
      sentence: `${absent(catalog, now)} These are the prices of ${by(earlier(asOf, catalog.since), catalog.since, now)}; newer ones show when it is back.`,
    };
  }
  return (
    late('Prices here', 'catalog', copy, now) ?? {
      state: 'current',
      asOf,
      sentence: asOf ? `Prices as of ${longTime(asOf, now)}, from catalog.` : silent(catalog, now),
    }
  );
}

/** A basket is two steps away from the catalogue: prices come to the basket, baskets come to the pages. */
export function basketCopied({
  now,
  copy,
  basket,
  catalog,
}: {
  now: Date;
  copy: Freshness | undefined;
  basket: Watched;
  catalog: Watched;
}): Copied {
  if (!basket.answering) {
    const asOf = earlier(copy?.appliedUntil, basket.since);
    return {
      state: 'down',
      asOf,
      sentence: `${absent(basket, now)} This is what it had said by ${by(asOf, basket.since, now)}. It keeps what you have put in, and takes over new prices when it is back.`,
    };
  }
  const prices = pricesIn(basket);
  const asOf = earlier(copy?.appliedUntil, prices?.appliedUntil ?? basket.since);
  const lateness =
    late('This page', 'basket', copy, now) ?? (catalog.answering ? late('Basket', 'catalog', prices, now) : undefined);
  if (lateness) return { ...lateness, asOf };
  if (!catalog.answering)
    return {
      state: 'down',
      asOf,
      sentence: `${absent(catalog, now)} Prices in the basket are those of ${by(earlier(prices?.appliedUntil, catalog.since), catalog.since, now)}.`,
    };
  return { state: 'current', asOf, sentence: `Prices as of ${longTime(asOf, now)}, from catalog by way of basket.` };
}

/** Orders come from where they are decided, in one step. */
export function ordersCopied({ now, copy, ordering }: { now: Date; copy: Freshness | undefined; ordering: Watched }): Copied {
  const asOf = copy?.appliedUntil;
  if (!ordering.answering) {
    return {
      state: 'down',
      asOf,
      sentence: `${absent(ordering, now)} This is what it had said by ${by(earlier(asOf, ordering.since), ordering.since, now)}; orders go on when it is back.`,
    };
  }
  return (
    late('This page', 'ordering', copy, now) ?? {
      state: 'current',
      asOf,
      sentence: asOf ? `Orders as of ${longTime(asOf, now)}, from ordering.` : silent(ordering, now),
    }
  );
}

/** How far the basket said it is with the catalogue's prices. */
function pricesIn(basket: Watched): Freshness | undefined {
  const row = basket.report?.subscriptions.find(
    ({ subscription, source }) => source === 'catalog' && subscription.includes('price-changed'),
  );
  if (row?.appliedUntil === undefined || row.state === 'silent') return undefined;
  const { source, subscription, state, waiting, appliedUntil } = row;
  return { source, subscription, state, waiting, appliedUntil: new Date(appliedUntil) };
}

/** Over a broker, before the first message of a source nobody knows how far it has been heard. */
function silent({ name, since }: Watched, now: Date): string {
  return `Nothing new from ${name} since ${longTime(since, now)}.`;
}

function late(who: string, source: string, copy: Freshness | undefined, now: Date): Copied | undefined {
  if (copy?.state === 'failing') {
    return {
      state: 'failing',
      asOf: copy.appliedUntil,
      sentence: `${who} could not take over a change from ${source}; it is kept and can be retried. What you see may be older.`,
    };
  }
  const behindMs = copy ? now.getTime() - copy.appliedUntil.getTime() : 0;
  if (!copy || copy.state === 'current' || behindMs <= LATE_MS) return undefined;
  const waiting = copy.waiting ? `: ${copy.waiting} ${copy.waiting === 1 ? 'change waits' : 'changes wait'}` : '';
  return {
    state: 'late',
    asOf: copy.appliedUntil,
    sentence: `${who} ${who.endsWith('s here') ? 'are' : 'is'} ${span(behindMs)} behind ${source}${waiting}.`,
  };
}

/** Why a service says nothing. */
function absent({ name, since, process }: Watched, now: Date): string {
  const at = longTime(since, now);
  switch (process?.state) {
    case 'stopped':
    case 'stopping':
      return `${titleOf(name)} has been stopped since ${at}.`;
    case 'waiting':
    case 'starting':
      return `${titleOf(name)} is starting; it was last heard at ${at}.`;
    case 'failed':
      return `${titleOf(name)} has failed to start since ${at}.`;
    case 'running':
    case undefined:
      return `${titleOf(name)} has not answered since ${at}.`;
  }
}

/** A time that was named in the sentence before is not named again. */
function by(at: Date, named: Date, now: Date): string {
  const time = longTime(at, now);
  return time === longTime(named, now) ? 'then' : time;
}

function earlier(a: Date | undefined, b: Date): Date {
  return a !== undefined && a < b ? a : b;
}
