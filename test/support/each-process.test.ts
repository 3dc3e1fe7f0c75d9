import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { ROOT, run, type Outcome } from './run.ts';

describe('a test file', () => {
  it('that leaves something open after a failed test is ended, and what is open is told', async () => {
    const { code, output } = await runFile(`
      import { test } from 'node:test';
      test('fails before it closes', () => {
        setInterval(() => {}, 1_000);
        throw new Error('too early');
      });
    `);
    assert.equal(code, 1, output);
    assert.match(output, /too early/);
    assert.match(output, /Still open 500 ms after the last test of .*leaves\.test\.mjs: .*Timeout/);
  });

  it('that leaves something open although all went well fails, too', async () => {
    const { code, output } = await runFile(`import { test } from 'node:test'; test('passes', () => void setInterval(() => {}, 1_000));`);
    assert.equal(code, 1, output);
    assert.match(output, /Still open/);
  });

  it('that closes what it opened in its own after() passes, however long its tests take', async () => {
    const { code, output } = await runFile(`
      import { after, describe, it } from 'node:test';
      let open;
      after(() => clearInterval(open));
      it('opens', () => void (open = setInterval(() => {}, 1_000)));
      describe('later', () => it('takes longer than the time to close', () => new Promise((resolve) => setTimeout(resolve, 1_500))));
    `);
    assert.equal(code, 0, output);
    assert.doesNotMatch(output, /Still open/);
  });
});

/** As `npm test` runs it, with half a second to close. */
async function runFile(source: string): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'waybill-each-process-'));
  try {
    const file = join(folder, 'leaves.test.mjs');
    await writeFile(file, source);
    return await run(process.execPath, ['--import', join(ROOT, 'test/support/each-process.ts'), '--test', file], { env: { TEST_GRACE_MS: '500' } });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
