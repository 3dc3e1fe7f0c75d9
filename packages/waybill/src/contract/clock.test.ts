import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sleep, systemClock, uuidv7 } from './clock.ts';

const wellFormed = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describe('uuidv7', () => {
  const random = (bytes: Uint8Array<ArrayBuffer>): void => void crypto.getRandomValues(bytes);

  it('makes well-formed ids that rise, also many within one millisecond', () => {
    let now = 1_893_456_000_000;
    const id = uuidv7(() => now, random);
    const ids = Array.from({ length: 20_000 }, (_, i) => {
      if (i % 7_000 === 0) now++;
      return id();
    });
    assert.ok(ids.every((one) => wellFormed.test(one)));
    assert.deepEqual(ids, ids.toSorted());
    assert.equal(new Set(ids).size, ids.length);
  });

  it('goes on from the last one when the clock steps back', () => {
    let now = 1_893_456_000_000;
    const id = uuidv7(() => now, random);
    const before = id();
    now -= 3_600_000;
    const after = id();
    assert.ok(before < after);
    now += 7_200_000;
    assert.ok(after < id());
  });

  it('holds the time of its making in the first 48 bits', () => {
    const id = uuidv7(() => 1_893_456_000_123.9, random)();
    assert.equal(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16), 1_893_456_000_123);
  });

  it('takes times from the epoch to the year 10889', () => {
    for (const now of [0, 1, 2 ** 48 - 1]) assert.match(uuidv7(() => now, random)(), wellFormed);
  });
});

describe('the system clock', () => {
  const clock = systemClock();

  it('calls once, and not when it was cancelled', async () => {
    let calls = 0;
    clock.after(1, () => calls++);
    const cancel = clock.after(1, () => assert.fail('was cancelled'));
    cancel();
    cancel();
    await new Promise<void>((resolve) => void clock.after(5, resolve));
    assert.equal(calls, 1);
  });

  it('does not fire a timer past 2^31-1 ms at once', async () => {
    let fired = false;
    const cancel = clock.after(2 ** 40, () => (fired = true));
    await new Promise<void>((resolve) => void clock.after(5, resolve));
    cancel();
    assert.equal(fired, false);
  });

  it('never goes back in monotonic time', () => {
    const first = clock.monotonic();
    assert.ok(clock.monotonic() >= first);
    assert.ok(Math.abs(clock.now() - Date.now()) < 60_000);
  });

  it('lets others have their turn', async () => {
    let other = false;
    setImmediate(() => (other = true));
    await clock.turn();
    assert.equal(other, true);
  });
});

describe('sleep', () => {
  it('ends with its signal, whether that comes before, during or after', async () => {
    const clock = systemClock();
    const abort = new AbortController();
    const long = sleep(clock, 2 ** 31, abort.signal);
    abort.abort();
    await long;
    await sleep(clock, 2 ** 31, abort.signal);
    await sleep(clock, 1, new AbortController().signal);
  });

  it('leaves no listener behind', async () => {
    const listeners: string[] = [];
    const signal = {
      aborted: false,
      addEventListener: () => listeners.push('added'),
      removeEventListener: () => listeners.push('removed'),
    } as unknown as AbortSignal;
    await sleep(systemClock(), 1, signal);
    assert.deepEqual(listeners, ['added', 'removed']);
  });
});
