import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { changePrice, firstCatalogue, nearbyPrice, slug } from './product.ts';

const mug = { productId: 'harbour-mug', priceCents: 1200, revision: 7 };

describe('a product', () => {
  it('tells of a new price with the old one and the next revision', () => {
    assert.deepEqual(changePrice(mug, 950), { productId: 'harbour-mug', revision: 8, newPriceCents: 950, oldPriceCents: 1200 });
  });

  it('has nothing to tell when the price stays what it is (G22)', () => {
    assert.equal(changePrice(mug, 1200), undefined);
  });

  it('gets another price in a burst, and never one below half a euro', () => {
    for (const chance of [0, 0.25, 0.5, 0.75, 0.999]) {
      assert.notEqual(
        nearbyPrice(1200, () => chance),
        1200,
      );
      assert.ok(nearbyPrice(51, () => chance) >= 50);
    }
  });
});

describe('the first catalogue', () => {
  const products = firstCatalogue();

  it('has two hundred products, each with a name, an id and a place of its own', () => {
    assert.equal(products.length, 200);
    for (const field of ['productId', 'name', 'place'] as const)
      assert.equal(new Set(products.map((product) => product[field])).size, 200, field);
  });

  it('has prices in whole cents, and something in stock of everything', () => {
    for (const { name, priceCents, stock } of products)
      assert.ok(Number.isInteger(priceCents) && priceCents >= 500 && stock > 0, name);
  });

  it('makes addresses out of names', () => {
    assert.equal(slug('Crêpe pan'), 'crepe-pan');
    assert.equal(slug('Fisherman’s chair'), 'fishermans-chair');
    assert.equal(slug('Skillet No. 8'), 'skillet-no-8');
    for (const { productId } of products) assert.match(productId, /^[a-z0-9]+(-[a-z0-9]+)*$/);
  });
});
