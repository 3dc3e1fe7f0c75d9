import assert from 'node:assert/strict';
import { it } from 'node:test';
import { hastenedClock } from './hastened-clock.ts';

const hourMs = 3_600_000;

it('moves wall and monotonic time by what passes', () => {
  const clock = hastenedClock();
  const [wall, monotonic] = [clock.now(), clock.monotonic()];
  clock.pass(hourMs);
  assert.ok(clock.now() >= wall + hourMs);
  assert.ok(clock.monotonic() >= monotonic + hourMs);
});

it('fires timers that have come due by that, in order, and no others', () => {
  const clock = hastenedClock();
  const fired: string[] = [];
  clock.after(2 * hourMs, () => fired.push('second'));
  clock.after(hourMs, () => fired.push('first'));
  const cancel = clock.after(3 * hourMs, () => fired.push('third'));
  clock.after(hourMs, () => fired.push('cancelled'))();
  clock.pass(2 * hourMs);
  assert.deepEqual(fired, ['first', 'second']);
  clock.pass(hourMs);
  assert.deepEqual(fired, ['first', 'second', 'third']);
  cancel(); // harmless after it fired
});

it('lets a timer that was brought forward fire by itself', async () => {
  const clock = hastenedClock();
  const fired = new Promise<void>((resolve) => clock.after(hourMs + 1, resolve));
  clock.pass(hourMs);
  await fired;
});

it('does not fire what a firing timer cancels', () => {
  const clock = hastenedClock();
  const fired: string[] = [];
  let cancel = (): void => {};
  clock.after(1_000, () => {
    fired.push('first');
    cancel();
  });
  cancel = clock.after(2_000, () => fired.push('second'));
  clock.pass(hourMs);
  assert.deepEqual(fired, ['first']);
});
