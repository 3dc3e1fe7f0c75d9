/**
 * `workloads`: other messages than the usual ones, on the embedded default and on PostgreSQL with RabbitMQ: bodies of 200
 * bytes to a megabyte; ten, a thousand, a hundred thousand keys, in order; a burst after ten seconds of nothing; a handler
 * that waits. Each is published, then relayed, then handled, by a process each, so that all of it has queued before the
 * next begins: that is where memory shows. Beside the usual workload, in turn in one run.
 *
 * Of every message the bytes are compared, effects are counted and summed up (by number and by its square, so that one lost
 * and another doubled are seen), and the order of each key is checked in the row that the handler writes.
 *
 * A quick run has a fifth of the messages, the workloads that have a goal, and one shorter idleness.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { atLeast, atMost, median, type Ratio, type Report, rounded } from '../report.ts';
import { inTurn } from './in-turn.ts';
import type { Answer } from './process.ts';
import { type Ground, type Load, isRight, onGround, usual, withWorkers } from './workers.ts';

export interface Step {
  readonly perSecond: number;
  readonly megabytesPerSecond: number;
  readonly cpuUsPerMessage: number;
  readonly cpuUsPerKilobyte: number;
  readonly peakMegabytes: number;
}

/** Of one workload, in the order of the way. */
export interface Ran {
  readonly publish: Step;
  readonly relay?: Step;
  readonly handle: Step;
  /** µs per message, of the whole. */
  readonly servers?: { readonly postgres: number; readonly rabbit: number };
}

export interface Burst {
  readonly firstMs: number;
  readonly lastMs: number;
}

const kilo = 1_000;
const mega = 1_000_000;
const burstCount = 3_000;

export async function workloads({ quick }: { quick: boolean }): Promise<Report> {
  const part = quick ? 1 : 5;
  const idles = quick ? { times: 1, ms: 4_000 } : { times: 3, ms: 10_000 };
  const loads: Record<string, Load & { /** Not in a quick run. */ readonly more?: true }> = {
    '1 kB': { bytes: kilo, count: 2_000 * part, more: true },
    '64 kB': { bytes: 64 * kilo, count: 500 * part },
    '1 MB': { bytes: mega, count: 150 * part },
    '10 keys': { keys: 10, count: 2_000 * part },
    '100,000 keys': { keys: 100_000, count: 4_000 * part },
    'latest, 10 keys': { order: 'latest', keys: 10, count: 2_000 * part, more: true },
    'latest, 1,000 keys': { order: 'latest', count: 2_000 * part, more: true },
    'latest, 100,000 keys': { order: 'latest', keys: 100_000, count: 4_000 * part, more: true },
    'waits 10 ms, 10 keys': { slowMs: 10, keys: 10, count: 200 * part, more: true },
    'waits 10 ms, 1,000 keys': { slowMs: 10, count: 200 * part, more: true },
  };
  const only = process.env['WORKLOADS'];
  const found: Record<string, { readonly ran: Record<string, Ran>; readonly bursts: Record<string, Burst>; readonly inTurnPerSecond?: number }> = {};
  const ratios: Ratio[] = [];
  let correct = true;
  const checked = <T extends { readonly correct: boolean }>(name: string, one: T): T => {
    if (!one.correct) console.error(`${name}: not every message had its effect once, in order, with its bytes`);
    correct &&= one.correct;
    return one;
  };
  for (const kind of ['embedded', 'servers'] as const) {
    await onGround(kind, async (ground) => {
      const ran: Record<string, Ran> = {};
      const base: Ran[] = [];
      const beside = (): Promise<void> => run(ground, { count: 2_000 * part }).then((one) => void base.push(checked(`${kind}, usual`, one).ran));
      await beside();
      for (const [name, load] of Object.entries(loads)) {
        if (only === undefined ? quick && load.more : !name.includes(only)) continue;
        ({ ran: ran[name] } = checked(`${kind}, ${name}`, await run(ground, load)) as { ran: Ran });
        console.log(kind, name, JSON.stringify(ran[name]));
        if (!quick && (name === '1 MB' || name.startsWith('latest, 1,000'))) await beside();
      }
      await beside();
      const bursts = only === undefined || only === 'burst' ? checked(`${kind}, burst`, await burst(ground, idles)).bursts : {};
      const limit = ground.kind === 'servers' && ran['10 keys'] ? await inTurn(ground.servers.amqp, { keys: 10, bytes: usual.bytes, count: 2_000 * part }) : undefined;
      console.log(kind, 'usual', JSON.stringify(middle(base)), 'bursts', JSON.stringify(bursts));
      ratios.push(...ratiosOf(kind, middle(base), ran, bursts, limit));
      found[kind] = { ran: { usual: middle(base), ...ran }, bursts, ...(limit !== undefined && { inTurnPerSecond: rounded(limit) }) };
    });
  }
  return { name: 'workloads', ratios, correct, idleMs: idles.ms, burst: burstCount, found };
}

const titles = { embedded: 'embedded', servers: 'PostgreSQL and RabbitMQ' };

