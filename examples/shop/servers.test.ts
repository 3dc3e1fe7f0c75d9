/** The same shop on PostgreSQL and RabbitMQ, by two environment variables, in a browser. */
import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { chromium, type Browser } from 'playwright-core';
import { type PostgresServer, startPostgres } from '../../packages/waybill/test/support/postgres-server.ts';
import { rabbitServer, type RabbitServer } from '../../packages/waybill/test/support/rabbitmq-server.ts';
import { needs } from '../../test/support/needs.ts';
import { SERVICE_NAMES } from './supervisor/messages.ts';
import { openShop, until, visitorOf, type BasketSeen, type Shop } from './testing/open-shop.ts';

const [browsers, rabbitmq, postgresql] = [needs('chromium'), needs('rabbitmq'), needs('postgres')];

describe('the shop on PostgreSQL and RabbitMQ', { skip: browsers.skip || rabbitmq.skip || postgresql.skip }, () => {
  let [rabbit, postgres, shop, browser]: [RabbitServer?, PostgresServer?, Shop?, Browser?] = [];

  before(async () => {
    [rabbit, postgres] = await Promise.all([rabbitServer(), startPostgres({ bin: dirname(postgresql.path!) })]);
    for (const name of SERVICE_NAMES) await postgres.query(`create database shop_${name}`);
    shop = await openShop({ env: { WAYBILL_STORE: postgres.url('shop'), WAYBILL_TRANSPORT: rabbit.url } });
    browser = await chromium.launch({ executablePath: browsers.path!, args: ['--no-sandbox', '--disable-gpu', '--no-first-run'] });
  });
  after(async () => {
    await browser?.close();
    await shop?.[Symbol.asyncDispose]();
    await Promise.all([rabbit?.close(), postgres?.close()]);
  });

  it('puts the mug into the basket, and shows both prices when the catalogue changes it', async () => {
    const page = await browser!.newPage();
    await until('the storefront knows the mug', async () => {
      await page.goto(shop!.url);
      return (await page.getByRole('button', { name: 'Add Harbour mug to the basket' }).count()) === 1;
    });
    await until('the basket knows the mug', async () => {
      await page.getByRole('button', { name: 'Add Harbour mug to the basket' }).click();
      await page.getByText('Harbour mug is in your basket.').waitFor({ timeout: 2_000 });
      return true;
    });
    await page.goto(`${shop!.url}/basket`);
    await page.getByText('€12.00 each').waitFor();
    await setPrice(9.5);
    await page.getByText('€9.50 each').waitFor();
    assert.match(await page.locator('main').innerText(), /was €12\.00 when you added it/);
  });

  it('hears of a price although RabbitMQ was killed and started again in between', async () => {
    const visitor = 'somebody';
    await shop!.json('POST', '/api/basket/items', { visitor, body: { productId: 'harbour-mug', quantity: 2 } });
    await rabbit!.kill();
    await setPrice(8);
    await rabbit!.start();
    await until('the basket knows the new price', async () => {
      const { lines } = await shop!.json<BasketSeen>('GET', '/api/basket', { visitor });
      return lines[0]?.unitPrice === 8;
    });
  });

  it('takes orders to their end although processes die: one shipped, one cancelled with the money back, books balanced', async () => {
    const ann = visitorOf(shop!, 'ann');
    const shipped = await ann.order('ferry-teapot', { quantity: 2 });
    process.kill((await shop!.service('ordering')).pid!, 'SIGKILL');
    await ann.reaches(shipped, 'Shipped');
    await shop!.json('POST', '/api/admin/gateway', { body: { mode: 'charges-and-fails' } });
    const cancelled = await ann.order('ferry-teapot');
    await until('the money has been taken', async () => (await charges(cancelled)).charges.length > 0);
    process.kill((await shop!.service('payment')).pid!, 'SIGKILL');
    assert.equal((await ann.cancel(cancelled)).status, 202);
    await shop!.json('POST', '/api/admin/gateway', { body: { mode: 'normal' } });
    await ann.reaches(cancelled, 'Cancelled');
    await until('the money is back, once', async () => (await charges(cancelled)).refunds.length === 1);
    assert.equal((await charges(shipped)).charges.length, 1);
    // The order is cancelled by its own service; the catalogue hears of it, and gives the stock back, a moment later.
    await until('the stock of the cancelled order is free again', async () => {
      const { stock } = await shop!.json<{ stock: { productId: string; reserved: number; sold: number }[] }>('GET', '/api/admin/books');
      const teapot = stock.find(({ productId }) => productId === 'ferry-teapot')!;
      return teapot.reserved === 0 && teapot.sold === 2;
    });
  });

  const charges = (orderId: string) => shop!.json<{ charges: unknown[]; refunds: unknown[] }>('GET', `/api/admin/gateway/orders/${orderId}`);
  const setPrice = (price: number) => shop!.json('POST', '/api/admin/products/harbour-mug/price', { body: { price } });
});
