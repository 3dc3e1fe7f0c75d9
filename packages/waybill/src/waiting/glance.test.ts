import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createGlance } from './glance.ts';

describe('a glance at what waits', () => {
  const standing = () => {
    const state = { nowMs: 0, reads: 0, answer: async () => new Map([['a', 300]]) };
    const clock = { monotonic: () => state.nowMs } as never;
    const nextDue = () => {
      state.reads++;
      return state.answer();
    };
    const glance = createGlance({ clock, everyMs: 1_000, waiting: { nextDue } });
    return { state, glance };
  };

  it('is one for all who come within its time, and tells each how much of that is left', async () => {
    const { state, glance } = standing();
    assert.deepEqual(await Promise.all([glance('a'), glance('b')]), [{ dueMs: 300, freshMs: 1_000 }, { dueMs: undefined, freshMs: 1_000 }]);
    state.nowMs = 400;
    assert.deepEqual(await glance('a'), { dueMs: -100, freshMs: 600 });
    assert.equal(state.reads, 1);
    state.nowMs = 1_000;
    await glance('b');
    assert.equal(state.reads, 2);
  });

  it('that fails does so for all who waited, and is made again by the next', async () => {
    const { state, glance } = standing();
    const well = state.answer;
    state.answer = () => Promise.reject(new Error('away'));
    const both = await Promise.allSettled([glance('a'), glance('b')]);
    assert.deepEqual(both.map(({ status }) => status), ['rejected', 'rejected']);
    state.answer = well;
    assert.equal((await glance('a')).dueMs, 300);
    assert.equal(state.reads, 2);
  });
});
