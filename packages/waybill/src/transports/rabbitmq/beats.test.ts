import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Beats } from './beats.ts';

const active = { active: true, reached: 0, nowMs: 0 };

describe('heartbeats on their way into a queue', () => {
  it('are one at a time per queue and source: the next when that one has come out, or has run out', () => {
    const beats = new Beats(2);
    assert.equal(beats.takes(0, { source: 'a', time: 100 }, active), true);
    assert.equal(beats.takes(0, { source: 'a', time: 200 }, { ...active, reached: 99, nowMs: 9_999 }), false);
    assert.equal(beats.takes(1, { source: 'a', time: 200 }, active), true);
    assert.equal(beats.takes(0, { source: 'b', time: 200 }, active), true);
    assert.equal(beats.takes(0, { source: 'a', time: 300 }, { ...active, reached: 100 }), true);
    assert.equal(beats.takes(0, { source: 'a', time: 400 }, { ...active, reached: 100, nowMs: 9_999 }), false);
    assert.equal(beats.takes(0, { source: 'a', time: 500 }, { ...active, reached: 100, nowMs: 10_000 }), true);
  });

  it('are left to the instance that reads, until it is late', () => {
    const beats = new Beats(1);
    assert.equal(beats.takes(0, { source: 'a', time: 10_000 }, { active: false, reached: 7_000, nowMs: 0 }), false);
    assert.equal(beats.takes(0, { source: 'a', time: 10_000 }, { active: false, reached: 6_999, nowMs: 0 }), true);
  });

  it('are of so many sources at most', () => {
    const beats = new Beats(1);
    for (let i = 0; i < 1_000; i++) assert.equal(beats.takes(0, { source: `s${i}`, time: 1 }, active), true);
    assert.equal(beats.takes(0, { source: 'one more', time: 1 }, active), false);
    assert.equal(beats.takes(0, { source: 's0', time: 2 }, { ...active, reached: 1 }), true);
  });
});
