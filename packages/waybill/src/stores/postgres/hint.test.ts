import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { virtualClock } from '../../testing/clock.ts';
import { createHinting } from './hint.ts';
import type { Access } from './port.ts';

function hinting(answer: () => Promise<[]> = () => Promise.resolve([])) {
  const clock = virtualClock();
  const sent: string[] = [];
  const query = (text: string): Promise<[]> => {
    sent.push(text);
    return answer();
  };
  return { clock, sent, hint: createHinting({ sql: { query }, clock, schemaName: 'waybill' } as unknown as Access) };
}

describe('hints to the relay of another process', () => {
  it('are one statement at once, and one for all that come within 20 ms', async () => {
    const { clock, sent, hint } = hinting();
    for (let i = 0; i < 100; i++) hint();
    assert.equal(sent.length, 1);
    await clock.advance(19);
    assert.equal(sent.length, 1);
    await clock.advance(1);
    assert.equal(sent.length, 2, 'what came meanwhile is told once');
    await clock.advance(1_000);
    assert.equal(sent.length, 2, 'nothing came');
    hint();
    assert.equal(sent.length, 3);
  });

  it('go on after one that failed', async () => {
    const { clock, sent, hint } = hinting(() => Promise.reject(new Error('away')));
    hint();
    hint();
    await clock.advance(20);
    assert.equal(sent.length, 2);
  });
});
