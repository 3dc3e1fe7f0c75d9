import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { openShop } from '../open-shop.ts';
import { storm } from './storm.ts';

describe('a storm', () => {
  it('leaves balanced books: stock, money, orders and baskets', async () => {
    await using shop = await openShop();
    const { orders, shipped, cancelled, kills } = await storm(shop, {
      seed: 7,
      shoppers: 4,
      orders: 40,
      minutes: 0.5,
      blowEveryMs: 2_000,
    });
    assert.equal(shipped + cancelled, orders);
    assert.ok(shipped > 0 && Object.keys(kills).length > 0, 'something has happened');
  });
});
