import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { hasNewPrice, type BasketLine } from '../contracts/basket.ts';
import { addItem, LINES_MAX, type KnownProduct } from './basket.ts';

const mug: KnownProduct = {
  productId: 'harbour-mug',
  name: 'Harbour mug',
  priceCents: 1200,
  revision: 1,
  asOf: '2026-01-01T10:00:00.000Z',
};
const cheaperMug: KnownProduct = { ...mug, priceCents: 950, revision: 2, asOf: '2026-01-01T10:05:00.000Z' };

function line(added: ReturnType<typeof addItem>): BasketLine {
  assert.ok(typeof added !== 'string', String(added));
  return added;
}

describe('a basket', () => {
  it('remembers the price of the moment something is added', () => {
    assert.deepEqual(line(addItem([], mug, 2)), {
      productId: 'harbour-mug',
      name: 'Harbour mug',
      quantity: 2,
      unitPriceCents: 1200,
      priceWhenAddedCents: 1200,
      priceRevision: 1,
      priceAsOf: '2026-01-01T10:00:00.000Z',
    });
  });

  it('keeps that price when more of the same is added at another one', () => {
    const more = line(addItem([line(addItem([], mug, 2))], cheaperMug, 1));
    assert.deepEqual([more.quantity, more.unitPriceCents, more.priceWhenAddedCents, more.priceRevision], [3, 950, 1200, 2]);
    assert.ok(hasNewPrice(more));
  });

  it('holds at most 99 pieces of a product', () => {
    const many = line(addItem([], mug, 98));
    assert.equal(line(addItem([many], mug, 1)).quantity, 99);
    assert.equal(addItem([many], mug, 2), 'too-many-pieces');
  });

  it('holds a bounded number of products', () => {
    const full = Array.from({ length: LINES_MAX }, (_, i) => ({ ...line(addItem([], mug, 1)), productId: `p-${i}` }));
    assert.equal(addItem(full, mug, 1), 'too-many-lines');
    assert.equal(line(addItem(full, { ...mug, productId: 'p-3' }, 1)).quantity, 2);
  });

  it('has something to say about a line while its price differs, and nothing when it has returned (G23)', () => {
    assert.ok(!hasNewPrice({ unitPriceCents: 1200, priceWhenAddedCents: 1200 }));
    assert.ok(hasNewPrice({ unitPriceCents: 950, priceWhenAddedCents: 1200 }));
  });
});
