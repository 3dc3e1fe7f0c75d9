import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Mutex } from './mutex.ts';

describe('the process’s queue', () => {
  it('serves in the order of asking, and lets nobody overtake', async () => {
    const mutex = new Mutex();
    assert.equal(mutex.tryTake(), true);
    const served: number[] = [];
    const waiting = [1, 2, 3].map((n) =>
      mutex.take(60_000).then((taken) => {
        assert.equal(taken, true);
        served.push(n);
        mutex.give();
      }),
    );
    mutex.give();
    assert.equal(mutex.tryTake(), false); // it was handed on, not freed
    await Promise.all(waiting);
    assert.deepEqual(served, [1, 2, 3]);
    assert.equal(mutex.tryTake(), true);
  });

  it('forgets who has waited too long', async () => {
    const mutex = new Mutex();
    mutex.tryTake();
    assert.equal(await mutex.take(1), false);
    mutex.give();
    assert.equal(mutex.tryTake(), true);
  });
});
