/** Requests that cannot be answered, or are not wanted any more. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { WaybillError } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import { CreateOrder } from '../support/contracts.ts';

const order = { product: 'p', amount: 1 };
const gone = { kind: 'gone', connect: () => Promise.reject(new WaybillError('TRANSPORT_UNREACHABLE', 'the broker is away')) };

it('a request ends in time while the broker has never been there, and does not leave afterwards', async () => {
  let away = true;
  const real = memory();
  const transport = { kind: 'late', connect: (host: Parameters<typeof real.connect>[0]) => (away ? gone.connect() : real.connect(host)) };
  await using bus = createTestBus({ service: 'orders', transport });
  await bus.start();
  const asked = bus.request(CreateOrder, order, { timeoutMs: 500 });
  asked.catch(() => {});
  await bus.advance(500);
  await assert.rejects(asked, { code: 'REPLY_TIMEOUT' });
  away = false;
  await bus.advance(60_000);
  assert.deepEqual(await operations(bus).outbox.list(), []);
});

it('a request that is aborted, or refused, is not sent', async () => {
  await using bus = createTestBus({ service: 'orders' });
  await assert.rejects(bus.request(CreateOrder, order, { timeoutMs: 500, signal: AbortSignal.abort(new Error('enough')) }), /enough/);
  await assert.rejects(bus.request(CreateOrder, order, { timeoutMs: 0 }), { code: 'INVALID_OPTION' });
  await bus.settled();
  assert.deepEqual(bus.messages(), []);
});

it('a request is possible after one that could not listen', async () => {
  const real = memory();
  let troubles = 1;
  const transport = {
    kind: 'unsteady',
    connect: async (host: Parameters<typeof real.connect>[0]) => {
      const session = await real.connect(host);
      const { listen } = session;
      session.listen = (deliver) => (troubles-- > 0 ? Promise.reject(new WaybillError('TRANSPORT_UNREACHABLE', 'away')) : listen(deliver));
      return session;
    },
  };
  await using bus = createTestBus({ service: 'orders', transport });
  bus.handle(CreateOrder, () => ({ orderId: 'o' }));
  await assert.rejects(bus.request(CreateOrder, order, { timeoutMs: 5_000 }), { code: 'TRANSPORT_UNREACHABLE' });
  assert.deepEqual(await bus.request(CreateOrder, order, { timeoutMs: 5_000 }), { orderId: 'o' });
});
