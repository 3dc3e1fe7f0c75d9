import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { createTestBus, type TestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import type { SqlTransaction } from 'waybill';
import { operations } from 'waybill/operations';
import {
  AuthorizePayment,
  OrderPaymentFailed,
  OrderPaymentRefunded,
  OrderPaymentSucceeded,
  RefundPayment,
} from '../contracts/payment.ts';
import { openBooks, type Books } from '../gateway/books.ts';
import { gatewayApp } from '../gateway/http.ts';
import { createApp } from '../service/http.ts';
import { gatewayAt } from './gateway.ts';
import { subscribe } from './handlers.ts';
import { createTables } from './payments.ts';

describe('payment', () => {
  it('charges once and tells of it', async () => {
    await using world = await paying();
    const orderId = await world.authorize();
    assert.deepEqual(world.payment.published(OrderPaymentSucceeded).map(({ orderId: of }) => of), [orderId]);
    assert.equal(world.books.ofOrder(orderId).charges.length, 1);
  });

  it('takes nothing when the card is declined, and tells of that', async () => {
    await using world = await paying();
    const orderId = await world.authorize('tok_declined');
    assert.deepEqual(world.payment.published(OrderPaymentFailed).map(({ orderId: of }) => of), [orderId]);
    assert.deepEqual(world.books.ofOrder(orderId).charges, []);
  });

  it('charges once when the gateway charges and does not say so', async () => {
    await using world = await paying();
    world.books.mode = 'charges-and-fails';
    const orderId = await world.authorize();
    assert.deepEqual(world.payment.published(OrderPaymentSucceeded), [], 'nothing is said before it is known');
    world.books.mode = 'normal';
    await world.payment.advance(10_000);
    assert.equal(world.payment.published(OrderPaymentSucceeded).length, 1);
    assert.equal(world.books.ofOrder(orderId).charges.length, 1);
  });

  for (const point of ['before inbox.commit', 'inbox.commit', 'before inbox.settle', 'inbox.settle'] as const) {
    it(`takes no money without telling, and none twice, when it dies at ${point} (case 9, G30)`, async () => {
      await using world = await paying();
      world.payment.crashAfter(point);
      const orderId = await world.authorize();
      await world.payment.advance(10_000);
      assert.equal(world.books.ofOrder(orderId).charges.length, 1);
      assert.equal(world.payment.published(OrderPaymentSucceeded).length, 1);
    });
  }

  it('keeps an order whose gateway never answers, and charges it when somebody tries again', async () => {
    await using world = await paying();
    world.books.mode = 'fails';
    const orderId = await world.authorize();
    await world.payment.advance(60_000);
    assert.equal((await world.payment.failures()).length, 1);
    world.books.mode = 'normal';
    await world.retryAll();
    assert.equal(world.books.ofOrder(orderId).charges.length, 1);
    assert.equal(world.payment.published(OrderPaymentSucceeded).length, 1);
  });

  it('pays back once', async () => {
    await using world = await paying();
    const orderId = await world.authorize();
    const { chargeId, amountCents } = world.payment.published(OrderPaymentSucceeded)[0]!;
    world.payment.crashAfter('before inbox.commit');
    await world.ordering.send(RefundPayment, { orderId, chargeId, amountCents });
    await world.ordering.settled();
    await world.payment.advance(10_000);
    assert.equal(world.books.ofOrder(orderId).refunds.length, 1);
    assert.equal(world.payment.published(OrderPaymentRefunded).length, 1);
  });
});

interface Paying extends AsyncDisposable {
  readonly payment: TestBus<SqlTransaction>;
  readonly ordering: TestBus<SqlTransaction>;
  readonly books: Books;
  authorize(token?: string): Promise<string>;
  retryAll(): Promise<void>;
}

/** The real handlers and the real gateway, which are joined by a function call instead of a wire. */
async function paying(): Promise<Paying> {
  const transport = memory();
  const books = openBooks(':memory:');
  const app = gatewayApp(createApp(), books);
  const payment = createTestBus({ service: 'payment', transport });
  const ordering = createTestBus({ service: 'ordering', transport });
  subscribe(payment, gatewayAt(() => 'http://gateway.test', async (address, init) => await app.request(String(address), init)));
  await payment.transaction(createTables);
  await ordering.start();
  return {
    payment,
    ordering,
    books,
    async authorize(paymentToken = 'tok_visa') {
      const orderId = randomUUID();
      await ordering.send(AuthorizePayment, { orderId, amountCents: 1_200, paymentToken });
      await ordering.settled();
      return orderId;
    },
    async retryAll() {
      await operations(payment).failures.retry({});
      await payment.settled();
    },
    async [Symbol.asyncDispose]() {
      await ordering.stop();
      await payment.stop();
      books.close();
    },
  };
}
