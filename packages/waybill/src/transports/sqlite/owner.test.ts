import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { createOwner, isAlive } from './owner.ts';

const linux = existsSync('/proc/self/stat') ? false : 'needs /proc';

test('two buses of one process are two owners, both alive', () => {
  const [one, two] = [createOwner(), createOwner()];
  assert.notEqual(one, two);
  assert.deepEqual([isAlive(one), isAlive(two)], [true, true]);
});

test('an owner whose process has ended is not alive', { skip: linux }, async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  await once(child, 'spawn');
  const owner = createOwner().replace(/^\d+@\d+/, `${child.pid}@${startTick(child.pid!)}`);
  assert.equal(isAlive(owner), true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.equal(isAlive(owner), false);
});

test('a process that was killed and not yet asked for its end is not alive', { skip: linux }, async (t) => {
  // Its parent is too busy to hear of its end, so that it stays a zombie.
  const busy = `const { pid } = require('node:child_process').spawn('sleep', ['60']);
    require('node:fs').writeSync(1, String(pid));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);`;
  const parent = spawn(process.execPath, ['-e', busy]);
  t.after(() => parent.kill('SIGKILL'));
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  const owner = createOwner().replace(/^\d+@\d+/, `${pid}@${startTick(pid)}`);
  assert.equal(isAlive(owner), true);
  process.kill(pid, 'SIGKILL');
  while (!readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z')) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isAlive(owner), false);
});

test('a pid that was handed out again is another owner', { skip: linux }, () => {
  assert.equal(isAlive(createOwner().replace(/@\d+/, '@1')), false);
});

test('an owner of before the last boot is not alive', { skip: linux }, () => {
  assert.equal(isAlive(createOwner().replace(/\/[^/]+\//, '/another/')), false);
});

test("another container's owner cannot be judged, and neither can what is no owner: both count as alive", { skip: linux }, () => {
  assert.equal(isAlive(createOwner().replace(/^\d+@\d+(.*)\/\d+#/, '999999@1$1/1#')), true);
  assert.equal(isAlive('somebody'), true);
});

function startTick(pid: number): string {
  return readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')[19]!;
}
