/** What the bus promises it promises on a server too: the same tests, on the paths that are made for one (`as-server.ts`). */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { it } from 'node:test';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

async function run(how: string, files: readonly string[], pattern: string): Promise<{ code: number | null; output: string }> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env; // else the inner runner believes to be a part of this one
  const child = spawn(
    process.execPath,
    ['--import', here('support/as-server.ts'), '--test', '--test-concurrency=2', '--test-reporter=tap', `--test-name-pattern=${pattern}`, ...files.map((file) => here(`${file}.test.ts`))],
    { env: { ...env, WAYBILL_TEST_AS_SERVER: how }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  child.stdout.on('data', (part) => (output += part));
  child.stderr.on('data', (part) => (output += part));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, output };
}

for (const [how, files, pattern] of [
  ['parallel', ['batches', 'retries', 'commands', 'bad-receipt'], '.'],
  ['parallel', ['crashes'], "time 3, with 'shared'"],
  ['one at a time', ['batches'], '.'],
] as const) {
  it(`transactions ${how}, a batch without savepoints: ${files.join(', ')}`, async () => {
    const { code, output } = await run(how, files, pattern);
    const failed = output.split('\n').filter((line) => /^\s*not ok/.test(line));
    assert.equal(code, 0, failed.length > 0 ? failed.join('\n') : output.slice(-2_000));
    assert.match(output, /^# pass [1-9]\d+$/m);
  });
}
