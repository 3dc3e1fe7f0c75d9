import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Slowness } from './slow.ts';

describe('a handler', () => {
  let nowMs = 0;
  const fresh = (): Slowness => new Slowness({ monotonic: () => nowMs });
  /** A run that begins now and ends so much later. */
  const after = (slowness: Slowness, ms: number): string | undefined => {
    nowMs += ms;
    return slowness.took(ms);
  };

  it('is slow after three slow runs, and fast again after three hundred others', () => {
    const slowness = fresh();
    assert.deepEqual([after(slowness, 99), after(slowness, 100), after(slowness, 200), after(slowness, 100)], ['fast', undefined, undefined, 'slow']);
    for (let i = 0; i < 299; i++) assert.notEqual(after(slowness, 1), 'fast');
    after(slowness, 1);
    assert.equal(after(slowness, 1), 'fast');
  });

  it('is not slow by one pause, however many runs it hit', () => {
    const slowness = fresh();
    nowMs += 500;
    for (let i = 0; i < 16; i++) assert.equal(slowness.took(150 + i), undefined);
    after(slowness, 100);
    assert.equal(after(slowness, 100), 'slow');
  });
});
