/** The saga's process dies at each point of each of its steps in turn; afterwards it has ended, and left nothing. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crashPoints, createTestBus } from 'waybill/testing';
import { operations } from 'waybill/operations';
import { memory } from 'waybill/transports/memory';
import { AuthorizePayment, OrderCancelled, OrderPaid, OrderSubmitted, ReleaseStock, ReserveStock, StockConfirmed, StockRejected, VoidPayment, orderProcess } from './support/order-process.ts';
import { overStores } from './support/stores.ts';

const o1 = { orderId: 'o1' };
/** The richest conversation has a death at each time that a point is reached (heartbeats are sent for ever); the others at the first two. */
const timesMax = ({ status, did }: Conversation): number => (status === 'compensated' && did.length === 4 ? 5 : 2);
/** What no saga reaches where nothing fails. */
const points = crashPoints.filter((point) => !/once|failures/.test(point));
/** Of the whole order, and of its payment: longer than it takes until another process may send (its lease). */
const [graceMs, paymentMs] = [8_000, 6_000];
/** Of a whole conversation, in real time: one that hangs fails by name. */
const patience = { timeout: 20_000 };

/** What the other services do, and how it must end. */
const conversations = {
  approved: { stock: 'confirms', pays: { approved: true }, status: 'completed', did: ['reserve', 'authorize'], said: [OrderPaid] },
  declined: { stock: 'confirms', pays: { approved: false }, status: 'compensated', did: ['reserve', 'authorize', 'void', 'release'], said: [OrderCancelled] },
  rejected: { stock: 'rejects', pays: { approved: true }, status: 'compensated', did: ['reserve', 'release'], said: [OrderCancelled] },
  silent: { stock: 'says nothing', pays: { approved: true }, status: 'compensated', did: ['reserve', 'release'], said: [OrderCancelled] },
} as const;

const names = new Map([[ReserveStock.type, 'reserve'], [AuthorizePayment.type, 'authorize'], [VoidPayment.type, 'void'], [ReleaseStock.type, 'release']]); // prettier-ignore

type Conversation = (typeof conversations)[keyof typeof conversations];

/** @returns whether the process died */
async function converse(store: string, of: Conversation, crash?: { point: (typeof crashPoints)[number]; nth: number }): Promise<boolean> {
  const transport = memory();
  await using ordering = createTestBus({ service: 'ordering', store, transport });
  await using others = createTestBus({ service: 'stock', store, transport });
  await using payment = createTestBus({ service: 'payment', store, transport });
  const did: string[] = [];
  others.handle(ReserveStock, async (order, ctx) => {
    ctx.afterCommit(() => void did.push('reserve'));
    if (of.stock === 'confirms') await ctx.publish(StockConfirmed, order);
    if (of.stock === 'rejects') await ctx.publish(StockRejected, order);
  });
  others.handle(ReleaseStock, (_, ctx) => ctx.afterCommit(() => void did.push('release')));
  payment.handle(AuthorizePayment, (_, ctx) => {
    ctx.afterCommit(() => void did.push('authorize'));
    return of.pays;
  });
  payment.handle(VoidPayment, (_, ctx) => ctx.afterCommit(() => void did.push('void')));
  ordering.run(orderProcess({ graceMs, paymentMs }));
  await ordering.settled();
  if (crash) ordering.crashAfter(crash.point, crash.nth);
  // The client asks again until it hears; the order's id makes both the same message.
  for (let tries = 0; tries < 2; tries++) {
    void ordering.publish(OrderSubmitted, o1, { id: 'submitted', delayMs: 10 }).catch(() => {});
    await ordering.advance(100);
  }
  await ordering.advance(graceMs + 4_000);
  await ordering.settled();
  const [saga] = await operations(ordering).sagas.list();
  assert.equal(saga?.status, of.status);
  const byName = (one: string, other: string): number => one.localeCompare(other);
  assert.deepEqual(did.toSorted(byName), of.did.toSorted(byName), 'each once');
  const sent = (await operations(ordering).outbox.list()).flatMap(({ type }) => names.get(type) ?? []);
  assert.deepEqual(sent, of.did, 'taken back in reverse');
  for (const said of [OrderPaid, OrderCancelled]) assert.deepEqual(ordering.published(said), (of.said as readonly unknown[]).includes(said) ? [o1] : []);
  for (const bus of [ordering, others, payment]) {
    assert.deepEqual(await bus.failures(), []);
    assert.deepEqual(await operations(bus).waiting.list(), []);
    assert.equal((await operations(bus).status()).ready, 0);
  }
  return ordering.history().some(({ signal }) => signal === 'crashed');
}

overStores('a saga whose process dies', (store) => {
  for (const [name, of] of Object.entries(conversations)) {
    if (store !== 'memory:' && name !== 'declined') continue; // the richest
    describe(name, () => {
      it('ends as it should where nothing happens', patience, async () => {
        await converse(store, of);
      });
      for (const point of points) {
        it(`at '${point}', whichever time, ends all the same`, { timeout: 5 * patience.timeout }, async (t) => {
          let nth = 1;
          while (nth <= timesMax(of) && (await converse(store, of, { point, nth }))) nth++;
          t.diagnostic(`${nth - 1} times`);
        });
      }
    });
  }
});
