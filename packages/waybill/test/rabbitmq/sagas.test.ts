/** A saga, its replies and its order over a real broker. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type Bus, createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { needs } from '../../../../test/support/needs.ts';
import { AuthorizePayment, OrderPaid, OrderSubmitted, ReserveStock, StockConfirmed, VoidPayment, ReleaseStock, orderProcess } from '../support/order-process.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';

const { skip } = needs('rabbitmq');
const silent = { debug() {}, info() {}, warn() {}, error() {} };

describe('a saga over RabbitMQ', { skip }, () => {
  let server: RabbitServer;
  let folder: string;
  before(async () => {
    server = await rabbitServer();
    folder = await mkdtemp(join(tmpdir(), 'waybill-saga-rabbit-'));
  });
  after(async () => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });

  const busOf = (service: string): Bus => createBus({ service, store: `sqlite:${folder}/${service}.db`, transport: rabbitmq(server.url), logger: silent });
  const until = (bus: Bus, status: string): Promise<void> =>
    new Promise((resolve) => {
      bus.on('saga', (change) => void (change.status === status && resolve()));
    });

  it('completes, although the service that asked was down when the reply was given', async () => {
    const stock = busOf('stock');
    stock.handle(ReserveStock, async ({ orderId }, ctx) => void (await ctx.publish(StockConfirmed, { orderId })));
    stock.handle(ReleaseStock, () => {});
    const payment = busOf('payment');
    payment.handle(VoidPayment, () => {});
    const asked = Promise.withResolvers<void>();
    const mayAnswer = Promise.withResolvers<void>();
    payment.handle(AuthorizePayment, { transaction: 'own' }, async () => {
      asked.resolve();
      await mayAnswer.promise;
      return { approved: true };
    });
    const first = busOf('ordering');
    first.run(orderProcess());
    await Promise.all([stock, payment, first].map((bus) => bus.start()));
    await first.publish(OrderSubmitted, { orderId: 'o1' });
    await asked.promise;
    await first.stop();
    const answered = new Promise<void>((resolve) => {
      payment.on('sent', ({ type }) => void (type.startsWith('waybill.reply.') && resolve()));
    });
    mayAnswer.resolve();
    await answered; // the broker has it, and nobody is there
    const again = busOf('ordering');
    const paid = Promise.withResolvers<string>();
    again.subscribe(OrderPaid, ({ orderId }) => paid.resolve(orderId));
    again.run(orderProcess());
    const completed = until(again, 'completed');
    await again.start();
    assert.equal(await paid.promise, 'o1');
    await completed;
    assert.deepEqual((await operations(again).sagas.list()).map(({ key, status }) => [key, status]), [['o1', 'completed']]);
    for (const bus of [stock, payment, again]) await bus.stop();
  });
});
