/**
 * Commit → effect: so many sent in transactions with an update each, by 16 connections, then handled with an update each;
 * then, begun anew, how long a message takes from its send (before the COMMIT) to its effect at 1 %, 50 % and 80 % of what
 * this contender can do. Waybill and its peers, in turn in one run, everything of each in this process, at its defaults
 * and at the best settings found. For each it is counted what was lost and what had its effect twice; ours must have neither.
 *
 * A quick run has one round of fewer messages after a first one that does not count, one pace, and no peer at its defaults.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { atLeast, median, quantile, rounded, type Report } from '../report.ts';
import { contenders, type Contender, type Opened } from './contenders.ts';
import { installPeers } from './install.ts';
import { openStage, type Stage } from './stage.ts';

interface Run {
  readonly sentPerSecond: number;
  readonly handledPerSecond: number;
  readonly latencies: Readonly<Record<string, Latency>>;
  /** All that was sent had been handled in time. */
  readonly whole: boolean;
  readonly lost: number;
  readonly doubled: number;
}

interface Latency {
  readonly perSecond: number;
  readonly messages: number;
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
  readonly notMeasured?: string;
}

interface Limits {
  readonly count: number;
  /** Shares of the most that a contender can do. */
  readonly paces: Readonly<Record<string, number>>;
  /** Until a backlog must be gone. */
  readonly drainMs: number;
  /** For each pace. */
  readonly pacedMs: number;
  /** Where a pace gives fewer in its time: so many, one after another, of which each is waited for. */
  readonly few: number;
  /** For what is under way at the end of a pace. */
  readonly restMs: number;
}

const senders = 16;
const full: Limits = { count: 15_000, paces: { '1 %': 0.01, '50 %': 0.5, '80 %': 0.8 }, drainMs: 20_000, pacedMs: 5_000, few: 20, restMs: 10_000 };
const short: Limits = { count: 2_000, paces: { '50 %': 0.5 }, drainMs: 2_000, pacedMs: 700, few: 3, restMs: 2_500 };

export async function endToEnd({ quick }: { quick: boolean }): Promise<Report> {
  const versions = installPeers();
  const limits = quick ? short : full;
  const rounds = quick ? 1 : 3;
  const stage = await openStage();
  const runs = new Map<Contender, Run[]>(contenders.filter(({ tuned }) => !quick || tuned !== false).map((contender) => [contender, []]));
  try {
    // What comes first would run code that nobody has run yet.
    if (quick) await throughput(stage, contenders[0]!, { ...limits, count: 500 });
    for (let round = 0; round < rounds; round++) {
      for (const contender of runs.keys()) {
        const run = await once(stage, contender, limits);
        runs.get(contender)!.push(run);
        console.log(`${contender.name}, ${contender.settings}: ${rounded(run.handledPerSecond)}/s handled, ${rounded(run.sentPerSecond)}/s sent, p50 ${Object.entries(run.latencies).map(([pace, { p50Ms }]) => `${p50Ms === undefined ? 'not measured' : `${p50Ms.toFixed(1)} ms`} at ${pace}`).join(', ')}; ${run.lost} lost, ${run.doubled} doubled`);
      }
    }
  } finally {
    await stage.close();
  }
  const table = [...runs].map(([{ name, settings, guarantee, sets = false }, all]) => ({
    name,
    settings,
    guarantee,
    sets,
    handledPerSecond: rounded(median(all.map((run) => run.handledPerSecond))),
    sentPerSecond: rounded(median(all.map((run) => run.sentPerSecond))),
    latency: Object.fromEntries(Object.keys(limits.paces).map((pace) => [pace, middle(all.map((run) => run.latencies[pace]!))])),
    whole: all.every((run) => run.whole),
    lost: Math.max(...all.map((run) => run.lost)),
    doubled: Math.max(...all.map((run) => run.doubled)),
  }));
  const best = (of: (one: (typeof table)[number]) => boolean): number => Math.max(...table.filter(of).map((one) => one.handledPerSecond));
  const ours = (sets: boolean): number => best((one) => one.name === 'waybill' && one.sets === sets);
  const fastest = (sets: boolean): number => best((one) => one.name !== 'waybill' && one.sets === sets);
  return {
    name: 'end-to-end',
    ratios: [
      atLeast('pg-transactional-outbox, the same guarantee', ours(false) / best(({ name }) => name === 'pg-transactional-outbox'), 20),
      atLeast('the fastest peer, whatever it guarantees', ours(false) / fastest(false), 1),
      atLeast('the fastest peer, one update for a set of messages in both', ours(true) / fastest(true), 1),
    ],
    correct: table.filter(({ name }) => name === 'waybill').every(({ whole, lost, doubled }) => whole && lost === 0 && doubled === 0),
    messages: limits.count,
    versions,
    contenders: table,
  };
}

async function once(stage: Stage, contender: Contender, limits: Limits): Promise<Run> {
  const backlog = await throughput(stage, contender, limits);
  // Sending and handling share the machine: so much of both goes on together.
  const most = 1 / (1 / backlog.sentPerSecond + 1 / backlog.handledPerSecond);
  const timed = await latencies(stage, contender, limits, most);
  return { ...backlog, latencies: timed.found, whole: backlog.whole && timed.whole, lost: backlog.lost + timed.lost, doubled: backlog.doubled + timed.doubled };
}

