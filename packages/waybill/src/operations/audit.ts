/**
 * Did every subscription apply everything? Publishers' ledgers against this service's inboxes, over a range of time (G34).
 *
 * The ledgers are read page by page, and each page is looked up in the inbox by its primary key: memory holds a page and
 * the first gaps, whatever the range. Nothing is written.
 */
import { WaybillError } from '../contract/errors.ts';
import type { Plan } from '../contract/handling.ts';
import type { BusInternals } from '../contract/internals.ts';
import type { WireMessage } from '../contract/message.ts';
import type { StoreSession } from '../contract/store.ts';
import { typesOf } from './replay.ts';

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
  const suspects: WireMessage[] = [];
  let oldest: WireMessage | undefined;
  let trimmed = false;
  const history = await internals.history();
  let after: string | undefined;
  for (let more = true; more; ) {
    const page = await history.read(source, { types, after, ...(sinceMs > 0 && { sinceMs }), untilMs, max: pageMax });
    trimmed ||= page.trimmed;
    for (const message of page.messages) {
      if (types.includes(message.headers['ce-waybilldowncastof'] ?? '')) continue; // the older form of one that counts
      count.published++;
      const standing = await standingOf(store, plan.name, message);
      if (standing !== 'unknown') count[standing]++;
      else if (suspects.length < suspectsMax) suspects.push(message);
      else count.pending++;
      if (standing !== 'applied') oldest ??= message;
    }
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
    oldestGap: oldest && !gone ? gapOf(oldest) : undefined,
    lostMessages: lost.slice(0, lostShownMax).map(gapOf),
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
  { plan, source, suspects, count }: { plan: Plan; source: string; suspects: readonly WireMessage[]; count: Record<'applied' | 'pending' | 'waiting' | 'failed', number> },
): Promise<WireMessage[]> {
  if (suspects.length === 0) return [];
  const { sources } = (await internals.look(plan.name)) ?? { sources: [] };
  const progress = sources.find((one) => one.source === source);
  const lost: WireMessage[] = [];
  for (const message of suspects) {
    const standing = await standingOf(store, plan.name, message); // after the progress was read, so it cannot be ahead of it
    if (standing !== 'unknown') count[standing]++;
    else if (progress && (progress.waiting ?? 0) === 0 && message.time < progress.appliedUntilMs) lost.push(message);
    else count.pending++;
  }
  return lost;
}

async function standingOf({ ports }: StoreSession, subscription: string, { source, id }: WireMessage): Promise<'applied' | 'waiting' | 'failed' | 'unknown'> {
  if (!(await ports.inbox.has(subscription, { source, id }))) return 'unknown';
  if (!(await ports.inspect.pending(subscription, source, id))) return 'applied';
  const failures = await ports.inspect.failures({ subscription, id });
  return failures.some(({ message }) => message.source === source) ? 'failed' : 'waiting';
}

function gapOf({ id, source, type, key, time }: WireMessage): Gap {
  return { id, source, type, key, time: new Date(time) };
}
