import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { createTestBus, crashPoints, type TestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import type { SqlTransaction } from 'waybill';
import { operations } from 'waybill/operations';
import { subscribe as subscribeCatalog } from '../catalog/handlers.ts';
import { allStock, createTables as createWarehouse, insertStock } from '../catalog/warehouse.ts';
import { UserCheckoutAccepted } from '../contracts/basket.ts';
import {
  GracePeriodConfirmed,
  OrderStarted,
  OrderStatusChangedToAwaitingValidation,
  OrderStatusChangedToCancelled,
  OrderStatusChangedToPaid,
  OrderStatusChangedToShipped,
  OrderStatusChangedToStockConfirmed,
  OrderStatusChangedToSubmitted,
} from '../contracts/ordering.ts';
import { openBooks, type Books } from '../gateway/books.ts';
import { gatewayApp } from '../gateway/http.ts';
import { gatewayAt } from '../payment/gateway.ts';
import { subscribe as subscribePayment } from '../payment/handlers.ts';
import { createTables as createPayments } from '../payment/payments.ts';
import { createApp } from '../service/http.ts';
import { subscribe } from './handlers.ts';
import { orderingApp } from './http.ts';
import { countByStatus, createTables, lockStatus } from './orders.ts';
import { orderProcess } from './process.ts';

const GRACE_MS = 1_000;
const PACKING_MS = 5_000;
/** Longer than payment goes on trying: about twenty seconds. */
const PATIENCE_MS = 30_000;

describe('an order', () => {
  it('goes from submitted to shipped, and each step is told once, in order (case 16)', async () => {
    await using world = await openWorld();
    const orderId = await world.checkout();
    assert.equal(await world.status(orderId), 'Submitted');
    await world.ordering.advance(GRACE_MS - 1);
    assert.equal(world.ordering.published(GracePeriodConfirmed).length, 0, 'the grace period is never cut short');
    await world.ordering.advance(1);
    assert.equal(await world.status(orderId), 'Paid');
    await world.ordering.advance(PACKING_MS);
    assert.equal(await world.status(orderId), 'Shipped');
    assert.deepEqual(world.told(orderId), ['Started', 'Submitted', 'Grace', 'AwaitingValidation', 'StockConfirmed', 'Paid', 'Shipped']);
    assert.deepEqual([await world.stock(), world.books.totals()], [[8, 0, 2], { chargedCents: 2_400, refundedCents: 0 }]);
  });

  it('is made once, however often its request comes (cases 7, 8, G32)', async () => {
    await using world = await openWorld();
    const first = await world.checkout({ requestId: 'r1' });
    const second = await world.checkout({ requestId: 'r1' });
    await world.checkout({ requestId: 'r1', visitorId: 'bob' });
    await world.finish();
    assert.deepEqual([await world.status(first), await world.status(second)], ['Shipped', undefined]);
    assert.deepEqual(world.told(second), [], 'an order that is not there is not told of');
    assert.equal(world.ordering.published(OrderStarted).length, 2);
  });

  it('is cancelled, and says so, when not everything is in stock (cases 13, 15)', async () => {
    await using world = await openWorld();
    const orderId = await world.checkout({ productId: 'unicorn' });
    await world.finish();
    assert.equal(await world.status(orderId), 'Cancelled');
    const [cancelled] = world.ordering.published(OrderStatusChangedToCancelled);
    assert.deepEqual([cancelled?.reason, cancelled?.missing, cancelled?.refunded], ['out-of-stock', ['unicorn'], false]);
    assert.deepEqual([await world.stock(), world.books.totals().chargedCents], [[10, 0, 0], 0]);
  });

  it('is cancelled and gives its pieces back when the card is declined', async () => {
    await using world = await openWorld();
    const orderId = await world.checkout({ paymentToken: 'tok_declined' });
    await world.finish();
    assert.equal(await world.status(orderId), 'Cancelled');
    assert.equal(world.ordering.published(OrderStatusChangedToCancelled)[0]?.reason, 'payment-declined');
    assert.deepEqual(await world.stock(), [10, 0, 0]);
  });

  it('can be cancelled in the grace period, before anything was done for it', async () => {
    await using world = await openWorld();
    const orderId = await world.checkout();
    assert.equal(await world.cancel(orderId), 202);
    await world.finish();
    assert.deepEqual(world.told(orderId), ['Started', 'Submitted', 'Cancelled']);
    assert.deepEqual([await world.stock(), world.books.totals().chargedCents], [[10, 0, 0], 0]);
    assert.equal(await world.cancel(orderId), 409);
  });

  it('ends in one state, with the money back, when it is cancelled while the gateway is being asked (case 12)', async () => {
    await using world = await openWorld();
    world.books.mode = 'charges-and-fails';
    const orderId = await world.checkout();
    await world.ordering.advance(GRACE_MS);
    assert.equal(await world.status(orderId), 'StockConfirmed');
    assert.equal(world.books.totals().chargedCents, 2_400, 'the money has been taken already');
    assert.equal(await world.cancel(orderId), 202);
    assert.equal(await world.status(orderId), 'StockConfirmed', 'nothing is said before it is known');
    world.books.mode = 'normal';
    await world.finish();
    assert.equal(await world.status(orderId), 'Cancelled');
    assert.ok(!world.told(orderId).includes('Paid'));
    assert.deepEqual([await world.stock(), world.books.totals()], [[10, 0, 0], { chargedCents: 2_400, refundedCents: 2_400 }]);
  });

  it('can be cancelled after it was paid, and no more once it has left', async () => {
    await using world = await openWorld();
    const [early, late] = [await world.checkout(), await world.checkout()];
    await world.ordering.advance(GRACE_MS);
    assert.equal(await world.cancel(early), 202);
    await world.finish();
    assert.deepEqual([await world.status(early), await world.status(late)], ['Cancelled', 'Shipped']);
    assert.equal(await world.cancel(late), 409);
    assert.equal(await world.cancel(late, 'somebody-else'), 404);
    assert.deepEqual([await world.stock(), world.books.totals()], [[8, 0, 2], { chargedCents: 4_800, refundedCents: 2_400 }]);
  });

  it('waits in failures when the gateway never answers, and goes on when somebody tries again', async () => {
    await using world = await openWorld();
    world.books.mode = 'fails';
    const orderId = await world.checkout();
    await world.finish();
    assert.equal(await world.status(orderId), 'StockConfirmed');
    assert.equal((await world.payment.failures()).length, 1);
    world.books.mode = 'normal';
    await operations(world.payment).failures.retry({});
    await world.finish();
    assert.equal(await world.status(orderId), 'Shipped');
  });

  for (const service of ['ordering', 'catalog', 'payment'] as const) {
    for (const point of crashPoints) {
      it(`comes to one end when ${service} dies at ${point}`, async () => {
        await using world = await openWorld();
        const [bought, cancelled] = [await world.checkout(), await world.checkout()];
        for (const nth of [1, 3, 7]) world[service].crashAfter(point, nth);
        await world.ordering.advance(GRACE_MS);
        await world.cancel(cancelled);
        await world.finish();
        assert.deepEqual([await world.status(bought), await world.status(cancelled)], ['Shipped', 'Cancelled']);
        assert.deepEqual(await world.stock(), [8, 0, 2]);
        const { chargedCents, refundedCents } = world.books.totals();
        assert.equal(chargedCents - refundedCents, 2_400);
        for (const one of [world.ordering, world.catalog, world.payment]) assert.deepEqual(await one.failures(), []);
      });
    }
  }
});

interface World extends AsyncDisposable {
  readonly ordering: TestBus<SqlTransaction>;
  readonly catalog: TestBus<SqlTransaction>;
  readonly payment: TestBus<SqlTransaction>;
  readonly books: Books;
  /** Two mugs at €12.00, unless something else is said. */
  checkout(order?: { requestId?: string; visitorId?: string; productId?: string; paymentToken?: string }): Promise<string>;
  cancel(orderId: string, visitorId?: string): Promise<number>;
  /** Lets everything come to its end. */
  finish(): Promise<void>;
  status(orderId: string): Promise<string | undefined>;
  /** What ordering has told of an order, in order. */
  told(orderId: string): string[];
  /** Mugs on sale, put aside, sold. */
  stock(): Promise<number[]>;
}

/** Ordering, catalogue and payment with their real handlers, and the real gateway, on one virtual clock. */
async function openWorld(): Promise<World> {
  const transport = memory();
  const newBus = (service: string) => createTestBus({ service, transport });
  const [basket, ordering, catalog, payment] = [newBus('basket'), newBus('ordering'), newBus('catalog'), newBus('payment')];
  const books = openBooks(':memory:');
  const gateway = gatewayApp(createApp(), books);
  subscribe(ordering);
  ordering.run(orderProcess({ graceMs: GRACE_MS, packingMs: PACKING_MS }));
  subscribeCatalog(catalog);
  subscribePayment(payment, gatewayAt(() => 'http://gateway.test', async (address, init) => await gateway.request(String(address), init)));
  await ordering.transaction(createTables);
  await payment.transaction(createPayments);
  await catalog.transaction(async (tx) => {
    await createWarehouse(tx);
    await insertStock(tx, 'mug', 10);
  });
  const app = orderingApp(ordering);
  await basket.start();

  const isDone = async (): Promise<boolean> => {
    for (const bus of [ordering, catalog, payment]) {
      const { ready, waiting } = await operations(bus).status();
      if (ready + waiting > 0) return false;
    }
    const counted = await ordering.transaction(countByStatus);
    return Object.keys(counted).every((status) => status === 'Shipped' || status === 'Cancelled');
  };

  return {
    ordering,
    catalog,
    payment,
    books,
    async checkout({ requestId = randomUUID(), visitorId = 'ann', productId = 'mug', paymentToken = 'tok_visa' } = {}) {
      const orderId = randomUUID();
      const items = [{ productId, name: productId, quantity: 2, unitPriceCents: 1_200 }];
      await basket.publish(UserCheckoutAccepted, { requestId, orderId, visitorId, items, totalCents: 2_400, paymentToken });
      await basket.settled();
      return orderId;
    },
    async cancel(orderId, visitorId = 'ann') {
      const init = { method: 'POST', headers: { 'x-visitor': visitorId } };
      let status = 0;
      // A process that dies answers nobody: then a client asks again.
      for (let tries = 0; status === 0 && tries < 5; tries++) {
        void Promise.resolve(app.request(`/orders/${orderId}/cancel`, init)).then((response) => (status ||= response.status));
        await ordering.settled();
      }
      return status;
    },
    async finish() {
      for (let waitedMs = 0; waitedMs < PATIENCE_MS; waitedMs += GRACE_MS) {
        await ordering.advance(GRACE_MS);
        if (await isDone()) break;
      }
    },
    status: (orderId) => ordering.transaction((tx) => lockStatus(tx, orderId, 'ann')),
    told(orderId) {
      const names = new Map<string, string>([
        [OrderStarted.type, 'Started'],
        [OrderStatusChangedToSubmitted.type, 'Submitted'],
        [GracePeriodConfirmed.type, 'Grace'],
        [OrderStatusChangedToAwaitingValidation.type, 'AwaitingValidation'],
        [OrderStatusChangedToStockConfirmed.type, 'StockConfirmed'],
        [OrderStatusChangedToPaid.type, 'Paid'],
        [OrderStatusChangedToShipped.type, 'Shipped'],
        [OrderStatusChangedToCancelled.type, 'Cancelled'],
      ]);
      return ordering.messages().flatMap(({ type, key }) => (key === orderId && names.has(type) ? [names.get(type)!] : []));
    },
    async stock() {
      const mug = (await catalog.transaction(allStock)).find(({ productId }) => productId === 'mug')!;
      return [mug.available, mug.reserved, mug.sold];
    },
    async [Symbol.asyncDispose]() {
      for (const one of [basket, ordering, catalog, payment]) await one.stop();
      books.close();
    },
  };
}
