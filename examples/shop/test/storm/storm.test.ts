import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { openShop } from '../open-shop.ts';
import { storm } from './storm.ts';

describe('a storm', () => {
  it('leaves balanced books: stock, money, orders and baskets', async () => {
    await using shop = await openShop();
    const { orders, shipped, cancelled, kills, recount } = await storm(shop, {
      seed: 7,
      shoppers: 4,
      orders: 40,
      minutes: 0.5,
      blowEveryMs: 2_000,
    });
    assert.equal(shipped + cancelled, orders);
    assert.ok(shipped > 0 && Object.keys(kills).length > 0, 'something has happened');

    const catalog = new DatabaseSync(join(shop.folder, 'bus', 'catalog.db'), { timeout: 5_000 });
    catalog.exec("update stock set sold = sold + 1, delivered = delivered + 1 where product_id = 'harbour-mug'");
    catalog.close();
    await assert.rejects(recount(), /harbour-mug: sold is what has left/, 'one piece too many is noticed');
  });
});
