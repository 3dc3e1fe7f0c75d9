import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { firstCatalogue } from '../../catalog/product.ts';
import { canDraw, picture } from './picture.ts';

describe('pictures', () => {
  const products = firstCatalogue();

  it('exist of every kind of thing that is sold', () => {
    for (const { kind } of products) assert.ok(canDraw(kind), kind);
  });

  it('are the same each time, and differ between products', () => {
    const drawn = products.map(picture);
    assert.deepEqual(products.map(picture), drawn);
    assert.equal(new Set(drawn).size, products.length);
  });

  it('are small, closed, and hold nothing that is not a number', () => {
    for (const product of products) {
      const svg = picture(product);
      assert.ok(svg.length < 12_000, `${product.productId}: ${svg.length} characters`);
      assert.doesNotMatch(svg, /NaN|undefined|Infinity/, product.productId);
      const open = svg.match(/<(g|svg|defs|clipPath|linearGradient|radialGradient)\b/g)?.length;
      assert.equal(svg.match(/<\/(g|svg|defs|clipPath|linearGradient|radialGradient)>/g)?.length, open, product.productId);
    }
  });

  it('do not fail for a kind or colour that nobody has drawn', () => {
    assert.match(picture({ productId: 'x', kind: 'constructor', colour: '"><script>' }), /^<svg /);
    assert.doesNotMatch(picture({ productId: 'x', kind: 'mug', colour: '"><script>' }), /script/);
  });
});
