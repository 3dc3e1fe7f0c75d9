import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Reject, RetryLater, WaybillError, type WaybillErrorCode } from '../contract/errors.ts';
import { attemptsOf, verdict } from './verdict.ts';

const retry = { immediate: 2, delayed: 8, delayMs: 1_000, delayMaxMs: 600_000 };
const after = (error: unknown, attempt: number, random = 0) => verdict(error, attempt, retry, () => random);
const error = new Error('no');

describe('the verdict on a run that threw', () => {
  it('is: at once, twice; then later, eight times, each twice as long; then failed', () => {
    const all = Array.from({ length: attemptsOf(retry) }, (_, i) => after(error, i + 1));
    assert.deepEqual(all, [
      { kind: 'again' },
      { kind: 'again' },
      ...[1, 2, 4, 8, 16, 32, 64, 128].map((seconds) => ({ kind: 'later', delayMs: seconds * 1_000 })),
      { kind: 'fail' },
    ]);
  });

  it('spreads the pauses by up to a half, never shortens them, and keeps the limit before that', () => {
    assert.deepEqual(after(error, 3, 0.999), { kind: 'later', delayMs: 1_000 * (1 + 0.999 / 2) });
    const many = { ...retry, delayed: 1_000 };
    for (const attempt of [20, 100, 1_000]) {
      const { delayMs } = verdict(error, attempt, many, () => 0) as { delayMs: number };
      assert.equal(delayMs, 600_000);
    }
  });

  it('is failed at once for what no other run can mend', () => {
    const codes: WaybillErrorCode[] = ['CONTRACT_VIOLATION', 'SCHEMA_NOT_JSON', 'INVALID_CONTRACT', 'MESSAGE_UNDECODABLE', 'MESSAGE_TOO_LARGE', 'SEQUENCE_MISSING', 'HANDLER_CRASHED'];
    for (const code of codes) assert.deepEqual(after(new WaybillError(code, 'x'), 1), { kind: 'fail' });
    assert.deepEqual(after(new Reject('no'), 1), { kind: 'fail' });
    assert.deepEqual(after(Object.assign(new Error('x'), { code: 'CONTRACT_VIOLATION' }), 1), { kind: 'again' }, "somebody else's code");
  });

  it('waits as RetryLater says, within reason, and counts it', () => {
    for (const [asked, given] of [[5_000, 5_000], [0, 0], [-5, 0], [1e20, 365 * 86_400_000], [Number.NaN, 1_000], [Infinity, 1_000], ['5' as never, 1_000]] as const) {
      assert.deepEqual(after(new RetryLater(asked), 1), { kind: 'later', delayMs: given });
    }
    assert.deepEqual(after(new RetryLater(5), 11), { kind: 'fail' });
  });

  it('without retries is failed', () => {
    assert.deepEqual(verdict(error, 1, { ...retry, immediate: 0, delayed: 0 }, () => 0), { kind: 'fail' });
    assert.equal(attemptsOf({ ...retry, immediate: 0, delayed: 0 }), 1);
  });
});
