import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { virtualClock } from '../testing/clock.ts';
import { createRetention } from './retention.ts';

describe('retention', () => {
  it('believes no wall clock that is set forward, and one that is set back', async () => {
    const clock = virtualClock();
    let stepMs = 0;
    const began = clock.now();
    const told: number[] = [];
    const loop = createRetention({
      clock: { ...clock, now: () => clock.now() + stepMs, monotonic: () => clock.monotonic(), after: (ms, fn) => clock.after(ms, fn) },
      trouble: (_, error) => assert.fail(String(error)),
      pieces: [async (nowMs) => (told.push(nowMs - began), 0)],
    });
    loop.start();
    await clock.advance(0);
    stepMs = 7 * 86_400_000;
    await clock.advance(60_000);
    stepMs = -3_600_000;
    await clock.advance(60_000);
    assert.deepEqual(told, [0, 60_000, 120_000 - 3_600_000]);
    await loop.stop();
  });

  it('asks each piece once a minute, and on while there is more', async () => {
    const clock = virtualClock();
    const asked: string[] = [];
    let left = 1_200;
    const loop = createRetention({
      clock,
      trouble: (_, error) => assert.fail(String(error)),
      pieces: [
        async (_nowMs, max) => {
          const removed = Math.min(left, max);
          left -= removed;
          asked.push(`a ${removed}`);
          return removed;
        },
        async () => (asked.push('b'), 0),
      ],
    });
    loop.start();
    await clock.advance(59_999);
    assert.deepEqual(asked, ['a 500', 'a 500', 'a 200', 'b']);
    await clock.advance(1);
    assert.deepEqual(asked.slice(4), ['a 0', 'b']);
    await loop.stop();
  });

  it('leaves the rest for the next minute when there is no end to it', async () => {
    const clock = virtualClock();
    let asked = 0;
    const loop = createRetention({ clock, trouble: () => {}, pieces: [async (max) => (asked++, max)] });
    loop.start();
    await clock.advance(1_000);
    assert.equal(asked, 200);
    await loop.stop();
  });

  it('tells of trouble and tries again', async () => {
    const clock = virtualClock();
    const told: string[] = [];
    let broken = true;
    let done = 0;
    const loop = createRetention({
      clock,
      trouble: (where) => told.push(where),
      pieces: [
        async () => {
          if (broken) throw new Error('no');
          done++;
          return 0;
        },
      ],
    });
    loop.start();
    await clock.advance(1_000);
    broken = false;
    await clock.advance(60_000);
    assert.ok(told.length > 0 && told.every((where) => where === 'retention'));
    assert.ok(done > 0);
    await loop.stop();
  });
});
