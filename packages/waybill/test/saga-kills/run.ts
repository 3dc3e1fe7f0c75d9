/** `npm run saga-kills -- --seconds 300 --store postgres`: the saga kill test for longer, or on a private PostgreSQL server. Exits with 1 on a violation. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { needs } from '../../../../test/support/needs.ts';
import { startPostgres } from '../support/postgres-server.ts';
import { runSagaKills } from './kills.ts';
import { onFiles, onPostgres } from './place.ts';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, store: { type: 'string', default: 'sqlite' } } });
const seconds = Number(values.seconds);
if (!(seconds > 0 && seconds <= 86_400)) throw new Error('--seconds must be from 1 to 86400');
const dir = await mkdtemp(join(tmpdir(), 'waybill-saga-kills-'));
const server = values.store === 'postgres' ? await startPostgres({ bin: dirname(needs('postgres').path!) }) : undefined;
const report = await runSagaKills({ place: server ? await onPostgres(dir, server) : onFiles(dir), seconds });
await server?.close();
console.log({ ...report, violations: report.violations.slice(0, 20), dir });
process.exit(report.violations.length === 0 ? 0 : 1);
