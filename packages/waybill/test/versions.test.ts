/** Two versions of an event over two services, deployed in either order. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defineEvent } from 'waybill';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';

const PriceV1 = defineEvent('catalog.price', { schema: z.object({ id: z.string(), price: z.number() }), key: (e) => e.id });
const upcastOnly = defineEvent('catalog.price', {
  version: 2,
  schema: z.object({ id: z.string(), price: z.number(), currency: z.string() }),
  key: (e) => e.id,
  previous: PriceV1,
  upcast: (old) => ({ ...old, currency: 'EUR' }),
});
const PriceV2 = defineEvent('catalog.price', {
  version: 2,
  schema: z.object({ id: z.string(), price: z.number(), currency: z.string() }),
  key: (e) => e.id,
  previous: PriceV1,
  upcast: (old) => ({ ...old, currency: 'EUR' }),
  downcast: ({ currency: _, ...rest }) => rest,
});
const PriceV3 = defineEvent('catalog.price', {
  version: 3,
  schema: z.object({ id: z.string(), amount: z.number(), currency: z.string() }),
  key: (e) => e.id,
  previous: PriceV2,
  upcast: ({ price, ...rest }) => ({ ...rest, amount: price }),
  downcast: ({ amount, ...rest }) => ({ ...rest, price: amount }),
});
/** An older name. */
const Renamed = defineEvent('catalog.product-price', {
  schema: z.object({ id: z.string(), price: z.number() }),
  key: (e) => e.id,
  previous: PriceV1,
  upcast: (old) => old,
  downcast: (now) => now,
});

