/**
 * Did every subscription apply everything? Publishers' ledgers against this service's inboxes, over a range of time (G34).
 *
 * The ledgers are read page by page, and each page is looked up in one read: memory holds a page and the first gaps,
 * whatever the range. Nothing is written.
 *
 * Cost: two reads for each page of 500 messages (over a broker 200), subscription and source.
 */
import { WaybillError } from '../contract/errors.ts';
import type { Plan } from '../contract/handling.ts';
import type { BusInternals } from '../contract/internals.ts';
import type { StoreSession } from '../contract/store.ts';
import { typesOf } from '../contract/versions.ts';

export interface AuditRange {
  /** What was committed from then on. @default as far back as the ledgers reach */
  readonly from?: Date;
  /** What was committed before then. @default now */
  readonly to?: Date;
  /** One subscription only. */
  readonly subscription?: string;
  /** Of these services only. @default all that can be asked */
  readonly sources?: readonly string[];
}

/** A message of a ledger that has not been applied. */
export interface Gap {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly key: string | undefined;
  readonly time: Date;
}

export interface AuditEntry {
  readonly subscription: string;
  readonly source: string;
  /** Messages of the range that the subscription takes and was there for. */
  readonly published: number;
  readonly applied: number;
  /** On their way: the subscription has not come so far. */
  readonly pending: number;
  /** For a retry, or behind one. */
  readonly waiting: number;
  readonly failed: number;
  /** Published, and the subscription has come past them without them. `replay` brings them back. */
  readonly lost: number;
  /** Second deliveries that were dropped, of all time since this bus began, whatever the range. */
  readonly duplicates: number;
  /** The first message, in the order of the ledger, that has not been applied. */
  readonly oldestGap: Gap | undefined;
  /** The first 100 that are lost. */
  readonly lostMessages: readonly Gap[];
  /** The ledger does not reach back to the beginning of the range, or perhaps not. */
  readonly trimmed: boolean;
}

const pageMax = 500;
/** Messages without a trace that are kept to be looked at again, per subscription and source; past it they count as pending. */
const suspectsMax = 10_000;
const lostShownMax = 100;

export async function audit(internals: BusInternals, range: AuditRange = {}): Promise<AuditEntry[]> {
  for (const option of ['from', 'to'] as const) {
    const value = range[option];
    if (value !== undefined && (!(value instanceof Date) || Number.isNaN(value.getTime()))) throw new WaybillError('INVALID_OPTION', `audit: ${option} must be a valid Date`);
  }
  const store = await internals.store();
  const history = await internals.history();
  const sources = range.sources ?? (await history.sources());
  const all = internals.subscriptions().filter(({ plan }) => plan.kind === 'event' && (range.subscription === undefined || named(internals, plan, range.subscription)));
  const entries: AuditEntry[] = [];
  for (const { plan, beganMs } of all) {
    for (const source of sources) {
      const entry = await auditOne(internals, store, { plan, source, range, beganMs });
      if (entry.published > 0 || entry.trimmed) entries.push(entry);
    }
  }
  return entries;
}

function named({ service }: BusInternals, { name }: Plan, asked: string): boolean {
  return name === asked || name === `${service}.${asked}`;
}

interface Subject {
  readonly plan: Plan;
  readonly source: string;
  readonly range: AuditRange;
  /** Since when the subscription gets what is published. */
  readonly beganMs: number;
}

async function auditOne(internals: BusInternals, store: StoreSession, { plan, source, range, beganMs }: Subject): Promise<AuditEntry> {
  const { clock } = internals;
  const types = typesOf(plan);
  const sinceMs = Math.max(range.from?.getTime() ?? 0, beganMs);
  const untilMs = range.to?.getTime() ?? clock.now() + 1;
  const count = { published: 0, applied: 0, pending: 0, waiting: 0, failed: 0 };
  const suspects: Gap[] = [];
  let oldest: Gap | undefined;
  let trimmed = false;
  const history = await internals.history();
  let after: string | undefined;
  for (let more = true; more; ) {
    const page = await history.read(source, { types, after, ...(sinceMs > 0 && { sinceMs }), untilMs, max: pageMax });
    trimmed ||= page.trimmed;
    const messages = page.messages.filter(({ headers }) => !types.includes(headers['ce-waybilldowncastof'] ?? '')); // the older form of one that counts
    count.published += messages.length;
    (await store.ports.inspect.standing(plan.name, messages)).forEach((standing, i) => {
      if (standing === 'applied') return void count.applied++;
      const gap = gapOf(messages[i]!);
      oldest ??= gap;
      if (standing !== 'unknown') count[standing]++;
      else if (suspects.length < suspectsMax) suspects.push(gap);
      else count.pending++;
    });
    ({ next: after, more } = page);
    await clock.turn();
  }
  const lost = await sift(internals, store, { plan, source, suspects, count });
  const gone = oldest && lost.length === 0 && count.pending + count.waiting + count.failed === 0; // applied while we looked
  return {
    subscription: plan.name,
    source,
    ...count,
    lost: lost.length,
    duplicates: internals.duplicates(plan.name),
    oldestGap: gone ? undefined : oldest,
    lostMessages: lost.slice(0, lostShownMax),
    trimmed,
  };
}

/**
 * What left no trace may be on its way. It is lost when the subscription has come past it: everything that the source had
 * published by then has been taken, and this one has not.
 */
async function sift(
  internals: BusInternals,
  store: StoreSession,
  { plan, source, suspects, count }: { plan: Plan; source: string; suspects: readonly Gap[]; count: Record<'applied' | 'pending' | 'waiting' | 'failed', number> },
): Promise<Gap[]> {
  if (suspects.length === 0) return [];
  const { sources } = (await internals.look(plan.name)) ?? { sources: [] };
  const progress = sources.find((one) => one.source === source);
  const lost: Gap[] = [];
  for (let at = 0; at < suspects.length; at += pageMax) {
    const some = suspects.slice(at, at + pageMax);
    // after the progress was read, so it cannot be ahead of it
    (await store.ports.inspect.standing(plan.name, some)).forEach((standing, i) => {
      if (standing !== 'unknown') count[standing]++;
      else if (progress && (progress.waiting ?? 0) === 0 && some[i]!.time.getTime() < progress.appliedUntilMs) lost.push(some[i]!);
      else count.pending++;
    });
  }
  return lost;
}

function gapOf({ id, source, type, key, time }: Omit<Gap, 'time'> & { readonly time: number }): Gap {
  return { id, source, type, key, time: new Date(time) };
}
