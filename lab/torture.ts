/**
 * `npm run torture -- --store sqlite --transport sqlite --minutes N --seed S`: publishers and subscribers as real processes;
 * kill -9, SIGTERM and SIGSTOP by a nemesis with a seed; then the ledgers, inboxes and effects are compared. Exits with 1 on
 * a violation. PostgreSQL alone has `npm run torture:postgres`; other pairs are refused until they have a place here.
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runKills } from '../packages/waybill/test/kills/kills.ts';
import { createProgress } from './progress.ts';

const { values } = parseArgs({
  options: {
    store: { type: 'string', default: 'sqlite' },
    transport: { type: 'string', default: 'sqlite' },
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    stop: { type: 'string', default: '15000' },
  },
});
if (values.store !== 'sqlite' || values.transport !== 'sqlite') {
  console.error(`${values.store} with ${values.transport} is not tortured here yet; sqlite with sqlite is (and npm run torture:postgres)`);
  process.exit(2);
}
const seconds = Number(values.minutes) * 60;
if (!(seconds > 0 && seconds <= 86_400)) {
  console.error('--minutes must be above 0, and a day at most');
  process.exit(2);
}
/** Seeded choices of the nemesis; what the processes do meanwhile is theirs, so a seed does not repeat a run exactly. */
let state = Number(values.seed) | 0;
const random = (): number => {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};
const dir = await mkdtemp(join(tmpdir(), 'waybill-torture-'));
const progress = createProgress(seconds, 'seconds');
const beganMs = performance.now();
const report = await runKills({ dir, seconds, random, stopMaxMs: Number(values.stop), onProgress: (line) => progress.update(Math.round((performance.now() - beganMs) / 1000), line) });
progress.end();
console.log({ ...report, errors: [...report.errors].slice(0, 20), dir });
process.exit(report.violations.length === 0 ? 0 : 1);
