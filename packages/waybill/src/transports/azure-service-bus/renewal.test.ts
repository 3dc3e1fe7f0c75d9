import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { renewAfterMs, renewAgainMs } from './renewal.ts';

const lockMs = 30_000;
const nowMs = Date.UTC(2030, 0, 1);
const until = (ms: number): Date => new Date(nowMs + ms);

describe('a lock is renewed', () => {
  it('at half of what is left of it', () => {
    assert.equal(renewAfterMs(until(30_000), nowMs, lockMs), 15_000);
    assert.equal(renewAfterMs(until(10_000), nowMs, lockMs), 5_000); // an entity with shorter locks than ours
  });

  it('in time although our clock is behind, and not in a rush although it is ahead', () => {
    assert.equal(renewAfterMs(until(30_000 + 3_600_000), nowMs, lockMs), 15_000);
    assert.equal(renewAfterMs(until(30_000 - 3_600_000), nowMs, lockMs), 500);
    assert.equal(renewAfterMs(undefined, nowMs, lockMs), 500);
  });

  it('again, where that failed, several times before it has run out', () => {
    assert.ok(lockMs / 2 + 3 * renewAgainMs(lockMs) < lockMs);
  });
});
