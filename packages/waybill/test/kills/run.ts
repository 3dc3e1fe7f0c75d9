/** `npm run kills -- --seconds 300`: the kill test for longer. Exits with 1 on a violation. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runKills } from './kills.ts';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, dir: { type: 'string' } } });
const seconds = Number(values.seconds);
if (!(seconds > 0 && seconds <= 86_400)) throw new Error('--seconds must be from 1 to 86400');
const dir = values.dir ?? (await mkdtemp(join(tmpdir(), 'waybill-kills-')));
const beganMs = Date.now();
const bar = (line: string): void => {
  if (!process.stderr.isTTY) return;
  const part = Math.min(1, (Date.now() - beganMs) / (seconds * 1000));
  process.stderr.write(`\r[${'#'.repeat(Math.round(part * 30)).padEnd(30)}] ${line}   `);
};
const report = await runKills({ dir, seconds, onProgress: bar });
process.stderr.write('\n');
console.log({ ...report, errors: [...report.errors].slice(0, 20), dir });
process.exit(report.violations.length === 0 ? 0 : 1);