describe('versions', () => {
  it('a receiver of v2 takes v1, brought up to its version', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', transport });
    await using basket = createTestBus({ service: 'basket', transport });
    const seen: unknown[] = [];
    basket.subscribe(upcastOnly, (event) => void seen.push(event));
    await catalog.publish(PriceV1, { id: 'p', price: 1 });
    await catalog.settled();
    assert.deepEqual(seen, [{ id: 'p', price: 1, currency: 'EUR' }]);
  });

  it('a receiver of v1 takes what a publisher of v2 sends, cast down', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', transport });
    await using basket = createTestBus({ service: 'basket', transport });
    const seen: unknown[] = [];
    basket.subscribe(PriceV1, (event) => void seen.push(event));
    const { id } = await catalog.publish(PriceV2, { id: 'p', price: 1, currency: 'USD' });
    await catalog.settled();
    assert.deepEqual(seen, [{ id: 'p', price: 1 }]);
    assert.deepEqual(catalog.messages().map((message) => [message.type, message.id]), [['catalog.price.v2', id], ['catalog.price.v1', id]]);
  });

  it('a receiver of v2 has the effect once, although both forms reach it under one id', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', transport });
    await using basket = createTestBus({ service: 'basket', transport });
    const seen: unknown[] = [];
    basket.subscribe(PriceV2, (event) => void seen.push(event));
    const { id } = await catalog.publish(PriceV2, { id: 'p', price: 1, currency: 'USD' });
    await catalog.settled();
    assert.deepEqual(seen, [{ id: 'p', price: 1, currency: 'USD' }]);
    assert.equal(basket.history().filter(({ signal }) => signal === 'skipped').length, 1);
    await catalog.redeliver(id);
    assert.equal(seen.length, 1);
  });

  it('publisher first: v2 is published, the receiver of v1 goes on, and changes to v2 later', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', transport });
    const older = createTestBus({ service: 'basket', transport });
    const seen: unknown[] = [];
    older.subscribe(PriceV1, (event) => void seen.push(event));
    await catalog.publish(PriceV1, { id: 'p', price: 1 });
    await catalog.publish(PriceV2, { id: 'p', price: 2, currency: 'USD' });
    await catalog.settled();
    await older.stop();
    await catalog.publish(PriceV2, { id: 'p', price: 3, currency: 'USD' }); // its queue is bound to v1 alone
    await using newer = createTestBus({ service: 'basket', transport });
    newer.subscribe(PriceV2, (event) => void seen.push(event));
    await newer.start();
    await catalog.publish(PriceV2, { id: 'p', price: 4, currency: 'USD' });
    await catalog.settled();
    assert.deepEqual(seen, [
      { id: 'p', price: 1 },
      { id: 'p', price: 2 },
      { id: 'p', price: 3, currency: 'EUR' }, // only the older form of it had been queued
      { id: 'p', price: 4, currency: 'USD' },
    ]);
    assert.deepEqual(await newer.failures(), []);
  });

  for (const transaction of ['shared', 'own', 'manual'] as const) it(`in mode '${transaction}' an instance of before takes the older form although the newer one came first`, async () => {
    const transport = memory();
    const store = 'memory:';
    await using catalog = createTestBus({ service: 'catalog', transport });
    const newer = createTestBus({ service: 'basket', transport, store });
    newer.subscribe(PriceV2, { name: 'prices' }, () => {});
    await newer.start();
    await newer.stop(); // the queue stays bound to both
    await catalog.publish(PriceV1, { id: 'o', price: 1 });
    await catalog.publish(PriceV2, { id: 'p', price: 2, currency: 'USD' });
    await catalog.settled();
    await using older = createTestBus({ service: 'basket', transport, store });
    const seen: number[] = [];
    // two are taken ahead at most: the first, and the newer form of the second
    older.subscribe(PriceV1, { name: 'prices', transaction, concurrency: 1, batch: 1, retry: { immediate: 0 } }, ({ price }, ctx) => {
      if (price === 2 && ctx.attempt === 1) throw new Error('once');
      seen.push(price);
    });
    await older.start();
    await older.settled();
    await older.advance(60_000);
    await catalog.settled();
    assert.deepEqual(seen, [1, 2]);
  });

  it('receiver first: v2 is read while v1 is published, then v2', async () => {
    const transport = memory();
    const olderCatalog = createTestBus({ service: 'catalog', transport });
    await using basket = createTestBus({ service: 'basket', transport });
    const seen: unknown[] = [];
    basket.subscribe(PriceV2, { order: 'by-key' }, (event) => void seen.push(event.price));
    await olderCatalog.publish(PriceV1, { id: 'p', price: 1 });
    await olderCatalog.stop();
    await using catalog = createTestBus({ service: 'catalog', transport });
    await catalog.publish(PriceV2, { id: 'p', price: 2, currency: 'USD' });
    await catalog.settled();
    assert.deepEqual(seen, [1, 2]);
  });

  it('chains: v3 publishes all three forms, a receiver of any takes its own', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', transport });
    await using basket = createTestBus({ service: 'basket', transport });
    const seen: unknown[] = [];
    basket.subscribe(PriceV1, { name: 'one' }, (event) => void seen.push([1, event]));
    basket.subscribe(PriceV2, { name: 'two' }, (event) => void seen.push([2, event]));
    basket.subscribe(PriceV3, { name: 'three' }, (event) => void seen.push([3, event]));
    await catalog.publish(PriceV3, { id: 'p', amount: 5, currency: 'USD' });
    await catalog.settled();
    assert.deepEqual(seen.toSorted((a: any, b: any) => a[0] - b[0]), [
      [1, { id: 'p', price: 5 }],
      [2, { id: 'p', price: 5, currency: 'USD' }],
      [3, { id: 'p', amount: 5, currency: 'USD' }],
    ]);
    seen.length = 0;
    await catalog.publish(PriceV1, { id: 'p', price: 1 });
    await catalog.settled();
    assert.deepEqual(seen.toSorted((a: any, b: any) => a[0] - b[0]), [
      [1, { id: 'p', price: 1 }],
      [2, { id: 'p', price: 1, currency: 'EUR' }],
      [3, { id: 'p', amount: 1, currency: 'EUR' }],
    ]);
  });

  it('an event under a new name is taken by receivers of either name', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', transport });
    await using basket = createTestBus({ service: 'basket', transport });
    const seen: string[] = [];
    basket.subscribe(PriceV1, { name: 'old' }, (event) => void seen.push(`old ${event.price}`));
    basket.subscribe(Renamed, { name: 'new' }, (event) => void seen.push(`new ${event.price}`));
    await catalog.publish(Renamed, { id: 'p', price: 1 });
    await catalog.publish(PriceV1, { id: 'p', price: 2 });
    await catalog.settled();
    assert.deepEqual(seen.toSorted(), ['new 1', 'new 2', 'old 1', 'old 2']);
  });

  it('a token of a publish is caught up by receivers of older versions too', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', transport });
    await using basket = createTestBus({ service: 'basket', transport });
    let applied = 0;
    const subscription = basket.subscribe(PriceV1, () => void applied++);
    await basket.start();
    await subscription.pause();
    const { token } = await catalog.publish(PriceV2, { id: 'p', price: 1, currency: 'USD' });
    await catalog.settled();
    const waited = basket.caughtUp(token, { timeoutMs: 1_000 });
    await basket.advance(1_000);
    assert.equal(await waited, false);
    await subscription.resume();
    await basket.settled();
    assert.equal(await basket.caughtUp(token, { timeoutMs: 0 }), true);
    assert.equal(applied, 1);
  });

  it('a downcast that makes something its contract refuses fails the publish, and nothing is written', async () => {
    const Broken = defineEvent('catalog.price', {
      version: 2,
      schema: z.object({ id: z.string() }),
      previous: PriceV1,
      downcast: (now) => now as never,
    });
    await using catalog = createTestBus({ service: 'catalog' });
    await assert.rejects(catalog.publish(Broken, { id: 'p' }), { code: 'CONTRACT_VIOLATION' });
    await catalog.settled();
    assert.deepEqual(catalog.messages(), []);
  });

  it('that nobody takes is reported in a test too, while an older one has subscribers', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', transport });
    await using basket = createTestBus({ service: 'basket', transport });
    const told: unknown[] = [];
    catalog.on('version-unread', (detail) => told.push(detail));
    basket.subscribe(PriceV1, () => {});
    await catalog.settled();
    await catalog.publish(upcastOnly, { id: 'p', price: 1, currency: 'USD' });
    await catalog.publish(PriceV2, { id: 'p', price: 2, currency: 'USD' }); // travels as the older one too
    assert.deepEqual(told, [{ type: 'catalog.price.v2', older: 'catalog.price.v1' }]);
  });

  it('an upcast that throws parks the message at once, with its bytes', async () => {
    const Broken = defineEvent('catalog.price', {
      version: 2,
      schema: z.object({ id: z.string() }),
      previous: PriceV1,
      upcast: () => {
        throw new Error('cannot');
      },
    });
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', transport });
    await using basket = createTestBus({ service: 'basket', transport });
    let runs = 0;
    basket.subscribe(Broken, () => void runs++);
    await catalog.publish(PriceV1, { id: 'p', price: 1 });
    await catalog.settled();
    assert.equal(runs, 0);
    const [failure] = await basket.failures();
    assert.equal(failure!.error.code, 'CONTRACT_VIOLATION');
    assert.match(failure!.error.message, /upcast.*cannot/);
    assert.equal(Buffer.from(failure!.message.body).toString(), '{"id":"p","price":1}');
  });

  it('of one event cannot have two handlers in one subscription', async () => {
    await using basket = createTestBus({ service: 'basket' });
    assert.throws(() => basket.subscription('prices').on(PriceV1, () => {}).on(PriceV2, () => {}), { code: 'DUPLICATE_HANDLER' });
  });
});