function ratiosOf(kind: keyof typeof titles, base: Ran, ran: Record<string, Ran>, bursts: Record<string, Burst>, inTurnPerSecond?: number): Ratio[] {
  const ratios: Ratio[] = [];
  const peak = ({ publish, relay, handle }: Ran): number => Math.max(publish.peakMegabytes, relay?.peakMegabytes ?? 0, handle.peakMegabytes);
  const of = (name: string, ratio: (one: Ran) => Ratio): void => void (ran[name] && ratios.push(ratio(ran[name])));
  const title = titles[kind];
  of('1 MB', (one) => atMost(`${title}: peak of a process with bodies of 1 MB, MB more than with the usual ones`, peak(one) - peak(base), 250));
  of('1 MB', (one) => atLeast(`${title}: MB/s handled, bodies of 1 MB beside the usual ones`, one.handle.megabytesPerSecond / base.handle.megabytesPerSecond, 20));
  for (const keys of ['10 keys', '100,000 keys']) of(keys, (one) => atLeast(`${title}: handled per second, ${keys} beside 1,000`, one.handle.perSecond / base.handle.perSecond, 0.7));
  if (base.relay) for (const keys of ['10 keys', '100,000 keys']) of(keys, (one) => atLeast(`${title}: relayed per second, ${keys} beside 1,000`, one.relay!.perSecond / base.relay!.perSecond, 0.7));
  if (inTurnPerSecond !== undefined) ratios.push(atLeast(`${title}: relayed per second, 10 keys beside the same client without a database, one message per key in flight`, ran['10 keys']!.relay!.perSecond / inTurnPerSecond, 0.7));
  if (bursts['idle']) ratios.push(atMost(`${title}: first effect of a burst after idleness, beside one at once`, bursts['idle'].firstMs / bursts['warm']!.firstMs, 2));
  return ratios;
}

function run(ground: Ground, load: Load): Promise<{ ran: Ran; correct: boolean }> {
  const { bytes, count, order } = { ...usual, ...load };
  const step = ({ ms, cpuUs, peakMegabytes }: Answer): Step => ({
    perSecond: rounded((count * 1_000) / ms),
    megabytesPerSecond: rounded((count * bytes) / mega / (ms / 1_000)),
    cpuUsPerMessage: rounded(cpuUs / count),
    cpuUsPerKilobyte: rounded((cpuUs * kilo) / count / bytes),
    peakMegabytes: rounded(peakMegabytes),
  });
  return withWorkers(ground, load, async (start) => {
    const [view, desk] = await Promise.all([start('subscriber'), start('publisher')]);
    const before = ground.kind === 'servers' ? ground.servers.cpu() : undefined;
    const publish = step(await desk.ask({ kind: 'publish', count }));
    await desk.ask({ kind: 'end' });
    const relay = ground.kind === 'servers' ? step(await (await start('relay')).ask({ kind: 'relay', count })) : undefined;
    const handle = step(await view.ask({ kind: 'handle', count }));
    const after = ground.kind === 'servers' ? ground.servers.cpu() : undefined;
    const us = (name: 'postgres' | 'rabbit'): number => rounded(((after![name] - before![name]) * 1_000) / count);
    const { effects } = await view.ask({ kind: 'effects' });
    return {
      ran: { publish, ...(relay && { relay }), handle, ...(after && { servers: { postgres: us('postgres'), rabbit: us('rabbit') } }) },
      correct: isRight(effects!, count, order),
    };
  });
}

/** All of it is running: a burst, others at once, and some that each come after a time without anything. */
function burst(ground: Ground, idles: { readonly times: number; readonly ms: number }): Promise<{ bursts: Record<string, Burst>; correct: boolean }> {
  return withWorkers(ground, { count: burstCount }, async (start) => {
    const view = await start('subscriber');
    const relay = ground.kind === 'servers' ? await start('relay') : undefined;
    const desk = await start('publisher');
    void relay?.ask({ kind: 'relay', count: Infinity }).catch(() => {});
    let published = 0;
    const one = async (): Promise<Burst> => {
      published += burstCount;
      const handled = view.ask({ kind: 'handle', count: published });
      await desk.ask({ kind: 'publish', count: burstCount });
      const { firstMs, lastMs } = await handled;
      return { firstMs: rounded(firstMs!), lastMs: rounded(lastMs!) };
    };
    await one();
    const warm: Burst[] = [];
    for (let i = 0; i < 3; i++) warm.push(await one());
    const idle: Burst[] = [];
    while (idle.length < idles.times) {
      await sleep(idles.ms);
      idle.push(await one());
    }
    const { effects } = await view.ask({ kind: 'effects' });
    const of = (all: readonly Burst[], field: keyof Burst): number => median(all.map((each) => each[field]));
    const middleOf = (all: readonly Burst[]): Burst => ({ firstMs: of(all, 'firstMs'), lastMs: of(all, 'lastMs') });
    return { bursts: { warm: middleOf(warm), idle: middleOf(idle) }, correct: isRight(effects!, published, 'by-key') };
  });
}

function middle(all: readonly Ran[]): Ran {
  const of = (name: 'publish' | 'relay' | 'handle'): Step => {
    const pick = (field: keyof Step): number => median(all.map((one) => one[name]![field]));
    return { perSecond: pick('perSecond'), megabytesPerSecond: pick('megabytesPerSecond'), cpuUsPerMessage: pick('cpuUsPerMessage'), cpuUsPerKilobyte: pick('cpuUsPerKilobyte'), peakMegabytes: pick('peakMegabytes') };
  };
  const server = (name: 'postgres' | 'rabbit'): number => median(all.map(({ servers }) => servers![name]));
  return { publish: of('publish'), handle: of('handle'), ...(all[0]!.relay && { relay: of('relay'), servers: { postgres: server('postgres'), rabbit: server('rabbit') } }) };
}
