/** Commands, replies and requests. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { defineCommand, defineEvent, Reject, WaybillError } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { CreateOrder, Noted, Ship } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

const code = (expected: string) => (error: unknown) => WaybillError.is(error, expected as never) || assert.fail(`${String(error)}, not ${expected}`);

overStores('a command', (store) => {
  it('goes to the one service that handles it', async () => {
    const transport = memory();
    await using shop = createTestBus({ service: 'shop', store, transport });
    await using orders = createTestBus({ service: 'orders', store, transport });
    await using other = createTestBus({ service: 'other', store, transport });
    const seen: string[] = [];
    orders.handle(Ship, (command, ctx) => void seen.push(`${command.orderId} from ${ctx.message.source}`));
    await shop.send(Ship, { orderId: 'o1' });
    await shop.settled();
    assert.deepEqual(seen, ['o1 from shop']);
    assert.deepEqual(shop.sent(Ship), [{ orderId: 'o1' }]);
    assert.deepEqual(other.sent(Ship), []);
  });

  it('is handled once by two instances of its service', async () => {
    const transport = memory();
    await using shop = createTestBus({ service: 'shop', store, transport });
    await using one = createTestBus({ service: 'orders', store, transport });
    await using two = createTestBus({ service: 'orders', store, transport });
    const seen: string[] = [];
    one.handle(Ship, (command) => void seen.push(command.orderId));
    two.handle(Ship, (command) => void seen.push(command.orderId));
    await shop.publishAll(Array.from({ length: 20 }, (_, i) => Ship.of({ orderId: String(i).padStart(2, '0') })));
    await shop.settled();
    assert.deepEqual(seen.toSorted(), Array.from({ length: 20 }, (_, i) => String(i).padStart(2, '0')));
  });

  it("that no queue takes is a row in the sender's failures, and is sent again when it is retried", async () => {
    const transport = memory();
    await using shop = createTestBus({ service: 'shop', store, transport });
    await shop.send(Ship, { orderId: 'o1' });
    await shop.settled();
    const [failure] = await shop.failures();
    assert.equal(failure!.error.code, 'UNROUTABLE');
    assert.equal(failure!.subscription, undefined);
    assert.equal(Buffer.from(failure!.message.body).toString(), '{"orderId":"o1"}');
    assert.ok(shop.history().some(({ signal }) => signal === 'unroutable'));
    assert.deepEqual((await operations(shop).outbox.list()).map(({ state }) => state), ['failed']);

    await using orders = createTestBus({ service: 'orders', store, transport });
    const seen: string[] = [];
    orders.handle(Ship, (command) => void seen.push(command.orderId));
    await orders.start();
    await operations(shop).failures.retry({ subscription: null });
    await shop.settled();
    assert.deepEqual(seen, ['o1']);
    assert.deepEqual(await shop.failures(), []);
  });

  it('is for the service that `to` names', async () => {
    const Charge = defineCommand('payments.charge', { schema: z.object({}), to: 'bank' });
    const transport = memory();
    await using shop = createTestBus({ service: 'shop', store, transport });
    await using bank = createTestBus({ service: 'bank', store, transport });
    await using payments = createTestBus({ service: 'payments', store, transport });
    let runs = 0;
    bank.handle(Charge, () => void runs++);
    assert.throws(() => payments.handle(Charge, () => {}), code('INVALID_OPTION'));
    await shop.send(Charge, {});
    await shop.settled();
    assert.equal(runs, 1);
  });
});

overStores('a request', (store) => {
  it('gets the reply of the handler', async () => {
    const transport = memory();
    await using shop = createTestBus({ service: 'shop', store, transport });
    await using orders = createTestBus({ service: 'orders', store, transport });
    orders.handle(CreateOrder, (command) => ({ orderId: `order for ${command.amount}` }));
    assert.deepEqual(await shop.request(CreateOrder, { product: 'p', amount: 3 }, { timeoutMs: 5_000 }), { orderId: 'order for 3' });
  });

  for (const transaction of ['shared', 'own', 'manual'] as const) {
    it(`gets the reply of a handler with transaction '${transaction}', of its own service too`, async () => {
      await using orders = createTestBus({ service: 'orders', store });
      orders.handle(CreateOrder, { transaction }, async () => ({ orderId: 'o1' }));
      assert.deepEqual(await orders.request(CreateOrder, { product: 'p', amount: 3 }, { timeoutMs: 5_000 }), { orderId: 'o1' });
    });
  }

  it('gets nothing from a command without reply, once it has been handled', async () => {
    await using orders = createTestBus({ service: 'orders', store });
    let runs = 0;
    orders.handle(Ship, () => void runs++);
    assert.equal(await orders.request(Ship, { orderId: 'o1' }, { timeoutMs: 5_000 }), undefined);
    assert.equal(runs, 1);
  });

  it('gets the reply of a later run when the first ones failed', async () => {
    await using orders = createTestBus({ service: 'orders', store });
    orders.handle(CreateOrder, (_, ctx) => {
      if (ctx.attempt < 5) throw new Error('not yet');
      return { orderId: `run ${ctx.attempt}` };
    });
    const reply = orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 60_000 });
    await orders.advance(30_000);
    assert.deepEqual(await reply, { orderId: 'run 5' });
  });

  it('fails with REPLY_FAILED and the code, once the handler has given up', async () => {
    await using orders = createTestBus({ service: 'orders', store });
    orders.handle(CreateOrder, () => {
      throw new Reject('none left', { code: 'OUT_OF_STOCK' });
    });
    const error: any = await orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 5_000 }).catch((e: unknown) => e);
    assert.ok(WaybillError.is(error, 'REPLY_FAILED'));
    assert.equal((error.cause as { code: string }).code, 'OUT_OF_STOCK');
    assert.match(error.message, /none left/);
    assert.equal((await orders.failures()).length, 1);
  });

  it('fails when the handler\'s reply does not fit the contract, and the command is parked', async () => {
    await using orders = createTestBus({ service: 'orders', store });
    orders.handle(CreateOrder, () => ({ wrong: true }) as never);
    await assert.rejects(orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 5_000 }), code('REPLY_FAILED'));
    assert.deepEqual((await orders.failures()).map(({ error }) => error.code), ['CONTRACT_VIOLATION']);
  });

  it('hears at once when a manual handler, after its transaction, returns a reply that does not fit', async () => {
    await using orders = createTestBus({ service: 'orders', store });
    let runs = 0;
    orders.handle(CreateOrder, { transaction: 'manual' }, async (_, ctx) => {
      runs++;
      await ctx.transaction(async () => {});
      return { wrong: true } as never;
    });
    await assert.rejects(orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 5_000 }), code('REPLY_FAILED'));
    assert.equal(runs, 1);
  });

  it('ends with REPLY_TIMEOUT, and a reply that comes later is counted and thrown away', async () => {
    await using orders = createTestBus({ service: 'orders', store });
    let broken = true;
    orders.handle(CreateOrder, () => {
      if (broken) throw new Error('no');
      return { orderId: 'o1' };
    });
    const failed = assert.rejects(orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 500 }), code('REPLY_TIMEOUT'));
    await orders.advance(500);
    await failed;
    broken = false;
    await orders.advance(60_000);
    // The command had a time to live: nobody waits for what it would do.
    assert.deepEqual(await orders.failures(), []);
  });

  it('ends with the reason of its signal', async () => {
    await using orders = createTestBus({ service: 'orders', store });
    orders.handle(CreateOrder, () => new Promise(() => {}));
    const abort = new AbortController();
    const asked = orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 5_000, signal: abort.signal });
    const reason = new Error('the user left');
    queueMicrotask(() => abort.abort(reason));
    await assert.rejects(asked, (error) => error === reason);
    const gone = new AbortController();
    gone.abort(reason);
    await assert.rejects(orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 5_000, signal: gone.signal }), (error) => error === reason);
  });

  it('that nobody can take ends with REPLY_TIMEOUT, and the command is in failures', async () => {
    await using shop = createTestBus({ service: 'shop', store });
    const failed = assert.rejects(shop.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 1_000 }), code('REPLY_TIMEOUT'));
    await shop.advance(1_000);
    await failed;
    assert.deepEqual((await shop.failures()).map(({ error }) => error.code), ['UNROUTABLE']);
  });

  it('needs a time limit, and a command', async () => {
    await using shop = createTestBus({ service: 'shop', store });
    for (const timeoutMs of [undefined, 0, -1, Number.NaN, Infinity, '5' as never]) {
      await assert.rejects(shop.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs } as never), code('INVALID_OPTION'));
    }
    await assert.rejects(shop.request(CreateOrder, { product: 'p', amount: 1 }, undefined as never), code('INVALID_OPTION'));
    await assert.rejects(shop.request(Noted as never, { text: 'a' } as never, { timeoutMs: 1 }), code('INVALID_CONTRACT'));
    await shop.settled();
    assert.deepEqual(shop.messages(), []);
  });

  it('that is asked twice under one id is handled once', async () => {
    await using orders = createTestBus({ service: 'orders', store });
    let runs = 0;
    orders.handle(Ship, () => void runs++);
    await orders.send(Ship, { orderId: 'o1' }, { id: 'same' });
    await orders.send(Ship, { orderId: 'o1' }, { id: 'same' });
    await orders.settled();
    assert.equal(runs, 1);
  });

  it('is let go with STOPPED when the bus stops', async () => {
    const orders = createTestBus({ service: 'orders', store });
    const asked = orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 5_000 });
    const heard = asked.then(
      () => 'a reply',
      (error: WaybillError) => error.code,
    );
    await orders.settled();
    await orders.stop();
    assert.equal(await heard, 'STOPPED');
  });

  it('is refused when 10,000 wait already', async () => {
    await using shop = createTestBus({ service: 'shop', store });
    const all = Array.from({ length: 10_001 }, () => shop.request(Ship, { orderId: 'o' }, { timeoutMs: 1_000 }).then(() => 'ok', (error: WaybillError) => error.message));
    assert.match(await all.at(-1)!, /10000 requests wait/);
    await shop.advance(1_000);
    await Promise.all(all);
  });
});

overStores('a reply', (store) => {
  it('is what the schema made of it', async () => {
    const Ask = defineCommand('orders.ask', {
      schema: z.object({}),
      reply: z.object({ at: z.iso.datetime().transform((text) => new Date(text)), secret: z.string().optional() }),
    });
    await using orders = createTestBus({ service: 'orders', store });
    orders.handle(Ask, () => ({ at: '2030-01-01T00:00:00Z' }));
    assert.deepEqual(await orders.request(Ask, {}, { timeoutMs: 1_000 }), { at: new Date('2030-01-01T00:00:00Z') });
  });

  it('is sent only if the handler\'s transaction commits', async () => {
    await using orders = createTestBus({ service: 'orders', store });
    const Done = defineEvent('orders.done', { schema: z.object({}) });
    orders.handle(CreateOrder, { retry: false }, async (_, ctx) => {
      await ctx.publish(Done, {});
      return { orderId: 'o1' };
    });
    orders.crashAfter('before inbox.commit');
    const asked = orders.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 5_000 });
    void asked;
    await orders.settled();
    assert.equal(orders.published(Done).length, 1);
  });
});

overStores('a chain of causes', (store) => {
  const Ping = defineEvent('desk.ping', { schema: z.object({ n: z.number() }) });
  const Pong = defineEvent('desk.pong', { schema: z.object({ n: z.number() }) });

  it('ends at the limit, in failures, when two handlers answer each other', async () => {
    const transport = memory();
    await using one = createTestBus({ service: 'one', store, transport, hopsMax: 10 });
    await using two = createTestBus({ service: 'two', store, transport });
    two.subscribe(Ping, async ({ n }, ctx) => void (await ctx.publish(Pong, { n: n + 1 })));
    one.subscribe(Pong, async ({ n }, ctx) => void (await ctx.publish(Ping, { n: n + 1 })));
    await one.publish(Ping, { n: 0 });
    await one.settled();
    assert.deepEqual((await one.failures()).map(({ error, attempts, message }) => [error.code, attempts, message.type]), [['HOP_LIMIT', 1, Pong.type]]);
    assert.deepEqual(two.published(Pong).at(-1), { n: 11 });
    assert.deepEqual(one.published(Ping).at(-1), { n: 10 });
  });

  it('may go on for ever with a pause', async () => {
    await using desk = createTestBus({ service: 'desk', store, hopsMax: 2 });
    desk.subscribe(Ping, async ({ n }, ctx) => void (await ctx.publish(Ping, { n: n + 1 }, { delayMs: 1_000 })));
    await desk.publish(Ping, { n: 0 });
    await desk.advance(5_500);
    assert.deepEqual(await desk.failures(), []);
    assert.deepEqual(desk.published(Ping).at(-1), { n: 5 });
  });
});
