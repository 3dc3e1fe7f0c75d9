/**
 * Loaded by `--import` before the test runner and before each test file. Node compiles the same modules in hundreds of
 * processes: what is compiled is kept for all of them. And a test file that something keeps alive after its last test (a bus
 * that a failed test left open) would be waited for without end, `--test-timeout` or not: it fails instead, and tells what is open.
 */
import { join } from 'node:path';
import { ROOT } from './run.ts';

/** Milliseconds for what closes by itself: brokers that end, sockets that linger; on a machine where others work too. */
const graceMs = Number(process.env['TEST_GRACE_MS'] ?? 60_000);
const file = process.argv[1] ?? '';

process.env['NODE_COMPILE_CACHE'] ??= join(ROOT, 'node_modules/.cache/compiled');

// What a test file forks gets its arguments and variables, and is no test.
if (process.env['NODE_TEST_CONTEXT'] !== undefined && file.includes('.test.')) {
  const { after } = await import('node:test');
  after(() => {
    setTimeout(() => {
      process.stderr.write(`Still open ${graceMs} ms after the last test of ${file}: ${process.getActiveResourcesInfo().join(', ')}\n`);
      process.exit(1);
    }, graceMs).unref();
  });
}
