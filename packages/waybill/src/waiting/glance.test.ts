import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createGlance } from './glance.ts';

describe('a glance at what waits', () => {
  const standing = () => {
    const timers = new Map<() => void, number>();
    const state = { nowMs: 0, reads: 0, woken: [] as string[], answer: async () => new Map<string, number>() };
    const clock = {
      monotonic: () => state.nowMs,
      after(ms: number, fn: () => void) {
        timers.set(fn, ms);
        return () => timers.delete(fn);
      },
    } as never;
    const nextDue = () => {
      state.reads++;
      return state.answer();
    };
    const glance = createGlance({ clock, everyMs: 1_000, waiting: { nextDue } });
    const watch = (name: string) => glance(name, () => state.woken.push(name));
    /** The one timer runs out; answers how long the next one is. */
    const runOut = async (): Promise<number | undefined> => {
      const [[fire, ms]] = [...timers] as [[() => void, number]];
      timers.delete(fire);
      state.nowMs += ms;
      fire();
      await new Promise(setImmediate);
      return [...timers.values()][0];
    };
    return { state, watch, runOut, timers };
  };

  it('is one read and one timer for all, and wakes those that have something due', async () => {
    const { state, watch, runOut, timers } = standing();
    for (const name of ['a', 'b', 'c']) watch(name);
    assert.deepEqual([...timers.values()], [1_000]);
    state.answer = async () => new Map([['a', -5], ['c', 0], ['of another process', -1]]);
    assert.equal(await runOut(), 1_000);
    assert.deepEqual([state.reads, state.woken, timers.size], [1, ['a', 'c'], 1]);
  });

  it('wakes each when its next row is due, without another read, and not for what nobody here works on', async () => {
    const { state, watch, runOut } = standing();
    watch('a');
    watch('b');
    state.answer = async () => new Map([['a', 300], ['b', 5_000], ['of another process', 10]]);
    assert.equal(await runOut(), 300);
    assert.deepEqual(state.woken, []);
    assert.equal(await runOut(), 700);
    assert.deepEqual([state.woken, state.reads], [['a'], 1]);
    await runOut();
    assert.deepEqual([state.woken, state.reads], [['a'], 2]);
  });

  it('that fails wakes all, and is made again', async () => {
    const { state, watch, runOut } = standing();
    watch('a');
    watch('b');
    state.answer = () => Promise.reject(new Error('away'));
    assert.equal(await runOut(), 1_000);
    assert.deepEqual(state.woken, ['a', 'b']);
  });

  it('ends with the last who watches', async () => {
    const { watch, timers } = standing();
    const ends = [watch('a'), watch('b')];
    ends[0]!();
    assert.equal(timers.size, 1);
    ends[1]!();
    assert.equal(timers.size, 0);
  });

  it('of a name that is watched anew goes to the new one, whatever the old one ends', async () => {
    const { state, watch, runOut } = standing();
    const end = watch('a');
    watch('a');
    end();
    state.answer = async () => new Map([['a', 0]]);
    await runOut();
    assert.deepEqual(state.woken, ['a']);
  });
});
