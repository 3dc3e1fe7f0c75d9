import type { Bus, Freshness, HandlingRef } from 'waybill';
import { operations } from 'waybill/operations';
import { SERVICE_NAMES } from '../supervisor/messages.ts';

/** Times of the last so many messages make up p95. */
const SAMPLES_MAX = 1_000;

/** What one subscription has done since its service started. */
export interface Measured {
  applied: number;
  stale: number;
  duplicates: number;
  retried: number;
  failed: number;
  /** Milliseconds from the event to its effect that 95 of 100 kept within; undefined before the first. */
  p95Ms: number | undefined;
  worstMs: number | undefined;
  worstAt: string | undefined;
}

export interface SubscriptionReport extends Measured {
  readonly subscription: string;
  readonly source: string;
  /** `silent`: over a broker, while its source has said nothing since this service started. */
  readonly state: Freshness['state'] | 'silent';
  readonly appliedUntil: string | undefined;
  readonly waiting: number | undefined;
}

/** What a service says of itself at `GET /health/behind`. */
export interface Report {
  readonly service: string;
  readonly startedAt: string;
  readonly published: number;
  readonly subscriptions: readonly SubscriptionReport[];
}

export interface Measure {
  report(): Promise<Report>;
  /** What was applied up to now says nothing about delay: it was there before anybody listened. */
  forgetTimes(): void;
}

/** Counts what the bus reports, in memory: the figures begin anew with each start of the service. */
export function measure(bus: Bus): Measure {
  const startedAt = new Date().toISOString();
  const counters = new Map<string, Measured & { samplesMs: number[] }>();
  const { subscriptions } = operations(bus);
  let published = 0;

  const counter = ({ subscription, source }: Pick<HandlingRef, 'subscription' | 'source'>) => {
    const key = `${subscription} ${source}`;
    const known = counters.get(key);
    if (known) return known;
    const fresh = {
      applied: 0,
      stale: 0,
      duplicates: 0,
      retried: 0,
      failed: 0,
      p95Ms: undefined,
      worstMs: undefined,
      worstAt: undefined,
      samplesMs: [],
    };
    counters.set(key, fresh);
    return fresh;
  };

  bus.on('published', () => void published++);
  bus.on('stale', (message) => void counter(message).stale++);
  bus.on('duplicate', (message) => void counter(message).duplicates++);
  bus.on('retrying', (message) => void counter(message).retried++);
  bus.on('failed', (message) => void counter(message).failed++);
  bus.on('applied', (message) => {
    const its = counter(message);
    its.applied++;
    its.samplesMs.push(message.ageMs);
    if (its.samplesMs.length > SAMPLES_MAX) its.samplesMs.shift();
    if (message.ageMs >= (its.worstMs ?? 0)) Object.assign(its, { worstMs: message.ageMs, worstAt: new Date().toISOString() });
  });

  const measured = (row: Pick<HandlingRef, 'subscription' | 'source'>): Measured => {
    const { samplesMs, ...its } = counter(row);
    return { ...its, p95Ms: percentile(samplesMs, 0.95) };
  };

  return {
    async report() {
      const rows = (await bus.freshness()).filter((row) => isHeard(row, counters.has(`${row.subscription} ${row.source}`)));
      const names = (await subscriptions.list()).map(({ name }) => name);
      const silent = names.filter((name) => namedSource(name) && !rows.some(({ subscription }) => subscription === name));
      return {
        service: bus.service,
        startedAt,
        published,
        subscriptions: [
          ...rows.map((row) => ({ ...row, appliedUntil: row.appliedUntil.getTime() > 0 ? row.appliedUntil.toISOString() : undefined, ...measured(row) })),
          ...silent.map((subscription) => {
            const source = namedSource(subscription)!;
            const row = { subscription, source, state: 'silent', appliedUntil: undefined, waiting: undefined } as const;
            return { ...row, ...measured(row) };
          }),
        ],
      };
    },
    forgetTimes() {
      for (const its of counters.values()) Object.assign(its, { samplesMs: [], worstMs: undefined, worstAt: undefined });
    },
  };
}

/**
 * A bus reads every publisher, in case it has something for a subscription. The subscriptions of this shop are named after
 * the one that has: `basket.catalog.product-added` hears of the catalog. One that hears of several (a saga) shows those that
 * have said something.
 */
function isHeard({ subscription, source }: Freshness, hasSpoken: boolean): boolean {
  const named = namedSource(subscription);
  return named === undefined ? hasSpoken : named === source;
}

/** `basket.catalog.product-added` → `catalog` */
function namedSource(subscription: string): string | undefined {
  const named = subscription.split('.')[1];
  return SERVICE_NAMES.find((name) => name === named);
}

/** The smallest value that `share` of all keep within (nearest rank). */
export function percentile(values: readonly number[], share: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * share) - 1];
}
