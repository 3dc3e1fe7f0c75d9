/**
 * `npm run torture -- --store postgres --transport rabbitmq --minutes 10 --seed S`: publishers, relays, subscribers and
 * sagas as real processes on private servers, and a nemesis with a seed; afterwards their histories and their databases
 * are judged. Exits with 1 on a violation, whose story it prints. `--disk` puts the stores on a file system of their own
 * that gets full and loses its power (needs the right to mount). History and state stay in the folder it names.
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createProgress } from './progress.ts';
import { createRandom } from './torture/random.ts';
import { stores, transports } from './torture/ground.ts';
import { torture } from './torture/run.ts';

/** Kinds of complaints that are printed. */
const troublesShownMax = 20;

const { values } = parseArgs({
  options: {
    store: { type: 'string', default: 'sqlite' },
    transport: { type: 'string', default: 'sqlite' },
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    /** Seconds that a frozen process sleeps at most. */
    freeze: { type: 'string', default: '90' },
    disk: { type: 'boolean', default: false },
  },
});
const seconds = number('minutes', 0.01, 1_440) * 60;
const folder = await mkdtemp(join(tmpdir(), 'waybill-torture-'));
const progress = createProgress(seconds, 'seconds');
const beganMs = performance.now();
const report = await torture({
  pair: { store: oneOf('store', stores), transport: oneOf('transport', transports) },
  folder,
  seconds,
  random: createRandom(number('seed', 0, 2 ** 32)),
  freezeMaxMs: number('freeze', 1, 3_600) * 1_000,
  ownDisk: values.disk,
  onProgress: (line) => progress.update(Math.min(seconds - 1, Math.round((performance.now() - beganMs) / 1000)), line),
});
progress.end();
const { violations, troubles, state: _, history: __, ...figures } = report;
for (const violation of violations) console.log(violation);
for (const [text, count] of troubles.slice(0, troublesShownMax)) console.log(`${count} × ${text}`);
console.log({ ...figures, violations: violations.length, folder });
process.exit(violations.length === 0 ? 0 : 1);

function number(name: 'minutes' | 'seed' | 'freeze', min: number, max: number): number {
  const value = Number(values[name]);
  if (value >= min && value <= max) return value;
  return usage(`--${name} must be a number from ${min} to ${max}`);
}

function oneOf<T extends string>(name: 'store' | 'transport', known: readonly T[]): T {
  return known.find((one) => one === values[name]) ?? usage(`--${name} must be one of ${known.join(', ')}`);
}

function usage(what: string): never {
  console.error(what);
  process.exit(2);
}
