/** `npm run saga-kills -- --seconds 300`: the saga kill test for longer. Exits with 1 on a violation. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runSagaKills } from './kills.ts';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } });
const seconds = Number(values.seconds);
if (!(seconds > 0 && seconds <= 86_400)) throw new Error('--seconds must be from 1 to 86400');
const dir = await mkdtemp(join(tmpdir(), 'waybill-saga-kills-'));
const report = await runSagaKills({ dir, seconds });
console.log({ ...report, violations: report.violations.slice(0, 20), dir });
process.exit(report.violations.length === 0 ? 0 : 1);
