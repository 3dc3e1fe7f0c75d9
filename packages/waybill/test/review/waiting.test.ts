/** What waits for its next run. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Noted } from '../support/contracts.ts';
import { embedded, signal } from './support.ts';

it('runs a message no more often than allowed when a batch had no time for it', async (t) => {
  const bus = embedded(t, 'desk');
  const runs = new Map<string, number>();
  const done = signal();
  let failed = 0;
  bus.on('failed', () => ++failed === 10 && done.give());
  bus.subscribe(Noted, { retry: { immediate: 0, delayed: 3, delayMs: 1, delayMaxMs: 1 } }, ({ text }) => {
    runs.set(text, (runs.get(text) ?? 0) + 1);
    for (const until = performance.now() + 12; performance.now() < until; ); // two of them are more than a batch's time
    throw new Error('no');
  });
  await bus.start();
  await bus.publishAll(Array.from({ length: 10 }, (_, i) => Noted.of({ text: String(i) })));
  await done.come;
  assert.deepEqual([...runs.values()], Array(10).fill(4));
});
