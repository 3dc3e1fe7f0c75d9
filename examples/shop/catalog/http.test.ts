import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createTestBus, type TestBus } from 'waybill/testing';
import type { SqlTransaction } from 'waybill';
import { ProductPriceChanged } from '../contracts/catalog.ts';
import { catalogApp, type PriceSaved } from './http.ts';
import { createTables, insertProduct } from './products.ts';
import { firstCatalogue } from './product.ts';

describe('the catalogue', () => {
  it('saves a price and tells of it in one transaction; revisions rise by one', async () => {
    await using bus = await catalog();
    const app = catalogApp(bus);
    for (const priceCents of [950, 800, 1200]) assert.equal((await setPrice(app, { priceCents })).status, 200);
    assert.deepEqual(
      bus
        .published(ProductPriceChanged)
        .map(({ revision, oldPriceCents, newPriceCents }) => [revision, oldPriceCents, newPriceCents]),
      [
        [2, 1200, 950],
        [3, 950, 800],
        [4, 800, 1200],
      ],
    );
  });

  it('tells nobody when the price is that already (G22)', async () => {
    await using bus = await catalog();
    const answer = (await (await setPrice(catalogApp(bus), { priceCents: 1200 })).json()) as PriceSaved;
    assert.equal(answer.token, undefined);
    assert.deepEqual(bus.published(ProductPriceChanged), []);
  });

  it('applies a repeated request once, and answers it as the first time (case 8)', async () => {
    await using bus = await catalog();
    const app = catalogApp(bus);
    const answers = await Promise.all(
      [1, 2, 3].map(
        async () => (await setPrice(app, { priceCents: 950 }, 'r1')).json() as Promise<PriceSaved & { duplicate: boolean }>,
      ),
    );
    assert.equal(bus.published(ProductPriceChanged).length, 1);
    assert.equal(answers.filter(({ duplicate }) => !duplicate).length, 1);
    assert.equal(new Set(answers.map(({ token }) => token)).size, 1);
  });

  it('refuses a request id that stands for something else', async () => {
    await using bus = await catalog();
    const app = catalogApp(bus);
    await setPrice(app, { priceCents: 950 }, 'r1');
    const second = await setPrice(app, { priceCents: 800 }, 'r1');
    assert.equal(second.status, 409);
    assert.equal(((await second.json()) as { code: string }).code, 'request-id-reused');
  });

  it('knows what it does not sell', async () => {
    await using bus = await catalog();
    const response = await setPrice(catalogApp(bus), { priceCents: 950 }, undefined, 'no-such-thing');
    assert.equal(response.status, 404);
    assert.match(response.headers.get('content-type') ?? '', /^application\/problem\+json/);
  });

  it('makes a burst of changes, each told of', async () => {
    await using bus = await catalog();
    const response = await catalogApp(bus).request('/burst', {
      method: 'POST',
      body: '{"changes":25}',
      headers: { 'content-type': 'application/json' },
    });
    assert.equal(response.status, 200);
    assert.equal(bus.published(ProductPriceChanged).length, 25);
  });
});

/** Every block runs twice, the first time rolled back: whatever escapes the transaction would show. */
async function catalog(): Promise<TestBus<SqlTransaction>> {
  const bus = createTestBus({ service: 'catalog', rerun: true });
  await bus.transaction(async (tx) => {
    await createTables(tx);
    for (const product of firstCatalogue().slice(0, 10)) await insertProduct(tx, product);
  });
  return bus;
}

async function setPrice(
  app: ReturnType<typeof catalogApp>,
  body: object,
  requestId?: string,
  id = 'harbour-mug',
): Promise<Response> {
  const headers = { 'content-type': 'application/json', 'x-visitor': 'v-1', ...(requestId ? { 'x-requestid': requestId } : {}) };
  return await app.request(`/products/${id}/price`, { method: 'POST', body: JSON.stringify(body), headers });
}
