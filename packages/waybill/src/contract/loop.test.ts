import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { virtualClock } from '../testing/clock.ts';
import { createLoop } from './loop.ts';

const fail = (error: unknown): never => assert.fail(String(error));

describe('a loop', () => {
  it('goes on at once while there is work, and sleeps when there is none', async () => {
    const clock = virtualClock();
    const at: number[] = [];
    const loop = createLoop({ clock, turn: async () => (at.push(clock.monotonic()), at.length < 3 ? 0 : 1_000), onError: fail });
    loop.start();
    loop.start();
    await clock.advance(999);
    assert.deepEqual(at, [0, 0, 0]);
    await clock.advance(1);
    assert.deepEqual(at, [0, 0, 0, 1_000]);
    await loop.stop();
    await clock.advance(10_000);
    assert.equal(at.length, 4);
  });

  it('is woken from its sleep, and a hint during a turn makes another turn', async () => {
    const clock = virtualClock();
    let turns = 0;
    let gate = Promise.withResolvers<void>();
    const loop = createLoop({
      clock,
      async turn() {
        turns++;
        await gate.promise;
        return 60_000;
      },
      onError: fail,
    });
    loop.start();
    await clock.advance(0);
    loop.wake();
    loop.wake();
    gate.resolve();
    gate = Promise.withResolvers<void>();
    gate.resolve();
    await clock.advance(0);
    assert.equal(turns, 2);
    loop.wake();
    await clock.advance(0);
    assert.equal(turns, 3);
    await loop.stop();
  });

  it('pauses after trouble, longer each time, and no hint shortens that to nothing', async () => {
    const clock = virtualClock();
    const at: number[] = [];
    const errors: unknown[] = [];
    const loop = createLoop({
      clock,
      async turn() {
        at.push(clock.monotonic());
        loop.wake();
        throw new Error('trouble');
      },
      onError: (error) => errors.push(error),
    });
    loop.start();
    await clock.advance(120_000);
    assert.equal(errors.length, at.length);
    const pauses = at.slice(1).map((ms, i) => ms - at[i]!);
    assert.ok(pauses.slice(0, 8).every((ms, i) => ms >= 50 * 2 ** i && ms <= 100 * 2 ** i), String(pauses));
    assert.ok(pauses.every((ms) => ms <= 30_000));
    await loop.stop();
  });

  it('stops while it sleeps, while it works, and before it began', async () => {
    const clock = virtualClock();
    const never = createLoop({ clock, turn: () => assert.fail('was stopped'), onError: fail });
    await never.stop();
    never.start();
    await clock.advance(10);
    const working = Promise.withResolvers<number>();
    const busy = createLoop({ clock, turn: () => working.promise, onError: fail });
    busy.start();
    let stopped = false;
    const stopping = busy.stop().then(() => (stopped = true));
    await clock.advance(10);
    assert.equal(stopped, false);
    working.resolve(0);
    await stopping;
  });
});
