import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ShownProduct } from '../read-model.ts';
import type { ShownLine } from '../views.ts';
import { comesFromHere } from '../other-sites.ts';
import { adminPage } from './admin.ts';
import { basketPage } from './basket.ts';
import { longTime, span } from './format.ts';
import { layout } from './layout.ts';
import { productsPage } from './products.ts';

const copied = { state: 'current', asOf: new Date(), sentence: 'As of now.' } as const;
const nasty = `<script>alert("x")</script>'&`;
const product: ShownProduct = {
  ...{ productId: 'x', revision: 1, name: nasty, category: nasty, details: nasty, kind: 'mug', colour: 'sea' },
  ...{ priceCents: 1200, stock: 1, place: 0, asOf: '2026-01-01T10:00:00.000Z' },
};
const line: ShownLine = {
  ...{ productId: 'harbour-mug', name: nasty, quantity: 2, unitPriceCents: 950, priceWhenAddedCents: 1200, priceRevision: 2 },
  ...{ priceAsOf: '2026-01-01T10:00:00.000Z', newer: undefined },
};
const basketOf = (one: ShownLine) => basketPage({ revision: 3, lines: [one], pieces: 2, totalCents: 1900, asOf: undefined, copied });
const text = async (page: ReturnType<typeof basketPage>): Promise<string> => (await page).toString();

describe('pages', () => {
  it('escape everything that comes from elsewhere', async () => {
    const list = { products: [product], total: 1, categories: [nasty], copied };
    const saved = { name: nasty, at: new Date(), heard: [] };
    const waiting = { subscription: nasty, type: nasty, key: nasty, attempt: 1, attempts: 6, dueAt: product.asOf, reason: 'retry', error: nasty };
    const group = { group: nasty, subscription: nasty, type: nasty, code: nasty, message: nasty, count: 2 };
    const troubles = [{ name: 'payment', waiting: [waiting], groups: [group] }] as const;
    const notice = { tone: 'bad', text: nasty } as const;
    for (const page of [
      productsPage(list, { text: nasty, category: nasty, page: 1 }),
      productsPage({ ...list, products: [], total: 0 }, { text: nasty, category: '', page: 1 }),
      adminPage({ ...list, text: nasty, services: [], supervised: true, saved, troubles, gatewayMode: 'normal' }),
      basketOf(line),
      layout({ title: nasty, path: '', address: nasty, topics: [], pieces: 0, notice, body: basketOf(line), footing: nasty }),
    ]) {
      const html = await text(page);
      assert.ok(html.includes('&lt;script&gt;'), 'the text is there');
      assert.doesNotMatch(html.replace('<script type="module" src="/assets/live.js"></script>', ''), /<script/);
    }
  });

  it('say both prices of a line whose price has changed, in a place that is read aloud', async () => {
    const html = await text(basketOf(line));
    assert.match(html, /<p class="alert" role="status" id="alert-harbour-mug" data-way="down">/);
    assert.match(html.replace(/<[^>]+>/g, ''), /was €12\.00 when you added it, now €9\.50/);
  });

  it('say nothing when the price is what it was', async () => {
    assert.match(
      await text(basketOf({ ...line, unitPriceCents: 1200 })),
      /role="status" id="alert-harbour-mug" data-way="up"><\/p>/,
    );
  });

  it('say what the catalogue has told and the basket has not heard', async () => {
    const html = await text(basketOf({ ...line, newer: { priceCents: 800, asOf: '2026-01-01T10:01:00.000Z' } }));
    assert.match(html, /Catalog has said €8\.00 since .*The basket has not heard of it yet/);
  });
});

describe('spans and times', () => {
  it('read as people say them', () => {
    assert.deepEqual([0, 43, 1_250, 38_400, 240_000, 7_300_000].map(span), ['1 ms', '43 ms', '1.3 s', '38 s', '4 min', '2 h']);
  });

  it('name the day when it is another one', () => {
    const at = new Date(2026, 2, 3, 10, 0, 3);
    assert.equal(longTime(at, new Date(2026, 2, 3, 23)), '10:00:03');
    assert.equal(longTime(at, new Date(2026, 2, 4)), '3 Mar, 10:00:03');
  });
});

describe('a request that changes something', () => {
  for (const [from, site, origin, allowed] of [
    ['a page of the shop', 'same-origin', 'http://localhost:8080', true],
    ['the address bar', 'none', undefined, true],
    ['a program', undefined, undefined, true],
    ['an old browser on a page of the shop', undefined, 'http://localhost:8080', true],
    ['a page of another site', 'cross-site', 'http://evil.example', false],
    ['another port of this machine', 'same-site', 'http://localhost:9999', false],
    ['an old browser on another site', undefined, 'http://evil.example', false],
    ['a sandbox', undefined, 'null', false],
  ] as const) {
    it(`is ${allowed ? 'taken' : 'refused'} from ${from}`, () =>
      assert.equal(comesFromHere(site, origin, 'localhost:8080'), allowed));
  }
});
