import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkStock, move, piecesByProduct, type Stock } from './stock.ts';

describe('stock', () => {
  it('moves pieces and never makes or loses one', () => {
    const sum = ({ available, reserved, sold }: Stock): number => available + reserved + sold;
    let stock: Stock = { available: 10, reserved: 0, sold: 0 };
    for (const step of ['reserve', 'give-back', 'reserve', 'take', 'take-back'] as const) {
      stock = move(stock, 3, step);
      assert.equal(sum(stock), 10, step);
    }
    assert.deepEqual(stock, { available: 10, reserved: 0, sold: 0 });
  });

  it('says of each product whether there is enough; one that nobody knows has none (case 15)', () => {
    const stock = new Map([['mug', { available: 2, reserved: 0, sold: 0 }]]);
    const wanted = [
      { productId: 'mug', quantity: 2 },
      { productId: 'unicorn', quantity: 1 },
    ];
    assert.deepEqual(checkStock(wanted, stock), [
      { productId: 'mug', hasStock: true },
      { productId: 'unicorn', hasStock: false },
    ]);
  });

  it('counts a product that stands twice in an order together, and goes through products in one order', () => {
    const items = [
      { productId: 'b', quantity: 1 },
      { productId: 'a', quantity: 2 },
      { productId: 'b', quantity: 3 },
    ];
    assert.deepEqual(piecesByProduct(items), [
      { productId: 'a', quantity: 2 },
      { productId: 'b', quantity: 4 },
    ]);
  });
});
