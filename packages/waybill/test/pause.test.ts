import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createTestBus } from 'waybill/testing';
import { Noted } from './support/contracts.ts';

describe('pause and resume', () => {
  it('a retry that was in hand when the subscription paused runs once it goes on', async () => {
    await using bus = createTestBus({ service: 'desk' });
    const ran: string[] = [];
    let unblock = (): void => {};
    const blocked = new Promise<void>((resolve) => {
      unblock = resolve;
    });
    let entered = (): void => {};
    const inside = new Promise<void>((resolve) => {
      entered = resolve;
    });
    const subscription = bus.subscribe(
      Noted,
      { transaction: 'manual', concurrency: 1, retry: { immediate: 0, delayed: 3, delayMs: 0 } },
      async (event, ctx) => {
        if (ctx.attempt === 1) throw new Error('not yet');
        if (ran.length === 0) {
          entered();
          await blocked;
        }
        ran.push(event.text);
      },
    );
    await bus.start();
    await bus.publishAll([Noted.of({ text: 'a' }), Noted.of({ text: 'b' })]);
    await inside; // both have failed once: one is inside its handler again …
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve)); // … the other in hand
    const pausing = subscription.pause();
    unblock();
    await pausing;
    await subscription.resume();
    await bus.settled();
    assert.deepEqual(ran.toSorted(), ['a', 'b']);
  });
});