/** A backlog, and how fast it is gone. Ours has to come through, however slow the machine is; of a peer a rate is enough. */
async function throughput(stage: Stage, contender: Contender, { count, drainMs }: Limits): Promise<Omit<Run, 'latencies'>> {
  await expect(stage, count);
  const opened = await contender.open(stage);
  let next = 0;
  const began = performance.now();
  await Promise.all(Array.from({ length: senders }, async () => {
    while (next < count) await opened.send(next++);
  }));
  const sentPerSecond = count / ((performance.now() - began) / 1_000);
  const seen = new Set<number>();
  const started = performance.now();
  let lastMs = started;
  await opened.start((n) => {
    lastMs = performance.now();
    seen.add(n);
  });
  // The slowest of all takes one each two seconds: until its second one there is no rate.
  const isOver = (): boolean => seen.size >= count || (performance.now() - started > drainMs * (contender.name === 'waybill' ? 20 : 1) && (seen.size > 1 || performance.now() - started > 10_000));
  while (!isOver()) await sleep(5);
  const whole = seen.size >= count;
  const handledPerSecond = seen.size / (((whole ? lastMs : performance.now()) - started) / 1_000);
  await close(opened);
  return { sentPerSecond, handledPerSecond, ...(await effects(stage, whole)) };
}

/** Begun anew, with nothing in the way. */
async function latencies(stage: Stage, contender: Contender, limits: Limits, most: number): Promise<{ found: Record<string, Latency>; whole: boolean; lost: number; doubled: number }> {
  const counts = Object.entries(limits.paces).map(([pace, share]) => {
    const open = Math.floor((most * share * limits.pacedMs) / 1_000);
    return { pace, perSecond: most * share, inTurn: open < limits.few, count: Math.max(limits.few, open) };
  });
  await expect(stage, counts.reduce((sum, { count }) => sum + count, 0));
  const opened = await contender.open(stage);
  const sentMs = new Map<number, number>();
  let times: number[] = [];
  let told = (): void => {};
  await opened.start((n) => {
    if (!sentMs.has(n)) return; // again
    times.push(performance.now() - sentMs.get(n)!);
    sentMs.delete(n);
    told();
  });
  const found: Record<string, Latency> = {};
  let whole = true;
  let next = 0;
  const send = async (n: number): Promise<void> => {
    sentMs.set(n, performance.now());
    await opened.send(n);
  };
  const quiet = async (ms: number): Promise<boolean> => {
    for (const end = performance.now() + ms; sentMs.size > 0 && performance.now() < end; ) await sleep(2);
    return sentMs.size === 0;
  };
  for (const { pace, perSecond, inTurn, count } of counts) {
    times = [];
    if (!whole) {
      found[pace] = { perSecond: rounded(perSecond), messages: 0, p50Ms: undefined, p99Ms: undefined, notMeasured: 'it did not keep up with the pace before' };
      continue;
    }
    if (inTurn) {
      for (let i = 0; i < count && whole; i++) {
        await send(next++);
        whole = await quiet(limits.restMs * (contender.name === 'waybill' ? 10 : 2));
      }
    } else {
      // Open: a message is sent when its time has come, whatever became of those before.
      const under: Promise<void>[] = [];
      for (let i = 0, began = performance.now(); i < count; i++) {
        await sleep(Math.max(0, began + (i * 1_000) / perSecond - performance.now()));
        under.push(send(next++));
      }
      await Promise.all(under);
      whole = await quiet(limits.restMs * (contender.name === 'waybill' ? 20 : 1));
    }
    found[pace] = {
      perSecond: rounded(perSecond),
      messages: times.length,
      p50Ms: times.length > 0 ? rounded(quantile(times, 0.5)) : undefined,
      p99Ms: times.length >= 20 ? rounded(quantile(times, 0.99)) : undefined,
      ...(!whole && { notMeasured: times.length === 0 ? 'nothing came in time' : 'not all of it came in time: it does not keep up with this pace' }),
    };
  }
  await close(opened);
  const counted = await effects(stage, whole);
  return { found, ...counted };
}

/** Rows to be updated, one per message. */
async function expect({ pool }: Stage, count: number): Promise<void> {
  await pool.query('truncate effect');
  await pool.query('insert into effect select n, 0 from generate_series(0, $1) n', [count - 1]);
}

async function effects({ pool }: Stage, whole: boolean): Promise<{ whole: boolean; lost: number; doubled: number }> {
  const { rows } = await pool.query('select count(*) filter (where times = 0)::int as lost, count(*) filter (where times > 1)::int as doubled from effect');
  return { whole, lost: whole ? rows[0].lost : 0, doubled: rows[0].doubled };
}

/** What does not end is not waited for. */
async function close(opened: Opened): Promise<void> {
  await Promise.race([opened.stop(), sleep(5_000)]);
}

function middle(all: readonly Latency[]): Latency {
  const of = (part: 'p50Ms' | 'p99Ms'): number | undefined => {
    const values = all.flatMap((one) => one[part] ?? []);
    return values.length === 0 ? undefined : rounded(median(values));
  };
  const notMeasured = all.find((one) => one.notMeasured !== undefined)?.notMeasured;
  return { perSecond: rounded(median(all.map(({ perSecond }) => perSecond))), messages: all.reduce((sum, { messages }) => sum + messages, 0), p50Ms: of('p50Ms'), p99Ms: of('p99Ms'), ...(notMeasured !== undefined && { notMeasured }) };
}
