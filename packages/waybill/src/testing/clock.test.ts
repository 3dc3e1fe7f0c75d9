import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sleep } from '../contract/clock.ts';
import { createLoop } from '../contract/loop.ts';
import { virtualClock } from './clock.ts';

describe('virtual clock', () => {
  it('stands still until it is advanced', async () => {
    const clock = virtualClock({ startMs: 1_000 });
    await clock.turn();
    assert.deepEqual([clock.now(), clock.monotonic()], [1_000, 0]);
    await clock.advance(250);
    assert.deepEqual([clock.now(), clock.monotonic()], [1_250, 250]);
  });

  it('fires timers in the order they are due, each at its own time', async () => {
    const clock = virtualClock();
    const fired: [string, number][] = [];
    for (const [name, ms] of [['late', 30], ['first', 10], ['second', 10], ['now', 0]] as const) {
      clock.after(ms, () => fired.push([name, clock.monotonic()]));
    }
    await clock.advance(20);
    assert.deepEqual(fired, [['now', 0], ['first', 10], ['second', 10]]);
    await clock.advance(10);
    assert.deepEqual(fired.at(-1), ['late', 30]);
  });

  it('lets what a timer set off come to rest before the next timer fires', async () => {
    const clock = virtualClock();
    const seen: string[] = [];
    clock.after(1, () => {
      void (async () => {
        await clock.turn();
        for (let i = 0; i < 10; i++) await Promise.resolve();
        await clock.turn();
        seen.push('first is done');
      })();
    });
    clock.after(2, () => seen.push('second'));
    await clock.advance(2);
    assert.deepEqual(seen, ['first is done', 'second']);
  });

  it('fires timers that are set on the way', async () => {
    const clock = virtualClock();
    let ticks = 0;
    const tick = (): void => {
      ticks++;
      clock.after(100, tick);
    };
    clock.after(100, tick);
    await clock.advance(1_000);
    assert.equal(ticks, 10);
    assert.equal(clock.next(), 100);
  });

  it('does not fire a timer that was cancelled', async () => {
    const clock = virtualClock();
    let fired = false;
    const cancel = clock.after(5, () => (fired = true));
    cancel();
    await clock.advance(10);
    assert.equal(fired, false);
    assert.equal(clock.next(), undefined);
  });

  it('takes a timer past 2^31-1 ms', async () => {
    const clock = virtualClock();
    let fired = false;
    clock.after(2 ** 40, () => (fired = true));
    await clock.advance(2 ** 40 - 1);
    assert.equal(fired, false);
    await clock.advance(1);
    assert.equal(fired, true);
  });

  it('runs two advances one after the other', async () => {
    const clock = virtualClock();
    const at: number[] = [];
    clock.after(10, () => at.push(clock.monotonic()));
    clock.after(20, () => at.push(clock.monotonic()));
    await Promise.all([clock.advance(10), clock.advance(10)]);
    assert.deepEqual(at, [10, 20]);
    assert.equal(clock.monotonic(), 20);
  });

  it('hands the error of a timer to whoever advanced, and goes on afterwards', async () => {
    const clock = virtualClock();
    clock.after(1, () => {
      throw new Error('from a timer');
    });
    await assert.rejects(clock.advance(1), /from a timer/);
    let fired = false;
    clock.after(1, () => (fired = true));
    await clock.advance(1);
    assert.equal(fired, true);
  });

  it('refuses to go back', () => {
    assert.throws(() => virtualClock().advance(-1), RangeError);
    assert.throws(() => virtualClock().advance(Number.NaN), RangeError);
  });

  it('gives the same chance and ids for the same seed, and others for another', () => {
    const draw = (seed: number): unknown[] => {
      const clock = virtualClock({ seed });
      return [clock.random(), clock.random(), clock.id(), clock.id()];
    };
    assert.deepEqual(draw(7), draw(7));
    assert.notDeepEqual(draw(7), draw(8));
  });

  it('draws numbers in [0, 1) that spread, and ids that rise', () => {
    const clock = virtualClock({ seed: 3 });
    const drawn = Array.from({ length: 1_000 }, () => clock.random());
    assert.ok(drawn.every((x) => x >= 0 && x < 1));
    assert.ok(new Set(drawn.map((x) => Math.floor(x * 10))).size === 10);
    const ids = Array.from({ length: 1_000 }, () => clock.id());
    assert.deepEqual(ids, ids.toSorted());
    assert.equal(new Set(ids).size, ids.length);
  });

  it('drives sleeps and loops', async () => {
    const clock = virtualClock();
    const stop = new AbortController();
    let slept = false;
    void sleep(clock, 1_000, stop.signal).then(() => (slept = true));
    let turns = 0;
    const loop = createLoop({ clock, turn: async () => (++turns, 400), onError: (error) => assert.fail(String(error)) });
    loop.start();
    await clock.advance(999);
    assert.deepEqual([slept, turns], [false, 3]);
    await clock.advance(1);
    assert.equal(slept, true);
    const stopped = loop.stop();
    await clock.advance(0);
    await stopped;
  });
});
