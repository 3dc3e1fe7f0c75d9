import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createTestBus, virtualClock, type TestBus } from 'waybill/testing';
import type { SqlTransaction } from 'waybill';
import { BasketChanged, type BasketLine } from '../contracts/basket.ts';
import { ProductAdded, ProductPriceChanged } from '../contracts/catalog.ts';
import { firstCatalogue } from '../catalog/product.ts';
import { subscribe } from './handlers.ts';
import { basketApp } from './http.ts';
import { createTables, linesOf, REPRICE_LINES } from './tables.ts';

const [mug, teapot] = firstCatalogue().filter(({ productId }) => ['harbour-mug', 'lighthouse-teapot'].includes(productId));

describe('what the basket does when prices change', () => {
  it('gives the line its new price and keeps the one of the moment it was added, through any number of changes', async () => {
    await using world = await basketWorld();
    await world.add('ann', 'harbour-mug');
    for (const [i, cents] of [950, 800, 2000].entries()) await world.price(i + 2, cents);
    assert.deepEqual(prices(await world.lines('ann')), [['harbour-mug', 2000, 1200]]);
  });

  it('tells of every basket that changed, whole, and of no other', async () => {
    await using world = await basketWorld();
    await world.add('ann', 'harbour-mug');
    await world.add('ann', 'lighthouse-teapot');
    await world.add('bob', 'lighthouse-teapot');
    const before = world.basket.published(BasketChanged).length;
    await world.price(2, 950);
    const told = world.basket.published(BasketChanged).slice(before);
    assert.deepEqual(
      told.map(({ visitorId, revision, lines }) => [visitorId, revision, prices(lines)]),
      [
        [
          'ann',
          3,
          [
            ['harbour-mug', 950, 1200],
            ['lighthouse-teapot', 3450, 3450],
          ],
        ],
      ],
    );
  });

  it('drops the alert when the price returns (G23)', async () => {
    await using world = await basketWorld();
    await world.add('ann', 'harbour-mug');
    await world.price(2, 950);
    await world.price(3, 1200);
    assert.deepEqual(prices(await world.lines('ann')), [['harbour-mug', 1200, 1200]]);
  });

  it('ignores an event that comes after a newer one (case 14, G27)', async () => {
    await using world = await basketWorld();
    await world.add('ann', 'harbour-mug');
    await world.price(3, 800);
    await world.price(2, 950);
    assert.deepEqual(prices(await world.lines('ann')), [['harbour-mug', 800, 1200]]);
    assert.equal(world.basket.history().filter(({ signal }) => signal === 'stale').length, 1);
  });

  it('is not frozen by an event that was lost: the next one sets the price (case 14)', async () => {
    await using world = await basketWorld();
    await world.add('ann', 'harbour-mug');
    await world.price(4, 700);
    assert.deepEqual(prices(await world.lines('ann')), [['harbour-mug', 700, 1200]]);
  });

  it('does nothing when the same event is delivered again (G28)', async () => {
    await using world = await basketWorld();
    await world.add('ann', 'harbour-mug');
    const { id } = await world.price(2, 950);
    const before = world.basket.published(BasketChanged).length;
    await world.basket.redeliver(id);
    assert.equal(world.basket.published(BasketChanged).length, before);
  });

  it('adds at the newest price it knows, whichever of product and price it heard of first', async () => {
    await using world = await basketWorld([]);
    await world.price(2, 950);
    assert.equal((await world.tryAdd('ann', 'harbour-mug')).status, 404, 'a price without a product is nothing to sell');
    await world.catalog.publish(ProductAdded, mug!);
    await world.catalog.settled();
    await world.add('ann', 'harbour-mug');
    assert.deepEqual(prices(await world.lines('ann')), [['harbour-mug', 950, 950]]);
  });

  it('finds the lines of a product by its index, not by looking through all baskets', async () => {
    await using world = await basketWorld();
    const plan = async (): Promise<string> => {
      const { rows } = await world.basket.transaction((tx) =>
        tx.query<{ detail: string }>(`explain query plan ${REPRICE_LINES}`, [950, 2, 'now', 'harbour-mug']),
      );
      return rows.map(({ detail }) => detail).join('; ');
    };
    assert.match(await plan(), /SEARCH basket_line USING INDEX basket_line_by_product \(product_id=\?\)/);
    await world.basket.transaction((tx) => tx.query('drop index basket_line_by_product'));
    assert.match(await plan(), /SCAN basket_line/, 'and the plan would say so if it did not');
  });
});

