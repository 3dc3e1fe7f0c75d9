/** Is anything failing, stuck, behind or silent? At most one sentence for each, and none when all is well. Reads only. */
import type { Bus, Freshness } from '../contract/api.ts';
import type { Inspect } from '../contract/inspect.ts';

/** What was due longer ago than this and has not run, or was committed and not sent, is stuck. */
const stuckMs = 60_000;

export interface Counts {
  /** Committed and not sent yet. */
  readonly ready: number;
  /** Delayed messages, retries, timeouts, and what stands behind them. */
  readonly waiting: number;
  readonly failed: number;
}

export interface Status extends Counts {
  /** For people; empty when all is well. */
  readonly sentences: readonly string[];
}

export async function sentencesOf(bus: Pick<Bus, 'freshness'>, inspect: Inspect, { counts, nowMs }: { counts: Counts; nowMs: number }): Promise<string[]> {
  const rows = await bus.freshness();
  return [await failing(inspect, counts), await stuck(inspect, counts, nowMs), behind(rows), silent(rows, nowMs)].filter((sentence) => sentence !== undefined);
}

async function failing(inspect: Inspect, { failed }: Counts): Promise<string | undefined> {
  if (failed === 0) return undefined;
  const [first] = (await inspect.failureGroups()).toSorted((one, other) => other.count - one.count);
  const most = first && `, ${first.count === failed ? 'all' : first.count} of them in ${first.subscription ?? 'sending'} (${first.code}: ${first.message.slice(0, 200)})`;
  return `${numbered(failed, 'message has', 'messages have')} failed${most ?? ''}: see failures.groups(), mend the cause, then failures.retry().`;
}

async function stuck(inspect: Inspect, { ready }: Counts, nowMs: number): Promise<string | undefined> {
  const [oldest] = ready > 0 ? await inspect.outbox({ state: 'ready', limit: 1 }) : [];
  if (oldest === undefined || nowMs - oldest.timeMs < stuckMs) return undefined;
  return `${numbered(ready, 'message was', 'messages were')} committed and not sent, the oldest ${ago(nowMs - oldest.timeMs)}: is the broker there, and a bus with a relay?`;
}

function behind(rows: readonly Freshness[]): string | undefined {
  const late = rows.filter(({ state, waiting }) => state === 'behind' && (waiting ?? 0) > 0);
  if (late.length === 0) return undefined;
  const most = late.reduce((one, other) => ((other.waiting ?? 0) > (one.waiting ?? 0) ? other : one));
  return `${numbered(late.length, 'subscription is', 'subscriptions are')} behind, ${most.subscription} most: ${numbered(most.waiting ?? 0, 'message', 'messages')} of ${most.source} ${most.waiting === 1 ? 'waits' : 'wait'}.`;
}

function silent(rows: readonly Freshness[], nowMs: number): string | undefined {
  const quiet = rows.filter(({ state, waiting }) => state === 'behind' && (waiting ?? 0) === 0);
  const sources = [...new Set(quiet.map(({ source }) => source))];
  if (sources.length === 0) return undefined;
  const longest = Math.max(...quiet.map(({ appliedUntil }) => nowMs - appliedUntil.getTime()));
  return `${sources.slice(0, 5).join(', ')}${sources.length > 5 ? ' and others' : ''} ${sources.length === 1 ? 'has' : 'have'} not been heard of, for ${span(longest)} at most: is it running?`;
}

function numbered(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

function ago(ms: number): string {
  return `${span(ms)} ago`;
}

function span(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3_600)} h`;
}
