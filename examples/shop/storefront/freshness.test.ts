import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Freshness } from 'waybill';
import type { SubscriptionReport } from '../service/measure.ts';
import type { ServiceName, ServiceState } from '../supervisor/messages.ts';
import { basketCopied, productsCopied } from './freshness.ts';
import type { Watched } from './watch.ts';

const now = new Date(2026, 0, 5, 10, 0, 30);
const ago = (ms: number): Date => new Date(now.getTime() - ms);

describe('what is said of product pages', () => {
  it('is as of when, from whom', () => {
    assert.deepEqual(productsCopied({ now, copy: copy('catalog', 200), catalog: service('catalog') }), {
      state: 'current',
      asOf: ago(200),
      sentence: 'Prices as of 10:00:29, from catalog.',
    });
  });

  it('stays calm for some seconds, then says how late and how much waits', () => {
    const behind = (ms: number) =>
      productsCopied({ now, copy: copy('catalog', ms, { state: 'behind', waiting: 3 }), catalog: service('catalog') });
    assert.equal(behind(4_000).state, 'current');
    assert.equal(behind(12_000).state, 'late');
    assert.equal(behind(12_000).sentence, 'Prices here are 12 s behind catalog: 3 changes wait.');
  });

  it('says when the catalogue is down, and of when the prices are', () => {
    const { state, sentence } = productsCopied({
      now,
      copy: copy('catalog', 10_000, { state: 'behind', waiting: 0 }),
      catalog: service('catalog', { state: 'stopped' }),
    });
    assert.equal(state, 'down');
    assert.match(sentence, /^Catalog has been stopped since 10:00:20\. These are the prices of then; newer/);
  });

  it('claims nothing of a source that has said nothing since the pages started, as over a broker', () => {
    const silent = productsCopied({ now, copy: undefined, catalog: service('catalog') });
    assert.deepEqual([silent.state, silent.asOf], ['current', undefined]);
    assert.match(silent.sentence, /^Nothing new from catalog since \d\d:\d\d:\d\d\.$/);
  });

  it('says when something could not be taken over', () => {
    assert.equal(
      productsCopied({ now, copy: copy('catalog', 0, { state: 'failing' }), catalog: service('catalog') }).state,
      'failing',
    );
  });
});

describe('what is said of a basket', () => {
  const fresh = { now, copy: copy('basket', 100), catalog: service('catalog') };

  it('is as of the older of its two steps', () => {
    const { state, asOf, sentence } = basketCopied({ ...fresh, basket: service('basket', { prices: copy('catalog', 900) }) });
    assert.equal(state, 'current');
    assert.deepEqual(asOf, ago(900));
    assert.equal(sentence, 'Prices as of 10:00:29, from catalog by way of basket.');
  });

  it('names the step that is late', () => {
    const slowBasket = service('basket', { prices: copy('catalog', 38_000, { state: 'behind', waiting: 1 }) });
    assert.equal(basketCopied({ ...fresh, basket: slowBasket }).sentence, 'Basket is 38 s behind catalog: 1 change waits.');
    const slowPages = { ...fresh, copy: copy('basket', 7_000, { state: 'behind', waiting: undefined }) };
    assert.equal(
      basketCopied({ ...slowPages, basket: service('basket', { prices: copy('catalog', 100) }) }).sentence,
      'This page is 7.0 s behind basket.',
    );
  });

  it('says what is known and since when while the basket is down', () => {
    const { state, asOf, sentence } = basketCopied({ ...fresh, basket: service('basket', { state: 'stopped' }) });
    assert.equal(state, 'down');
    assert.deepEqual(asOf, ago(10_000));
    assert.match(sentence, /^Basket has been stopped since 10:00:20\. This is what it had said by then\./);
  });

  it('tells a process that does not answer from one that was stopped or is coming back', () => {
    const say = (state: ServiceState['state']) =>
      basketCopied({ ...fresh, basket: service('basket', { state, answering: false }) }).sentence;
    assert.match(say('running'), /^Basket has not answered since/);
    assert.match(say('waiting'), /^Basket is starting; it was last heard at/);
    assert.match(say('failed'), /^Basket has failed to start/);
  });

  it('says when the catalogue is down, for then no new price can come', () => {
    const { state, sentence } = basketCopied({
      ...fresh,
      basket: service('basket', { prices: copy('catalog', 9_000, { state: 'behind' }) }),
      catalog: service('catalog', { state: 'stopped' }),
    });
    assert.equal(state, 'down');
    assert.match(sentence, /^Catalog has been stopped since 10:00:20\. Prices in the basket are those of then\./);
  });
});

function copy(source: string, ageMs: number, more: Partial<Freshness> = {}): Freshness {
  return {
    source,
    subscription: `basket.${source}.product-price-changed`,
    appliedUntil: ago(ageMs),
    waiting: 0,
    state: 'current',
    ...more,
  };
}

function service(
  name: ServiceName,
  {
    state = 'running',
    answering = state === 'running',
    prices,
  }: { state?: ServiceState['state']; answering?: boolean; prices?: Freshness } = {},
): Watched {
  const process: ServiceState = { name, state, since: ago(10_000).toISOString(), pid: 1, url: undefined, restarts: 0 };
  const row = prices && {
    ...prices,
    appliedUntil: prices.appliedUntil.toISOString(),
    applied: 1,
    stale: 0,
    duplicates: 0,
    retried: 0,
    failed: 0,
    p95Ms: 1,
    worstMs: 1,
    worstAt: undefined,
  };
  const report = {
    service: name,
    startedAt: ago(60_000).toISOString(),
    published: 0,
    subscriptions: row ? [row satisfies SubscriptionReport] : [],
  };
  return { name, answering, since: ago(10_000), process, report };
}
