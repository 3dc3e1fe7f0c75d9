/**
 * `recovery`: how fast a subscription goes on after its process was killed in the middle of a backlog, beside one that was left
 * alone. What was in hand comes again under suspicion and runs with its start on record, and what follows in its keys lines
 * up behind it. A thousand keys and ten, in shared transactions and in one each, on the embedded default and on PostgreSQL
 * with RabbitMQ.
 *
 * A quick run has a third of the messages, of ten keys, once each way, and transactions of their own on servers only.
 *
 * From the new process's `start()`, which connects, until every message had its effect; each once, in its key's order and with
 * its bytes, or the run is void.
 */
import { atLeast, median, type Ratio, type Report, rounded } from '../report.ts';
import { type Ground, type Load, isRight, onGround, withWorkers } from './workers.ts';

const goal = 0.4;

interface Found {
  readonly undisturbedPerSecond: number;
  readonly killedPerSecond: number;
}

export async function recovery({ quick }: { quick: boolean }): Promise<Report> {
  const rounds = quick ? 1 : 3;
  const found: Record<string, Record<string, Found>> = {};
  const ratios: Ratio[] = [];
  let correct = true;
  for (const kind of ['embedded', 'servers'] as const) {
    found[kind] = {};
    const loads = Object.entries(loadsOf(kind, quick ? 3 : 1)).filter(([, { keys, transaction }]) => !quick || (keys === 10 && (kind === 'servers' || transaction === undefined)));
    await onGround(kind, async (ground) => {
      for (const [name, load] of loads) {
        const of = { undisturbed: [] as number[], killed: [] as number[] };
        for (let round = 0; round < rounds; round++) {
          for (const how of ['undisturbed', 'killed'] as const) {
            const one = await run(ground, load, how);
            correct &&= one.correct;
            of[how].push(one.perSecond);
          }
        }
        const [undisturbed, killed] = [median(of.undisturbed), median(of.killed)];
        found[kind]![name] = { undisturbedPerSecond: rounded(undisturbed), killedPerSecond: rounded(killed) };
        console.log(kind, name, JSON.stringify(of));
        ratios.push(atLeast(`${titles[kind]}, ${name}: handled per second by the process after one that was killed, beside one left alone`, killed / undisturbed, goal));
      }
    });
  }
  return { name: 'recovery', ratios, correct, found };
}

/** A backlog of some seconds, since suspects are as many whatever it is. */
function loadsOf(kind: Ground['kind'], parts: number): Readonly<Record<string, Load>> {
  const [shared, own] = (kind === 'embedded' ? [120_000, 12_000] : [24_000, 6_000]).map((count) => count / parts) as [number, number];
  return {
    '1,000 keys': { keys: 1_000, count: shared },
    '10 keys': { keys: 10, count: shared },
    '1,000 keys, a transaction each': { keys: 1_000, transaction: 'own', count: own },
    '10 keys, a transaction each': { keys: 10, transaction: 'own', count: own },
  };
}

const titles = { embedded: 'embedded', servers: 'PostgreSQL and RabbitMQ' };

function run(ground: Ground, load: Load, how: 'undisturbed' | 'killed'): Promise<{ readonly perSecond: number; readonly correct: boolean }> {
  const { count } = load;
  return withWorkers(ground, load, async (start) => {
    const [view, desk] = await Promise.all([start('subscriber'), start('publisher')]);
    await desk.ask({ kind: 'publish', count });
    await desk.ask({ kind: 'end' });
    if (ground.kind === 'servers') await (await start('relay')).ask({ kind: 'relay', count });
    await view.ask({ kind: 'handle', count: count / 6 });
    if (how === 'killed') await view.kill();
    const next = how === 'killed' ? await start('subscriber', true) : view;
    const before = how === 'killed' ? (await next.ask({ kind: 'effects' })).effects!.count : count / 6;
    const { ms } = await next.ask({ kind: 'handle', count });
    const { effects } = await next.ask({ kind: 'effects' });
    return { perSecond: ((count - before) * 1_000) / ms, correct: isRight(effects!, count, 'by-key') };
  });
}
