/** `node packages/waybill/test/postgres/torture/run.ts [seconds]`: the torture for longer than a test may take. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { server as startServer } from '../support.ts';
import { torture } from './torture.ts';

const seconds = Number(process.argv[2] ?? 60);
const folder = mkdtempSync(join(tmpdir(), 'waybill-torture-'));
const server = await startServer();
try {
  const report = await torture({ server, folder, seconds, onProgress: (line) => process.stdout.write(`\r${line}`) });
  process.stdout.write('\n');
  console.log({ ...report, errors: [...report.errors] });
  process.exitCode = report.violations.length === 0 ? 0 : 1;
} finally {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
}