describe('what the basket does when it is asked', () => {
  it('applies a repeated request once, also when the repetitions come at the same time (case 8, G32)', async () => {
    await using world = await basketWorld();
    const answers = await Promise.all([1, 2, 3].map(() => world.tryAdd('ann', 'harbour-mug', { requestId: 'r1' })));
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200],
    );
    assert.deepEqual(
      (await world.lines('ann')).map(({ quantity }) => quantity),
      [1],
    );
  });

  it('keeps apart two visitors who use the same request id', async () => {
    await using world = await basketWorld();
    for (const visitor of ['ann', 'bob']) await world.add(visitor, 'harbour-mug', { requestId: 'r1' });
    for (const visitor of ['ann', 'bob']) assert.equal((await world.lines(visitor)).length, 1);
  });

  it('sets quantities and removes lines', async () => {
    await using world = await basketWorld();
    await world.add('ann', 'harbour-mug');
    assert.equal((await world.ask('PUT', '/baskets/ann/items/harbour-mug', { quantity: 5 })).status, 200);
    assert.equal((await world.lines('ann'))[0]?.quantity, 5);
    assert.equal((await world.ask('DELETE', '/baskets/ann/items/harbour-mug')).status, 200);
    assert.deepEqual(await world.lines('ann'), []);
    assert.equal((await world.ask('DELETE', '/baskets/ann/items/harbour-mug')).status, 404);
  });

  for (const [what, quantity] of [
    ['none', 0],
    ['fewer than none', -1],
    ['half a piece', 0.5],
    ['too many', 100],
    ['a word', 'two'],
  ] as const) {
    it(`refuses to add ${what}`, async () => {
      await using world = await basketWorld();
      const response = await world.ask('POST', '/baskets/ann/items', { productId: 'harbour-mug', quantity });
      assert.equal(response.status, 422);
      assert.deepEqual(await world.lines('ann'), []);
    });
  }
});

interface BasketWorld extends AsyncDisposable {
  readonly catalog: TestBus<SqlTransaction>;
  readonly basket: TestBus<SqlTransaction>;
  /** The catalogue sets the price of the mug, and everybody hears of it. */
  price(revision: number, newPriceCents: number): Promise<{ id: string }>;
  ask(method: string, path: string, body?: object, requestId?: string): Promise<Response>;
  tryAdd(visitor: string, productId: string, options?: { requestId?: string }): Promise<Response>;
  add(visitor: string, productId: string, options?: { requestId?: string }): Promise<void>;
  lines(visitor: string): Promise<BasketLine[]>;
}

/** The real handlers on a bus whose every block runs twice, the first time rolled back. */
async function basketWorld(known = [mug!, teapot!]): Promise<BasketWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'shop-basket-'));
  const clock = virtualClock();
  const bus = (service: string, rerun: boolean) =>
    createTestBus({
      service,
      store: `sqlite:${folder}/${service}.db`,
      transport: `sqlite:${folder}`,
      clock,
      rerun,
      autoStart: false,
    });
  const catalog = bus('catalog', false);
  const basket = bus('basket', true);
  subscribe(basket);
  const app = basketApp(basket);
  await basket.transaction(createTables);
  await catalog.start();
  await basket.start();
  for (const product of known) await catalog.publish(ProductAdded, product);
  await catalog.settled();

  const ask: BasketWorld['ask'] = async (method, path, body, requestId) =>
    await app.request(path, {
      method,
      headers: { 'content-type': 'application/json', ...(requestId ? { 'x-requestid': requestId } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
  const tryAdd: BasketWorld['tryAdd'] = (visitor, productId, { requestId } = {}) =>
    ask('POST', `/baskets/${visitor}/items`, { productId, quantity: 1 }, requestId);
  return {
    catalog,
    basket,
    ask,
    tryAdd,
    async price(revision, newPriceCents) {
      const published = await catalog.publish(ProductPriceChanged, {
        productId: 'harbour-mug',
        revision,
        newPriceCents,
        oldPriceCents: 1,
      });
      await catalog.settled();
      return published;
    },
    async add(...what) {
      const response = await tryAdd(...what);
      assert.equal(response.status, 200, await response.text());
    },
    lines: (visitor) => basket.transaction((tx) => linesOf(tx, visitor)),
    async [Symbol.asyncDispose]() {
      await basket.stop();
      await catalog.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

function prices(lines: readonly BasketLine[]): [string, number, number][] {
  return lines.map(({ productId, unitPriceCents, priceWhenAddedCents }) => [productId, unitPriceCents, priceWhenAddedCents]);
}
