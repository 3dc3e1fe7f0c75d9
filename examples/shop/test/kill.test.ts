import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '../supervisor/messages.ts';
import { join } from 'node:path';
import { forgetPositions, openShop, until, type BasketSeen, type Shop } from './open-shop.ts';

/*
 * kill -9 at awkward times, on real processes. The number of each case is that of the list of failures that the guide's own
 * sample does not handle.
 */
describe('a shop whose services are killed', () => {
  let shop: Shop;
  before(async () => {
    shop = await openShop();
  });
  after(() => shop?.[Symbol.asyncDispose]());

  const basketOf = (visitor: string) => shop.json<BasketSeen>('GET', '/api/basket', { visitor });
  const order = (name: string, action: string) => shop.json('POST', `/api/admin/services/${name}/${action}`);
  const priceShown = async (id: string) =>
    (
      await shop.json<{ products: { productId: string; price: number; revision: number }[] }>('GET', '/api/products')
    ).products.find(({ productId }) => productId === id)!;

  /** As a program should: the same number again until there is an answer. */
  const persistently = (path: string, requestId: string, body: object) =>
    until(`${path} ${requestId} is answered`, async () => {
      const response = await shop.ask('POST', path, { visitor: 'ann', requestId, body });
      if (response.status < 500) assert.equal(response.status, 200, await response.text());
      return response.ok;
    });

  it('loses no piece and doubles none when the basket dies while visitors add (cases 3, 4, 8)', async () => {
    let done = 0;
    const adding = Array.from({ length: 4 }, async (_, lane) => {
      for (let i = 0; i < 12; i++) {
        await persistently('/api/basket/items', `add-${lane}-${i}`, { productId: 'harbour-mug', quantity: 1 });
        done++;
      }
    });
    for (const at of [6, 18, 30]) {
      await until(`${at} pieces are in`, () => done >= at);
      await order('basket', 'kill');
      await order('basket', 'start');
    }
    await Promise.all(adding);
    await until('the page shows 48 pieces', async () => (await basketOf('ann')).lines[0]?.quantity === 48);
  });

  it('loses no price and doubles none when the catalogue dies while prices change (cases 2, 9)', async () => {
    const start = await priceShown('harbour-mug');
    let done = 0;
    const changing = (async () => {
      for (let i = 1; i <= 30; i++) {
        await persistently('/api/admin/products/harbour-mug/price', `price-${i}`, { price: 20 + i });
        done++;
      }
    })();
    for (const at of [5, 15, 25]) {
      await until(`${at} prices are set`, () => done >= at);
      await order('catalog', 'kill');
      await order('catalog', 'start');
    }
    await changing;
    await until('the shop shows the last price', async () => (await priceShown('harbour-mug')).price === 50);
    assert.equal((await priceShown('harbour-mug')).revision, start.revision + 30, 'each request was one change');
    const line = await until('the basket knows the last price', async () =>
      (await basketOf('ann')).lines.find(({ unitPrice }) => unitPrice === 50),
    );
    assert.equal(line.priceWhenAdded, 12);
  });

  it('catches up with what the basket has missed, and says until then what it knows (case 4)', async () => {
    await order('basket', 'kill');
    await shop.json('POST', '/api/admin/products/harbour-mug/price', { body: { price: 8 } });
    const offline = await until('the page tells of the newer price', async () => {
      const seen = await basketOf('ann');
      return seen.lines[0]?.newer?.price === 8 && seen;
    });
    assert.equal(offline.state, 'down');
    assert.match(offline.sentence, /^Basket has been stopped since \d\d:\d\d:\d\d\./);
    assert.equal(offline.lines[0]?.unitPrice, 50);
    const refused = await shop.ask('POST', '/api/basket/items', {
      visitor: 'ann',
      body: { productId: 'harbour-mug', quantity: 1 },
    });
    assert.deepEqual([refused.status, ((await refused.json()) as { code: string }).code], [503, 'service-down']);
    await order('basket', 'start');
    await until('the basket knows 8.00', async () => (await basketOf('ann')).lines[0]?.unitPrice === 8);
    await until('the page is calm again', async () => (await basketOf('ann')).state === 'current');
    assert.deepEqual([(await basketOf('ann')).lines[0]?.priceWhenAdded, (await basketOf('ann')).lines[0]?.quantity], [12, 48]);
  });

  it('says when the basket is there and does not answer, and is calm again when it does', async () => {
    const { pid } = await shop.service('basket');
    process.kill(pid!, 'SIGSTOP');
    try {
      await until('the page says so', async () => (await basketOf('ann')).sentence.startsWith('Basket has not answered since'));
      assert.equal((await basketOf('ann')).lines[0]?.unitPrice, 8);
    } finally {
      process.kill(pid!, 'SIGCONT');
    }
    await until('the page is calm again', async () => (await basketOf('ann')).state === 'current');
  });

  it('has the storefront back by itself, with everything that happened meanwhile', async () => {
    const { pid } = await shop.service('storefront');
    process.kill(pid!, 'SIGKILL');
    await until('another storefront answers', async () => (await shop.service('storefront')).pid !== pid);
    assert.equal((await basketOf('ann')).lines[0]?.quantity, 48);
    const seen = await shop.service('storefront');
    assert.equal(seen.restarts, 1);
    await shop.ask('POST', '/api/admin/services/storefront/kill');
    await until('a third storefront answers', async () => (await shop.service('storefront')).restarts === 2);
  });

  it('comes back when all of them die at once', async () => {
    for (const name of SERVICE_NAMES) process.kill((await shop.service(name)).pid!, 'SIGKILL');
    await until('all answer', async () => {
      const all = await Promise.all(SERVICE_NAMES.map((name) => shop.service(name)));
      return all.every(({ answering }) => answering);
    });
    await persistently('/api/admin/products/harbour-mug/price', 'after-the-storm', { price: 7 });
    await until('the basket knows 7.00', async () => (await basketOf('ann')).lines[0]?.unitPrice === 7);
  });

  it('changes nothing when the basket reads everything from the beginning again (case 14)', async () => {
    const before = await basketOf('ann');
    await order('basket', 'stop');
    forgetPositions(join(shop.folder, 'bus', 'basket.db'));
    await order('basket', 'start');
    await until('everything was read again, and dropped', async () => {
      const { subscriptions } = await shop.service('basket');
      const dropped = subscriptions.reduce((sum, { duplicates, stale }) => sum + duplicates + stale, 0);
      return dropped >= 200 + 32;
    });
    const { subscriptions } = await shop.service('basket');
    assert.equal(
      subscriptions.reduce((sum, { applied }) => sum + applied, 0),
      0,
      'nothing was applied a second time',
    );
    assert.deepEqual((await basketOf('ann')).lines, before.lines);
  });
});

