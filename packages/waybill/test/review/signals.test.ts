/** Signals to a process. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { it } from 'node:test';

it('SIGTERM ends a process of two buses when both have drained, not when the first has', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'two-buses.ts')], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (data) => (text += String(data)));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  assert.deepEqual([text.trim(), code, signal], ['applied', null, 'SIGTERM']);
});
