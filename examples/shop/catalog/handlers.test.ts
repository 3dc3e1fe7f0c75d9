import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { createTestBus, type TestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import type { SqlTransaction } from 'waybill';
import { OrderStockConfirmed, OrderStockRejected, ProductStockChanged, ReleaseStock } from '../contracts/catalog.ts';
import { OrderStatusChangedToAwaitingValidation, OrderStatusChangedToPaid } from '../contracts/ordering.ts';
import { subscribe } from './handlers.ts';
import { allStock, createTables, insertStock } from './warehouse.ts';

describe('what the catalogue does for an order', () => {
  it('puts pieces aside, gives them out when they are paid, and tells how many are left', async () => {
    await using world = await warehouse({ mug: 5 });
    const order = await world.order({ mug: 2 });
    assert.deepEqual(world.catalog.published(OrderStockConfirmed), [{ orderId: order }]);
    assert.deepEqual(await world.stock('mug'), [3, 2, 0]);
    await world.pay(order);
    assert.deepEqual(await world.stock('mug'), [3, 0, 2]);
    assert.deepEqual(world.catalog.published(ProductStockChanged).map(({ available }) => available), [3]);
  });

  it('never sells a piece twice: the order that comes too late is rejected, and nothing of it is put aside (case 10)', async () => {
    await using world = await warehouse({ mug: 3, tent: 9 });
    await world.order({ mug: 2 });
    const late = await world.order({ mug: 2, tent: 1 });
    assert.deepEqual(world.catalog.published(OrderStockRejected), [
      {
        orderId: late,
        items: [
          { productId: 'mug', hasStock: false },
          { productId: 'tent', hasStock: true },
        ],
      },
    ]);
    assert.deepEqual([await world.stock('mug'), await world.stock('tent')], [[1, 2, 0], [9, 0, 0]]);
  });

  it('takes pieces once, however often it is told (case 11)', async () => {
    await using world = await warehouse({ mug: 5 });
    const order = await world.order({ mug: 2 });
    const { id } = await world.pay(order);
    await world.catalog.redeliver(id);
    await world.pay(order); // the same news as another message
    assert.deepEqual(await world.stock('mug'), [3, 0, 2]);
  });

  it('rejects an order of a product that it does not know, and does not stop there (case 15)', async () => {
    await using world = await warehouse({ mug: 5 });
    await world.order({ unicorn: 1 });
    assert.equal(world.catalog.published(OrderStockRejected).length, 1);
    await world.order({ mug: 1 });
    assert.equal(world.catalog.published(OrderStockConfirmed).length, 1);
    assert.deepEqual(await world.catalog.failures(), []);
  });

  it('takes back what was put aside, and what was given out and paid back', async () => {
    await using world = await warehouse({ mug: 5 });
    const [early, late] = [await world.order({ mug: 2 }), await world.order({ mug: 1 })];
    await world.pay(late);
    await world.release(early);
    await world.release(late);
    await world.release(late);
    assert.deepEqual(await world.stock('mug'), [5, 0, 0]);
  });

  it('puts nothing aside for an order that was cancelled before it heard of it', async () => {
    await using world = await warehouse({ mug: 5 });
    const order = randomUUID();
    await world.release(order);
    await world.order({ mug: 2 }, order);
    assert.deepEqual(await world.stock('mug'), [5, 0, 0]);
    assert.deepEqual(world.catalog.published(OrderStockConfirmed), []);
  });

  it('gives nothing out for an order that was cancelled while the news of its payment was on the way (case 12)', async () => {
    await using world = await warehouse({ mug: 5 });
    const order = await world.order({ mug: 2 });
    await world.release(order);
    await world.pay(order);
    assert.deepEqual(await world.stock('mug'), [5, 0, 0]);
  });

  for (const point of ['before inbox.commit', 'inbox.commit', 'before inbox.settle', 'inbox.settle'] as const) {
    it(`moves each piece once when it dies at ${point}`, async () => {
      await using world = await warehouse({ mug: 5 });
      world.catalog.crashAfter(point);
      const order = await world.order({ mug: 2 });
      world.catalog.crashAfter(point);
      await world.pay(order);
      assert.deepEqual(await world.stock('mug'), [3, 0, 2]);
    });
  }
});

interface Warehouse extends AsyncDisposable {
  readonly catalog: TestBus<SqlTransaction>;
  order(pieces: Record<string, number>, orderId?: string): Promise<string>;
  pay(orderId: string): Promise<{ id: string }>;
  release(orderId: string): Promise<void>;
  /** On sale, put aside, sold. */
  stock(productId: string): Promise<number[]>;
}

/** The real handlers, and somebody who orders; every block runs twice, the first time rolled back. */
async function warehouse(stock: Record<string, number>): Promise<Warehouse> {
  const transport = memory();
  const catalog = createTestBus({ service: 'catalog', transport, rerun: true });
  const ordering = createTestBus({ service: 'ordering', transport });
  subscribe(catalog);
  await catalog.transaction(async (tx) => {
    await createTables(tx);
    for (const [productId, pieces] of Object.entries(stock)) await insertStock(tx, productId, pieces);
  });
  await ordering.start();
  return {
    catalog,
    async order(pieces, orderId = randomUUID()) {
      const items = Object.entries(pieces).map(([productId, quantity]) => ({ productId, quantity }));
      await ordering.publish(OrderStatusChangedToAwaitingValidation, { orderId, visitorId: 'ann', items });
      await ordering.settled();
      return orderId;
    },
    async pay(orderId) {
      const published = await ordering.publish(OrderStatusChangedToPaid, { orderId, visitorId: 'ann' });
      await ordering.settled();
      return published;
    },
    async release(orderId) {
      await ordering.send(ReleaseStock, { orderId });
      await ordering.settled();
    },
    async stock(productId) {
      const all = await catalog.transaction(allStock);
      const { available, reserved, sold } = all.find((row) => row.productId === productId)!;
      return [available, reserved, sold];
    },
    async [Symbol.asyncDispose]() {
      await ordering.stop();
      await catalog.stop();
    },
  };
}