describe('a catalogue that dies between commit and telling', () => {
  it('has told of it all the same (case 2)', async () => {
    const first = await openShop();
    const { folder } = first;
    await using _swept = first;
    await first.json('POST', '/api/basket/items', { visitor: 'ann', body: { productId: 'harbour-mug', quantity: 1 } });
    await first.close();

    await using shop = await openShop({ folder, env: { SHOP_CRASH_AT: 'catalog:published' } });
    const { pid } = await shop.service('catalog');
    const died = await shop.ask('POST', '/api/admin/products/harbour-mug/price', {
      body: { price: 9.5 },
      visitor: 'ann',
      requestId: 'r-1',
    });
    assert.equal(((await died.json()) as { code: string }).code, 'outcome-unknown');
    const line = await until('the basket has heard of it', async () => {
      const { lines } = await shop.json<BasketSeen>('GET', '/api/basket', { visitor: 'ann' });
      return lines.find(({ unitPrice }) => unitPrice === 9.5);
    });
    assert.equal(line.priceWhenAdded, 12);
    await until('the catalogue is back', async () => {
      const seen = await shop.service('catalog');
      return seen.answering && seen.pid !== pid;
    });
    const again = await shop.json<{ duplicate: boolean; revision: number }>('POST', '/api/admin/products/harbour-mug/price', {
      body: { price: 9.5 },
      visitor: 'ann',
      requestId: 'r-1',
    });
    assert.deepEqual([again.duplicate, again.revision], [true, 2], 'it had been done, and was done once');
  });
});
