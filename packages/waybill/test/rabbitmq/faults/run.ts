/** The long version: `npm run faults -- --seconds 300`. Ends with 1 when something was violated. */
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { needs } from '../../../../../test/support/needs.ts';
import { faultProxy } from '../../support/fault-proxy.ts';
import { startPostgres } from '../../support/postgres-server.ts';
import { rabbitServer } from '../../support/rabbitmq-server.ts';
import { prepare, runFaults } from './faults.ts';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } });
const seconds = Number(values.seconds);
const rabbit = await rabbitServer();
const postgres = await startPostgres({ bin: dirname(needs('postgres').path!) });
const proxy = await faultProxy(rabbit.port);
try {
  const ground = { rabbit, proxy, postgres, databases: { count: await postgres.createDatabase(), sum: await postgres.createDatabase() } };
  await prepare(ground);
  const report = await runFaults(ground, { seconds, brokerKills: Math.ceil(seconds / 20) });
  console.log(JSON.stringify({ ...report, errors: Object.fromEntries(report.errors) }, null, 2));
  process.exitCode = report.violations.length > 0 ? 1 : 0;
} finally {
  await proxy.close();
  await Promise.all([rabbit.close(), postgres.close()]);
}
