import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Beats } from './beats.ts';

const active = { active: true, watched: false, reached: 0, nowMs: 0 };

describe('heartbeats on their way into a queue', () => {
  it('are one at a time per queue and source: the next when that one has come out, or has run out', () => {
    const beats = new Beats(2);
    assert.equal(beats.takes(0, { source: 'a', time: 10_000 }, active), true);
    assert.equal(beats.takes(0, { source: 'a', time: 20_000 }, { ...active, reached: 9_999, nowMs: 9_999 }), false);
    assert.equal(beats.takes(1, { source: 'a', time: 20_000 }, active), true);
    assert.equal(beats.takes(0, { source: 'b', time: 20_000 }, active), true);
    assert.equal(beats.takes(0, { source: 'a', time: 30_000 }, { ...active, reached: 10_000 }), true);
    assert.equal(beats.takes(0, { source: 'a', time: 40_000 }, { ...active, reached: 10_000, nowMs: 9_999 }), false);
    assert.equal(beats.takes(0, { source: 'a', time: 50_000 }, { ...active, reached: 10_000, nowMs: 10_000 }), true);
  });

  it('are every other one of a publisher while nobody asks, though the last has come out', () => {
    for (const [watched, taken] of [[false, [true, false, true, false, true]], [true, [true, true, true, true, true]]] as const) {
      const beats = new Beats(1);
      const seconds = [1, 2, 3, 4, 5];
      assert.deepEqual(seconds.map((second) => beats.takes(0, { source: 'a', time: second * 1_000 }, { ...active, watched, reached: second * 1_000 - 500 })), taken);
    }
  });

  it('are left to the instance that reads, until it is late', () => {
    const beats = new Beats(1);
    assert.equal(beats.takes(0, { source: 'a', time: 10_000 }, { ...active, active: false, reached: 7_000 }), false);
    assert.equal(beats.takes(0, { source: 'a', time: 10_000 }, { ...active, active: false, reached: 6_999 }), true);
  });

  it('are of so many sources at most', () => {
    const beats = new Beats(1);
    for (let i = 0; i < 1_000; i++) assert.equal(beats.takes(0, { source: `s${i}`, time: 1 }, active), true);
    assert.equal(beats.takes(0, { source: 'one more', time: 1 }, active), false);
    assert.equal(beats.takes(0, { source: 's0', time: 2_000 }, { ...active, reached: 1 }), true);
  });
});
