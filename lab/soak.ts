/**
 * `npm run soak -- --minutes 6 --seed S`: publishers in five client libraries, two relay processes and three consumers on a
 * private PostgreSQL and RabbitMQ, all of them killed, frozen and cut off for so long; then ledger, queues and business tables are
 * compared. Exits with 1 when they do not agree. `--libraries pg,Prisma,…` names the publishers.
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createProgress } from './progress.ts';
import { type LibraryName, libraryNames } from './soak/libraries/index.ts';
import { soak } from './soak/run.ts';
import { createRandom } from './torture/random.ts';

const shownMax = 20;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '6' },
    seed: { type: 'string', default: '1' },
    libraries: { type: 'string', default: 'pg,Kysely,Drizzle,Prisma,TypeORM' },
    /** Seconds that a frozen process sleeps, and that a killed server is away, at most. */
    freeze: { type: 'string', default: '60' },
    outage: { type: 'string', default: '15' },
  },
});
const seconds = number('minutes', 0.01, 1_440) * 60;
const libraries = values.libraries.split(',').map((name): LibraryName => libraryNames.find((one) => one === name) ?? usage(`--libraries takes ${libraryNames.join(', ')}`));
const folder = await mkdtemp(join(tmpdir(), 'waybill-soak-'));
const progress = createProgress(seconds, 'seconds');
const beganMs = performance.now();
const { violations, troubles, books: _, history: __, ...figures } = await soak({
  folder,
  seconds,
  libraries,
  random: createRandom(number('seed', 0, 2 ** 32)),
  freezeMaxMs: number('freeze', 1, 3_600) * 1_000,
  outageMaxMs: number('outage', 0, 3_600) * 1_000,
  onProgress: (line) => progress.update(Math.min(seconds - 1, Math.round((performance.now() - beganMs) / 1000)), line),
});
progress.end();
for (const violation of violations.slice(0, shownMax)) console.log(violation);
for (const [text, count] of troubles.slice(0, shownMax)) console.log(`${count} × ${text}`);
console.log({ ...figures, violations: violations.length, folder });
process.exit(violations.length === 0 ? 0 : 1);

function number(name: 'minutes' | 'seed' | 'freeze' | 'outage', min: number, max: number): number {
  const value = Number(values[name]);
  return value >= min && value <= max ? value : usage(`--${name} must be a number from ${min} to ${max}`);
}

function usage(what: string): never {
  console.error(what);
  process.exit(2);
}
