import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '../supervisor/messages.ts';
import { openShop, statuses, until, visitorOf, type Asked, type BasketSeen, type Shop } from './open-shop.ts';

describe('the shop for programs', () => {
  let shop: Shop;
  before(async () => {
    shop = await openShop();
  });
  after(() => shop?.[Symbol.asyncDispose]());

  const basketOf = (visitor: string) => shop.json<BasketSeen>('GET', '/api/basket', { visitor });
  const add = (visitor: string, productId: string, more: Partial<Asked> & { quantity?: number } = {}) =>
    shop.json<BasketSeen & { duplicate: boolean; shown: boolean }>('POST', '/api/basket/items', {
      visitor,
      body: { productId, quantity: more.quantity ?? 1 },
      ...more,
    });
  const listener = async (visitor: string) => {
    const stop = new AbortController();
    const response = await fetch(`${shop.url}/live?topics=basket,products,nonsense`, {
      headers: { 'x-visitor': visitor },
      signal: stop.signal,
    });
    assert.match(response.headers.get('content-type')!, /^text\/event-stream/);
    let text = '';
    const read = (async () => {
      for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) text += chunk;
    })().catch(() => undefined);
    return {
      heard: () => text,
      async [Symbol.asyncDispose]() {
        stop.abort();
        await read;
      },
    };
  };
  const setPrice = (id: string, price: number, more: Asked = {}) =>
    shop.json<{ changed: boolean; revision: number; price: number; duplicate: boolean }>(
      'POST',
      `/api/admin/products/${id}/price`,
      { body: { price }, ...more },
    );

  it('is ready when every service is', async () => {
    assert.equal((await shop.ask('GET', '/health/ready')).status, 200);
    for (const name of SERVICE_NAMES) await until(`${name} answers`, async () => (await shop.service(name)).answering);
  });

  it('lists two hundred products with prices in decimals, stock, pictures and their age', async () => {
    const { products, currency } = await until('all are there', async () => {
      const seen = await shop.json<{ products: Record<string, unknown>[]; currency: string; state: string }>('GET', '/api/products');
      return seen.products.length === 200 && seen.state === 'current' && seen;
    });
    assert.equal(currency, 'EUR');
    const mug = products.find(({ productId }) => productId === 'harbour-mug')!;
    assert.deepEqual([mug['name'], mug['price'], typeof mug['stock'], mug['revision']], ['Harbour mug', 12, 'number', 1]);
    assert.ok(!Number.isNaN(Date.parse(String(mug['asOf']))));
    const picture = await shop.ask('GET', String(mug['picture']));
    assert.equal(picture.headers.get('content-type'), 'image/svg+xml');
    assert.match(await picture.text(), /^<svg /);
  });

  it('shows what was added, with the price when added', async () => {
    const { lines, total } = await visitorOf(shop, 'reader').add('lighthouse-teapot', 2);
    assert.deepEqual((await basketOf('reader')).lines, lines);
    const [{ productId, name, quantity, unitPrice, priceWhenAdded }] = lines as [BasketSeen['lines'][number]];
    assert.deepEqual(
      { productId, name, quantity, unitPrice, priceWhenAdded },
      { productId: 'lighthouse-teapot', name: 'Lighthouse teapot', quantity: 2, unitPrice: 34.5, priceWhenAdded: 34.5 },
    );
    assert.equal(total, 69);
  });

  it('keeps baskets apart by header and by cookie', async () => {
    const response = await shop.ask('GET', '/api/basket');
    const cookie = /visitor=[^;]+/.exec(response.headers.get('set-cookie') ?? '')![0];
    assert.match(response.headers.get('set-cookie')!, /HttpOnly.*SameSite=Lax|SameSite=Lax.*HttpOnly/i);
    await shop.json('POST', '/api/basket/items', { body: { productId: 'porridge-bowl', quantity: 1 }, headers: { cookie } });
    await until('it is in the basket of the cookie', async () =>
      (await shop.json<BasketSeen>('GET', '/api/basket', { headers: { cookie } })).lines.length === 1,
    );
    assert.equal((await basketOf('somebody-else')).lines.length, 0);
  });

  it('tells of a new price with the one when added, and stops when it returns (G22, G23)', async () => {
    await add('watcher', 'harbour-mug');
    assert.deepEqual(await setPrice('harbour-mug', 9.5).then(({ changed, revision, price }) => [changed, revision, price]), [
      true,
      2,
      9.5,
    ]);
    const line = async () => (await basketOf('watcher')).lines[0]!;
    await until('the basket has heard of 9.50', async () => (await line()).unitPrice === 9.5);
    assert.equal((await line()).priceWhenAdded, 12);
    assert.equal((await setPrice('harbour-mug', 12)).revision, 3);
    await until('the basket has heard of 12.00', async () => (await line()).unitPrice === 12);
    assert.equal((await line()).priceWhenAdded, 12);
  });

  it('counts no revision, and so tells nobody, when the price is that already (G22)', async () => {
    assert.deepEqual(await setPrice('fern-bowl', 14).then(({ changed, revision }) => [changed, revision]), [false, 1]);
    assert.deepEqual(await setPrice('fern-bowl', 15).then(({ changed, revision }) => [changed, revision]), [true, 2]);
  });

  it('applies requests of one number once, also when they come together (case 8)', async () => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => add('hasty', 'harbour-mug', { requestId: 'r-1' })));
    assert.equal(answers.filter(({ duplicate }) => !duplicate).length, 1);
    await add('hasty', 'harbour-mug', { requestId: 'r-2' });
    await until('both are shown', async () => (await basketOf('hasty')).lines[0]?.quantity === 2);
    const prices = await Promise.all(
      Array.from({ length: 4 }, () => setPrice('tea-jar', 10, { requestId: 'r-1', visitor: 'hasty' })),
    );
    assert.deepEqual(new Set(prices.map(({ revision }) => revision)), new Set([2]));
  });

  it('sets quantities and removes lines', async () => {
    await add('tidy', 'harbour-mug');
    await shop.json('PUT', '/api/basket/items/harbour-mug', { visitor: 'tidy', body: { quantity: 7 } });
    await until('seven are shown', async () => (await basketOf('tidy')).lines[0]?.quantity === 7);
    await shop.json('DELETE', '/api/basket/items/harbour-mug', { visitor: 'tidy' });
    await until('none is shown', async () => (await basketOf('tidy')).lines.length === 0);
  });

  it('makes bursts, and says how far everybody is', async () => {
    const before = (await shop.service('catalog')).published!;
    await shop.json('POST', '/api/admin/burst', { body: { changes: 60 } });
    await until('everybody has taken over the burst', async () => {
      const [catalog, basket, storefront] = await Promise.all([
        shop.service('catalog'),
        shop.service('basket'),
        shop.service('storefront'),
      ]);
      const applied = (service: typeof basket, name: string) =>
        service.subscriptions.find(({ subscription }) => subscription.includes(name))!.applied;
      const told = catalog.published! - 200;
      return (
        catalog.published! >= before + 60 &&
        applied(basket, 'price-changed') === told &&
        applied(storefront, 'product-view') === told + 200
      );
    });
  });

  it('orders what was seen, once for each number, and never at a price that was not shown', async () => {
    const ann = visitorOf(shop, 'orders');
    const { lines } = await ann.add('sunday-teapot', 2);
    await setPrice('sunday-teapot', 35);
    await until('the basket knows the new price', async () => (await ann.basket()).lines[0]?.unitPrice === 35);
    const seen = lines.map(({ productId, quantity, unitPrice }) => ({ productId, quantity, unitPrice }));
    const refused = await ann.checkout('orders-1', { lines: seen });
    assert.deepEqual([refused.status, ((await refused.json()) as { code: string }).code], [409, 'basket-changed']);
    const answers = [await ann.checkout('orders-2'), await ann.checkout('orders-2')];
    const orders = await Promise.all(answers.map(async (one) => (await one.json()) as { orderId: string; total: number; status: string; duplicate: boolean }));
    assert.deepEqual(orders.map(({ total, status, duplicate }) => [total, status, duplicate]), [[70, 'Received', false], [70, 'Received', true]]);
    assert.equal(orders[0]!.orderId, orders[1]!.orderId);
    const order = await ann.reaches(orders[0]!.orderId, 'Shipped');
    assert.deepEqual(statuses(order), ['Submitted', 'AwaitingValidation', 'StockConfirmed', 'Paid', 'Shipped']);
    assert.equal((await shop.ask('GET', `/api/orders/${order.orderId}`, { visitor: 'somebody-else' })).status, 404);
  });

  it('tells open pages that something changed, each only of its own basket', async () => {
    await using ann = await listener('ann');
    await using bob = await listener('bob');
    await add('ann', 'harbour-mug');
    await until('the page of ann has heard of her basket', () => ann.heard().includes('event: basket\n'));
    await setPrice('plum-orchard-mug', 20);
    await until('the page of bob has heard of a product', () => bob.heard().includes('event: products\n'));
    assert.ok(!bob.heard().includes('event: basket\n'));
    assert.ok(!ann.heard().includes('event: tick\n'), 'nor of what it did not ask for');
  });

  const item = { productId: 'harbour-mug', quantity: 1 };
  const faults: [what: string, method: string, path: string, asked: Asked, status: number, code: string][] = [
    [
      'a product that does not exist',
      'POST',
      '/api/basket/items',
      { body: { ...item, productId: 'unicorn' } },
      404,
      'unknown-product',
    ],
    [
      'a product id that is no text',
      'POST',
      '/api/basket/items',
      { body: { ...item, productId: { a: 1 } } },
      422,
      'invalid-input',
    ],
    ['no quantity', 'POST', '/api/basket/items', { body: { productId: 'harbour-mug' } }, 422, 'invalid-input'],
    ['a quantity of nothing', 'POST', '/api/basket/items', { body: { ...item, quantity: 0 } }, 422, 'invalid-input'],
    ['a negative quantity', 'POST', '/api/basket/items', { body: { ...item, quantity: -3 } }, 422, 'invalid-input'],
    ['half a piece', 'POST', '/api/basket/items', { body: { ...item, quantity: 0.5 } }, 422, 'invalid-input'],
    ['a huge quantity', 'POST', '/api/basket/items', { body: { ...item, quantity: 1e21 } }, 422, 'invalid-input'],
    ['a quantity as text', 'POST', '/api/basket/items', { body: { ...item, quantity: '1' } }, 422, 'invalid-input'],
    ['a list for an object', 'POST', '/api/basket/items', { body: [] }, 422, 'invalid-input'],
    ['nothing at all', 'POST', '/api/basket/items', { body: 'null' }, 422, 'invalid-input'],
    ['what is no JSON', 'POST', '/api/basket/items', { body: '{"productId":' }, 400, 'malformed-json'],
    ['an empty body', 'POST', '/api/basket/items', { body: '' }, 400, 'malformed-json'],
    [
      'another content type',
      'POST',
      '/api/basket/items',
      { body: 'productId=harbour-mug', headers: { 'content-type': 'text/plain' } },
      415,
      'wrong-content-type',
    ],
    [
      'a body that is too large',
      'POST',
      '/api/basket/items',
      { body: { ...item, more: 'x'.repeat(20_000) } },
      413,
      'body-too-large',
    ],
    ['a visitor with spaces', 'POST', '/api/basket/items', { body: item, visitor: 'a b' }, 400, 'invalid-header'],
    ['a request id without end', 'POST', '/api/basket/items', { body: item, requestId: 'r'.repeat(500) }, 400, 'invalid-header'],
    ['a line that is not there', 'DELETE', '/api/basket/items/unicorn', {}, 404, 'not-in-basket'],
    [
      'a price for what does not exist',
      'POST',
      '/api/admin/products/unicorn/price',
      { body: { price: 1 } },
      404,
      'unknown-product',
    ],
    ['a negative price', 'POST', '/api/admin/products/harbour-mug/price', { body: { price: -1 } }, 422, 'invalid-input'],
    ['a price of nothing', 'POST', '/api/admin/products/harbour-mug/price', { body: { price: 0 } }, 422, 'invalid-input'],
    [
      'a price with three places',
      'POST',
      '/api/admin/products/harbour-mug/price',
      { body: { price: 9.999 } },
      422,
      'invalid-input',
    ],
    ['a huge price', 'POST', '/api/admin/products/harbour-mug/price', { body: { price: 1e300 } }, 422, 'invalid-input'],
    ['a price as text', 'POST', '/api/admin/products/harbour-mug/price', { body: { price: '9.50' } }, 422, 'invalid-input'],
    ['a burst without end', 'POST', '/api/admin/burst', { body: { changes: 1e9 } }, 422, 'invalid-input'],
    ['a service that does not exist', 'POST', '/api/admin/services/shipping/stop', {}, 404, 'unknown-service'],
    ['an action that does not exist', 'POST', '/api/admin/services/basket/sing', {}, 404, 'unknown-action'],
    ['to stop the storefront', 'POST', '/api/admin/services/storefront/stop', {}, 409, 'storefront-stays'],
    [
      'an order from another site',
      'POST',
      '/api/admin/services/basket/kill',
      { headers: { origin: 'http://evil.example', 'sec-fetch-site': 'cross-site' } },
      403,
      'other-site',
    ],
    ['an order without a number of its own', 'POST', '/api/checkout', { visitor: 'nobody' }, 400, 'request-id-missing'],
    ['an order of nothing', 'POST', '/api/checkout', { visitor: 'nobody', requestId: 'r' }, 409, 'basket-empty'],
    [
      'an order with what is no card number',
      'POST',
      '/api/checkout',
      { visitor: 'nobody', requestId: 'r', body: { cardNumber: '1234' } },
      422,
      'no-card',
    ],
    [
      'an order of lines that are none',
      'POST',
      '/api/checkout',
      { visitor: 'nobody', requestId: 'r', body: { lines: [{ productId: 'harbour-mug', quantity: -1, unitPrice: 12 }] } },
      422,
      'invalid-input',
    ],
    ['an order that does not exist', 'GET', '/api/orders/unicorn', { visitor: 'nobody' }, 404, 'unknown-order'],
    ['to cancel an order that does not exist', 'POST', '/api/orders/unicorn/cancel', { visitor: 'nobody' }, 404, 'unknown-order'],
    ['a delivery of nothing', 'POST', '/api/admin/products/harbour-mug/stock', { body: { pieces: 0 } }, 422, 'invalid-input'],
    ['a gateway that sings', 'POST', '/api/admin/gateway', { body: { mode: 'sings' } }, 422, 'invalid-input'],
    ['an address that does not exist', 'GET', '/api/unicorns', {}, 404, 'not-found'],
    ['another method', 'DELETE', '/api/products', {}, 405, 'method-not-allowed'],
  ];
  for (const [what, method, path, asked, status, code] of faults) {
    it(`refuses ${what}: ${status}`, async () => {
      const response = await shop.ask(method, path, { visitor: 'clumsy', ...asked });
      const problem = (await response.json()) as Record<string, unknown>;
      assert.equal(response.status, status, JSON.stringify(problem));
      assert.match(response.headers.get('content-type')!, /^application\/problem\+json/);
      assert.deepEqual(
        [problem['status'], problem['code'], problem['type'], problem['instance']],
        [status, code, `urn:shop:problem:${code}`, path],
      );
      assert.ok(String(problem['detail']).length > 0 && String(problem['title']).length > 0);
    });
  }

  it('changed nothing for any of them', async () => {
    assert.deepEqual((await basketOf('clumsy')).lines, []);
  });

  it('sends every page with headers that let it do what it does, and nothing else', async () => {
    for (const path of ['/', '/basket', '/admin', '/behind']) {
      const response = await shop.ask('GET', path);
      assert.equal(response.status, 200, path);
      assert.match(response.headers.get('content-security-policy')!, /default-src 'none'; script-src 'self'; style-src 'self'/);
      assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
      assert.equal(response.headers.get('x-frame-options'), 'SAMEORIGIN');
      assert.doesNotMatch(await response.text(), /<script(?! type="module" src=)| on\w+="| style="|javascript:/, path);
    }
  });

  it('says on the page what was wrong with a form, and changes nothing', async () => {
    const response = await shop.ask('POST', '/basket/items', {
      visitor: 'clumsy',
      body: 'productId=harbour-mug&quantity=-1',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    assert.equal(response.status, 422);
    assert.match(
      await response.text(),
      /role="status" class="notice" data-tone="bad">[^<]*quantity|role="status" class="notice" data-tone="bad">[^<]+/,
    );
  });
});
