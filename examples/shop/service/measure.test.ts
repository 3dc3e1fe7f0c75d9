import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createTestBus } from 'waybill/testing';
import { ProductPriceChanged } from '../contracts/catalog.ts';
import { measure, percentile } from './measure.ts';

describe('what a service says of itself', () => {
  it('counts what was applied and what was dropped, with the times it took', async () => {
    await using bus = createTestBus({ service: 'catalog' });
    bus.subscribe(ProductPriceChanged, { order: 'latest' }, () => undefined);
    const { report, forgetTimes } = measure(bus);
    const change = (revision: number) => ({ productId: 'p', revision, newPriceCents: 2, oldPriceCents: 1 });
    const { id } = await bus.publish(ProductPriceChanged, change(2));
    await bus.publish(ProductPriceChanged, change(1));
    await bus.settled();
    await bus.redeliver(id);

    const { service, published, subscriptions } = await report();
    assert.deepEqual([service, published, subscriptions.length], ['catalog', 2, 1]);
    const { applied, stale, duplicates, state, p95Ms, worstMs } = subscriptions[0]!;
    assert.deepEqual({ applied, stale, duplicates, state }, { applied: 1, stale: 1, duplicates: 1, state: 'current' });
    assert.ok(p95Ms !== undefined && worstMs !== undefined && p95Ms <= worstMs);

    forgetTimes();
    const later = (await report()).subscriptions[0]!;
    assert.deepEqual([later.applied, later.p95Ms, later.worstMs], [1, undefined, undefined]);
  });

  it('takes the smallest time that 95 of 100 keep within', () => {
    assert.equal(
      percentile(
        Array.from({ length: 100 }, (_, i) => 100 - i),
        0.95,
      ),
      95,
    );
    assert.equal(percentile([7], 0.95), 7);
    assert.equal(percentile([], 0.95), undefined);
  });
});
