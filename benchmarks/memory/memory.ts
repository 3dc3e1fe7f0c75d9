/**
 * The broker is gone for ten minutes, and a service goes on committing messages at a steady pace, 600,000 in all: what its
 * process (publisher and relay) grows by meanwhile, and how soon everything is out once the broker is back. Nothing may be
 * lost, and the order of each key holds; the queue is read to the end and compared. (Rows that wait or have failed are
 * part of `growth`.)
 *
 * V8 doubles its young generation, up to 134 MB, whenever more than it is used to was alive at a collection: on a busy
 * machine it does so sooner or later, with a broker and without. So it is bound in the process that is measured, and told
 * apart what is held: the heap without the young generation, and what lies beside the heap; and what of it is alive after a
 * full collection. V8 lets garbage of the old generation gather to twice that and more before it looks.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { atMost, rounded, type Report } from '../report.ts';
import { environment } from '../workload.ts';
import { drainQueue } from '../rabbitmq/contract.ts';
import { startServers } from '../rabbitmq/servers.ts';
import { bindSink, sinkQueue } from '../rabbitmq/sink.ts';
import type { Told } from './process.ts';

const perSecond = 1_000;
const youngMegabytes = 8;
const sampleMs = 250;

export async function memory({ quick }: { quick: boolean }): Promise<Report> {
  const [warmMs, awayMs] = quick ? [8_000, 12_000] : [60_000, 600_000];
  const drainMs = quick ? 60_000 : 600_000;
  const servers = await startServers();
  const rss: { at: 'before' | 'away' | 'after'; megabytes: number; held: number; alive: number }[] = [];
  let at: (typeof rss)[number]['at'] = 'before';
  try {
    await bindSink(servers);
    const child = fork(fileURLToPath(new URL('process.ts', import.meta.url)), [servers.postgres, servers.amqp, String(perSecond)], { env: environment(), execArgv: [`--max-semi-space-size=${youngMegabytes}`] });
    let told: Told = { published: 0, sent: 0, heldBytes: 0, aliveBytes: 0 };
    child.on('message', (now: Told) => (told = now));
    await once(child, 'message');
    const sampling = setInterval(() => rss.push({ at, megabytes: residentMegabytes(child.pid!), held: told.heldBytes / 1e6, alive: told.aliveBytes / 1e6 }), sampleMs);
    await sleep(warmMs);
    await servers.rabbit('kill');
    at = 'away';
    const before = told.published;
    await sleep(awayMs);
    const committed = told.published - before;
    child.send('enough');
    await servers.rabbit('start');
    at = 'after';
    const began = performance.now();
    while ((told.sent < told.published || told.published === 0) && performance.now() - began < drainMs) await sleep(50);
    const tookMs = performance.now() - began;
    clearInterval(sampling);
    const { published } = told;
    child.send('end');
    await once(child, 'exit');
    const { distinct, inverted, copies } = await drainQueue(servers, sinkQueue, published);
    type When = (typeof rss)[number]['at'];
    const most = (when: When[], of: 'megabytes' | 'held' | 'alive' = 'megabytes'): number => Math.max(...rss.filter((one) => when.includes(one.at)).map((one) => one[of]));
    return {
      name: 'memory',
      ratios: [
        atMost('MB more while the broker is away, and while what waited is sent, than before', most(['away', 'after']) - most(['before']), 20),
        atMost('seconds until all of it is out', tookMs / 1_000, 300),
      ],
      correct: distinct === published && inverted === 0,
      committedMeanwhile: committed,
      awaySeconds: awayMs / 1_000,
      perSecond,
      megabytes: { before: rounded(most(['before'])), away: rounded(most(['away'])), after: rounded(most(['after'])) },
      heldMegabytes: { before: rounded(most(['before'], 'held')), away: rounded(most(['away'], 'held')), after: rounded(most(['after'], 'held')) },
      aliveMegabytes: { before: rounded(most(['before'], 'alive')), away: rounded(most(['away'], 'alive')), after: rounded(most(['after'], 'alive')) },
      youngGeneration: `--max-semi-space-size=${youngMegabytes}`,
      copies,
      published,
    };
  } finally {
    await servers.close();
  }
}

/** proc(5): the second field of statm, in pages of 4 kB. */
function residentMegabytes(pid: number): number {
  try {
    return (Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4_096) / 1e6;
  } catch {
    return 0; // it has ended
  }
}
