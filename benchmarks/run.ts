/**
 * `npm run bench`: all benchmarks, or those named; `--quick` for a first look, under a minute each. Each prints a line of
 * JSON last. Only figures of a run whose own correctness check holds count; the exit code says whether all did.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { arch, cpus, platform, release } from 'node:os';
import { embedded } from './embedded/embedded.ts';
import { inbox } from './rabbitmq/inbox.ts';
import { relayDrain, relayVsUsual } from './rabbitmq/relay-drain.ts';

export interface Report {
  readonly name: string;
  readonly ratios: readonly { readonly beside: string; readonly measured: number; readonly goal: number; readonly holds: boolean }[];
  readonly correct: boolean;
  readonly [more: string]: unknown;
}

const benchmarks: Readonly<Record<string, (how: { quick: boolean }) => Promise<Report>>> = {
  embedded,
  'relay-drain': relayDrain,
  'relay-vs-usual': relayVsUsual,
  inbox,
};

const words = process.argv.slice(2);
const quick = words.includes('--quick');
const named = words.filter((word) => !word.startsWith('--'));
for (const name of named) if (!benchmarks[name]) throw new Error(`there is no benchmark ${name}: ${Object.keys(benchmarks).join(', ')}`);

const results = new URL('results/', import.meta.url);
for (const [name, run] of Object.entries(benchmarks)) {
  if (named.length > 0 && !named.includes(name)) continue;
  const report = { ...(await run({ quick })), quick, node: process.version, machine: `${platform()} ${release()} ${arch()}, ${cpus().length} × ${cpus()[0]?.model}` };
  for (const { beside, measured, goal, holds } of report.ratios) console.log(`${holds ? 'holds ' : 'misses'}  ${beside}: ${measured} (goal ${goal})`);
  await mkdir(results, { recursive: true });
  await writeFile(new URL(`${name}.json`, results), `${JSON.stringify(report, undefined, 2)}\n`);
  console.log(JSON.stringify(report));
  if (!report.correct) process.exitCode = 1;
}
