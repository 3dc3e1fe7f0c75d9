/** The acceptance on PostgreSQL and RabbitMQ, by two environment variables; then their servers and processes are killed. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { failToOpen, until, visitorOf } from '../open-shop.ts';
import { lackServers, privateServers, type PrivateServers } from '../private-servers.ts';
import { acceptance } from './acceptance.ts';

let servers: PrivateServers;

acceptance({
  name: 'on PostgreSQL and RabbitMQ',
  skip: lackServers,
  looks: ['desktop-dark', '390px-light'],
  ground: async () => (servers = await privateServers()),

  more(shop) {
    const charges = (orderId: string) =>
      shop().json<{ charges: unknown[]; refunds: unknown[] }>('GET', `/api/admin/gateway/orders/${orderId}`);

    it('says which service does not start on these servers, why, and the next step', async () => {
      const env = { ...servers.env, WAYBILL_STORE: servers.postgres.url('kiosk'), SHOP_PORT: '0', SHOP_DATA: join(shop().folder, 'kiosk') };
      const { code, output } = await failToOpen(env);
      assert.equal(code, 1);
      assert.match(output, /\n(basket|ordering|payment|storefront) does not start\. It said:\n\n[^]*database "kiosk_\1" does not exist/);
      assert.match(output, /createdb kiosk_/);
    });

    it('hears of a price although RabbitMQ was killed and started again in between', async () => {
      const ann = visitorOf(shop(), 'somebody');
      await ann.add('harbour-mug', 2);
      await servers.rabbit.kill();
      await shop().json('POST', '/api/admin/products/harbour-mug/price', { body: { price: 8 } });
      await servers.rabbit.start();
      await until('the basket knows the new price', async () => (await ann.basket()).lines[0]?.unitPrice === 8);
    });

    it('takes orders to their end although processes die: one shipped, one cancelled with the money back, books balanced', async () => {
      const ann = visitorOf(shop(), 'ann');
      const shipped = await ann.order('sunday-teapot', { quantity: 2 });
      process.kill((await shop().service('ordering')).pid!, 'SIGKILL');
      await ann.reaches(shipped, 'Shipped');
      await shop().json('POST', '/api/admin/gateway', { body: { mode: 'charges-and-fails' } });
      const cancelled = await ann.order('sunday-teapot');
      await until('the money has been taken', async () => (await charges(cancelled)).charges.length > 0);
      process.kill((await shop().service('payment')).pid!, 'SIGKILL');
      assert.equal((await ann.cancel(cancelled)).status, 202);
      await shop().json('POST', '/api/admin/gateway', { body: { mode: 'normal' } });
      await ann.reaches(cancelled, 'Cancelled');
      await until('the money is back, once', async () => (await charges(cancelled)).refunds.length === 1);
      assert.equal((await charges(shipped)).charges.length, 1);
      // The order is cancelled by its own service; the catalogue hears of it, and gives the stock back, a moment later.
      await until('the stock of the cancelled order is free again', async () => {
        const { stock } = await shop().json<{ stock: { productId: string; reserved: number; sold: number }[] }>('GET', '/api/admin/books');
        const teapot = stock.find(({ productId }) => productId === 'sunday-teapot')!;
        return teapot.reserved === 0 && teapot.sold === 2;
      });
    });
  },
});
