/** A whole bus, while its broker makes trouble: nothing is lost, nothing is applied twice, keys stay in order. */
import './long-timers.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { AmqpError, startStandIn, steps } from './stand-in/index.ts';
import { startStandInProcess } from './stand-in/process.ts';
import { until } from './until.ts';
import { basketOn, busOn, check, publishPrices } from './whole-bus.ts';

const size = { keys: 5, revisions: 10 };
const total = size.keys * size.revisions * 2;

describe('over Azure Service Bus nothing is lost, doubled or out of order', { concurrency: 4 }, () => {
  for (const step of steps) {
    it(`when the connection is cut at ${step}`, async (t) => {
      const standIn = await startStandIn();
      const [catalog, basket] = [busOn(t, standIn, { service: 'catalog' }), busOn(t, standIn, { service: 'basket' })];
      t.after(() => standIn.close()); // after the buses
      const { effects, settled } = await basketOn(basket);
      await catalog.start();
      let seen = 0;
      let cuts = 0;
      standIn.faults.cutAt = (at) => at === step && seen++ % 7 === 3 && cuts++ < 2;
      await publishPrices(catalog, size);
      await settled(total);
      check(await effects(), size);
      await until(() => cuts > 0); // acknowledgements come last
      check(await effects(), size);
    });
  }

  it('when locks are lost again and again before the acknowledgement', async (t) => {
    const standIn = await startStandIn();
    const [catalog, basket] = [busOn(t, standIn, { service: 'catalog' }), busOn(t, standIn, { service: 'basket' })];
    let stolen = 0;
    basket.on('applied', () => {
      if (++stolen % 10 === 0) standIn.expireLocks();
    });
    t.after(() => standIn.close()); // after the buses
    const { effects, settled } = await basketOn(basket);
    await catalog.start();
    await publishPrices(catalog, size);
    await settled(total);
    check(await effects(), size);
    assert.ok(stolen >= total);
  });

  it('when the broker is killed and started again, twice', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'waybill-azure-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const broker = await startStandInProcess(join(folder, 'azure.db'));
    const place = { url: broker.url(broker.port) };
    const [catalog, basket] = [busOn(t, place, { service: 'catalog' }), busOn(t, place, { service: 'basket' })];
    t.after(() => broker.kill()); // after the buses
    const { effects, settled } = await basketOn(basket);
    await catalog.start();
    let applied = 0;
    const reached = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    basket.on('applied', () => {
      applied++;
      if (applied === 20) reached[0]!.resolve();
      if (applied === 60) reached[1]!.resolve();
    });
    const published = publishPrices(catalog, size);
    for (const { promise } of reached) {
      await promise;
      await broker.kill();
      await broker.start();
    }
    await published;
    await settled(total);
    check(await effects(), size);
  });

  it('when everything is throttled for a while', async (t) => {
    const standIn = await startStandIn();
    const [catalog, basket] = [busOn(t, standIn, { service: 'catalog' }), busOn(t, standIn, { service: 'basket' })];
    t.after(() => standIn.close()); // after the buses
    const { effects, settled } = await basketOn(basket);
    const throttled = Promise.withResolvers<void>();
    catalog.on('relay-paused', () => throttled.resolve());
    await catalog.start();
    standIn.faults.refuse = () => new AmqpError('com.microsoft:server-busy', 'The request was terminated because the namespace is being throttled.');
    const published = publishPrices(catalog, size);
    await throttled.promise;
    standIn.faults.clear();
    await published;
    await settled(total);
    check(await effects(), size);
  });

  it('when tokens expire', async (t) => {
    const standIn = await startStandIn();
    const [catalog, basket] = [busOn(t, standIn, { service: 'catalog' }), busOn(t, standIn, { service: 'basket' })];
    t.after(() => standIn.close()); // after the buses
    const { effects, settled } = await basketOn(basket);
    await catalog.start();
    let expired = 0;
    basket.on('applied', () => {
      if (++expired === 20 || expired === 60) standIn.expireTokens();
    });
    await publishPrices(catalog, size);
    await settled(total);
    check(await effects(), size);
  });

  it('when two instances share the work, and one of them leaves', async (t) => {
    const standIn = await startStandIn();
    const catalog = busOn(t, standIn, { service: 'catalog' });
    const folder = mkdtempSync(join(tmpdir(), 'waybill-azure-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const one = busOn(t, standIn, { service: 'basket', store: `sqlite:${folder}/basket.db` });
    const two = busOn(t, standIn, { service: 'basket', store: `sqlite:${folder}/basket.db` });
    t.after(() => standIn.close());
    const baskets = [await basketOn(one), await basketOn(two)];
    let applied = 0;
    const half = Promise.withResolvers<void>();
    const all = Promise.withResolvers<void>();
    for (const bus of [one, two]) {
      bus.on('applied', () => {
        if (++applied === total / 2) half.resolve();
        if (applied === total) all.resolve();
      });
    }
    await catalog.start();
    await publishPrices(catalog, size);
    await half.promise;
    await one.stop({ drainMs: 5_000 });
    await all.promise;
    check(await baskets[1]!.effects(), size);
  });
});

