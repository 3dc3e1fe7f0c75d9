/**
 * `npm run bench`: all benchmarks, or those named; `--quick` for a first look, about a minute each; `--payload 65536` and
 * `--keys 10` for other messages (`workload.ts`). Each prints a line of JSON last. Only figures of a run whose own correctness check holds count; the exit code says whether all did.
 *
 * Results are kept in `benchmarks/results`, and `docs/performance.md` and `docs/capacity.md` written from them, after a
 * full run of the usual messages, and after a quick one with `--keep`. Keep what was measured on a machine that did nothing else.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { arch, cpus, platform, release } from 'node:os';
import { azure } from './azure.ts';
import { capacity } from './capacity/capacity.ts';
import { embedded } from './embedded/embedded.ts';
import { growth, growthAtSize } from './growth/growth.ts';
import { idle } from './idle/idle.ts';
import { memory } from './memory/memory.ts';
import { writePages } from './pages.ts';
import { endToEnd } from './peers/end-to-end.ts';
import { inbox, inboxBatch } from './rabbitmq/inbox.ts';
import { relayDrain, relayVsUsual } from './rabbitmq/relay-drain.ts';
import { relayHeldSnapshot } from './rabbitmq/relay-held-snapshot.ts';
import { relayLatency, relayLog, relayOpenWriter } from './rabbitmq/relay-latency.ts';
import { walPerMessage } from './rabbitmq/wal-per-message.ts';
import { publishOverhead, steadyState } from './rabbitmq/writers.ts';
import type { Report } from './report.ts';
import { workload } from './workload.ts';
import { recovery } from './workloads/recovery.ts';
import { workloads } from './workloads/workloads.ts';
import { start } from './start/start.ts';

/** Of a kilobyte, beside the usual. */
const large = (run: (how: { quick: boolean }) => Promise<Report>, name: string) => async (how: { quick: boolean }): Promise<Report> => {
  const { bytes } = workload;
  workload.bytes = 1_000;
  try {
    return { ...(await run(how)), name };
  } finally {
    workload.bytes = bytes;
  }
};

const benchmarks: Readonly<Record<string, (how: { quick: boolean }) => Promise<Report>>> = {
  embedded,
  'relay-drain': relayDrain,
  'relay-vs-usual': relayVsUsual,
  'relay-held-snapshot': relayHeldSnapshot,
  'relay-open-writer': relayOpenWriter,
  'relay-latency': relayLatency,
  'relay-log': relayLog,
  'publish-overhead': publishOverhead,
  'steady-state': steadyState,
  'wal-per-message': walPerMessage,
  inbox,
  'inbox-batch': inboxBatch,
  'end-to-end': endToEnd,
  azure,
  'embedded-1kB': large(embedded, 'embedded-1kB'),
  'relay-drain-1kB': large(relayDrain, 'relay-drain-1kB'),
  'inbox-1kB': large(inbox, 'inbox-1kB'),
  'end-to-end-1kB': large(endToEnd, 'end-to-end-1kB'),
  workloads,
  recovery,
  growth,
  'growth-at-size': growthAtSize,
  memory,
  idle,
  capacity,
  start,
};

const words = process.argv.slice(2);
const quick = words.includes('--quick');
const keeps = (!quick || words.includes('--keep')) && !words.some((word) => word === '--payload' || word === '--keys');
const named = words.filter((word, i) => !word.startsWith('--') && !['--payload', '--keys'].includes(words[i - 1] ?? ''));
for (const name of named) if (!benchmarks[name]) throw new Error(`there is no benchmark ${name}: ${Object.keys(benchmarks).join(', ')}`);

/** Left out of a quick run of all. */
const notQuick = new Set(['end-to-end-1kB', 'growth-at-size']);
const results = new URL('results/', import.meta.url);
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
for (const [name, run] of Object.entries(benchmarks)) {
  if (named.length > 0 ? !named.includes(name) : quick && notQuick.has(name)) continue;
  const machine = `${platform()} ${release()} ${arch()}, ${cpus().length} × ${cpus()[0]?.model}`;
  const made = await run({ quick });
  const report = { ...made, payloadBytes: name.endsWith('-1kB') ? 1_000 : workload.bytes, keys: workload.keys, quick, command: `npm run bench -- ${[name, ...words.filter((word) => !named.includes(word) && word !== '--keep')].join(' ')}`, commit, at: new Date().toISOString(), node: process.version, machine };
  for (const { beside, measured, goal, holds } of report.ratios) console.log(`${holds ? 'holds ' : 'misses'}  ${beside}: ${measured} (goal ${goal})`);
  if (keeps) {
    await mkdir(results, { recursive: true });
    await writeFile(new URL(`${name}.json`, results), `${JSON.stringify(report, undefined, 2)}\n`);
  }
  console.log(JSON.stringify(report));
  if (!report.correct) process.exitCode = 1;
}
if (keeps) writePages();
