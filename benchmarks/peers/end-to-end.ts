/**
 * Commit → effect: so many sent in transactions with an update each, by 16 connections, then handled with an update each;
 * and the time from a send to its effect at 50 a second. Waybill and its peers, in turn in one run, everything of each in
 * this process. For each it is counted what was lost and what had its effect twice; ours must have neither.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { atLeast, median, quantile, type Report } from '../report.ts';
import { contenders, type Contender } from './contenders.ts';
import { installPeers } from './install.ts';
import { openStage, type Stage } from './stage.ts';

interface Run {
  readonly sentPerSecond: number;
  readonly handledPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** All that was sent had been handled in time. */
  readonly whole: boolean;
  readonly lost: number;
  readonly doubled: number;
}

const senders = 16;
const everyMs = 20;

export async function endToEnd({ quick }: { quick: boolean }): Promise<Report> {
  const versions = installPeers();
  const count = quick ? 3_000 : 15_000;
  const rounds = quick ? 1 : 3;
  const limits = { drainMs: quick ? 6_000 : 20_000, paced: quick ? 50 : 250 };
  const stage = await openStage();
  const runs = new Map<Contender, Run[]>(contenders.map((contender) => [contender, []]));
  try {
    for (let round = 0; round < rounds; round++) {
      for (const contender of contenders) runs.get(contender)!.push(await once(stage, contender, count, limits));
    }
  } finally {
    await stage.close();
  }
  const table = [...runs].map(([{ name, settings, guarantee }, all]) => ({
    name,
    settings,
    guarantee,
    handledPerSecond: Math.round(median(all.map((run) => run.handledPerSecond))),
    sentPerSecond: Math.round(median(all.map((run) => run.sentPerSecond))),
    p50Ms: median(all.map((run) => run.p50Ms)),
    p99Ms: median(all.map((run) => run.p99Ms)),
    whole: all.every((run) => run.whole),
    lost: Math.max(...all.map((run) => run.lost)),
    doubled: Math.max(...all.map((run) => run.doubled)),
  }));
  const best = (of: (one: (typeof table)[number]) => boolean): number => Math.max(...table.filter(of).map((one) => one.handledPerSecond));
  const ours = best(({ name }) => name === 'waybill');
  return {
    name: 'end-to-end',
    ratios: [
      atLeast('pg-transactional-outbox, the same guarantee', ours / best(({ name }) => name === 'pg-transactional-outbox'), 20),
      atLeast('the fastest peer, whatever it guarantees', ours / best(({ name }) => name !== 'waybill'), 1),
    ],
    correct: table.filter(({ name }) => name === 'waybill').every(({ whole, lost, doubled }) => whole && lost === 0 && doubled === 0),
    messages: count,
    versions,
    contenders: table,
  };
}

async function once(stage: Stage, contender: Contender, count: number, limits: { drainMs: number; paced: number }): Promise<Run> {
  const { pool } = stage;
  await pool.query('truncate effect');
  await pool.query('insert into effect select n, 0 from generate_series(0, $1) n', [count + limits.paced - 1]);
  const opened = await contender.open(stage);
  let next = 0;
  const began = performance.now();
  await Promise.all(Array.from({ length: senders }, async () => {
    while (next < count) await opened.send(next++);
  }));
  const sentPerSecond = count / ((performance.now() - began) / 1_000);

  const seen = new Set<number>();
  const sentMs = new Map<number, number>();
  const times: number[] = [];
  const started = performance.now();
  let lastMs = started;
  await opened.start((n) => {
    lastMs = performance.now();
    if (sentMs.has(n) && !seen.has(n)) times.push(lastMs - sentMs.get(n)!);
    seen.add(n);
  });
  const until = async (size: number, ms: number): Promise<boolean> => {
    for (const end = performance.now() + ms; seen.size < size && performance.now() < end; ) await sleep(5);
    return seen.size >= size;
  };
  // Ours has to come through, however slow the machine is; of a peer a rate is enough.
  const drained = await until(count, limits.drainMs * (contender.name === 'waybill' ? 5 : 1));
  const handledPerSecond = seen.size / ((drained ? lastMs - started : performance.now() - started) / 1_000);
  let whole = drained;
  if (drained) {
    for (let i = 0; i < limits.paced; i++) {
      sentMs.set(count + i, performance.now());
      await opened.send(count + i);
      await sleep(everyMs);
    }
    whole = await until(count + limits.paced, 5_000);
  }
  await Promise.race([opened.stop(), sleep(5_000)]); // what does not end is not waited for
  const { rows } = await pool.query('select count(*) filter (where times = 0)::int as lost, count(*) filter (where times > 1)::int as doubled from effect');
  const [p50Ms, p99Ms] = times.length > 0 ? [quantile(times, 0.5), quantile(times, 0.99)] : [NaN, NaN];
  console.log(`${contender.name}, ${contender.settings}: ${Math.round(handledPerSecond)}/s handled, ${Math.round(sentPerSecond)}/s sent, p50 ${p50Ms.toFixed(1)} ms`);
  return { sentPerSecond, handledPerSecond, p50Ms, p99Ms, whole, lost: whole ? rows[0].lost : 0, doubled: rows[0].doubled };
}
