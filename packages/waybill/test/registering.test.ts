/** What it costs to add a subscription, counted in the entries of maps that are looked at. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defineCommand } from 'waybill';
import { createTestBus } from 'waybill/testing';
import * as z from 'zod';
import { Noted } from './support/contracts.ts';

const iterator = Object.getPrototypeOf(new Map().values()) as { next(): unknown };

/** Entries of whatever map `work` walks through, that of the subscriptions too. */
function steps(work: () => unknown): number {
  const { next } = iterator;
  let count = 0;
  iterator.next = function (this: typeof iterator) {
    count++;
    return next.call(this);
  };
  try {
    work();
  } finally {
    iterator.next = next;
  }
  return count;
}

describe('a subscription', () => {
  it('is added without a look at each of the others', () => {
    const bus = createTestBus({ service: 'desk' });
    const ways = [
      (i: number) => bus.subscribe(Noted, { name: `one-${i}`, formerly: [`once-${i}`] }, () => {}),
      (i: number) => bus.subscription(`some-${i}`).on(Noted, () => {}),
      (i: number) => bus.handle(defineCommand(`desk.do-${i}`, { to: 'desk', schema: z.object({}) }), () => {}),
    ];
    const beside = (i: number): number[] => ways.map((way) => steps(() => way(i)));
    const first = beside(0);
    for (let i = 1; i < 100; i++) beside(i);
    assert.deepEqual(beside(100), first);
  });

  it('would be seen to walk through them', () => {
    assert.equal(steps(() => [...new Map([[1, 'a'], [2, 'b']]).values()]), 3);
  });
});
