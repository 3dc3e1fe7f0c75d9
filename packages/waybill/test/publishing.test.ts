/** What publish, send and publishAll write, and when it leaves. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type HandlerContext, type Message, createBus, defineEvent, WaybillError } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { CreateOrder, Noted, Priced, Renamed, Seen, Ship } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

const code = (expected: string) => (error: unknown) => WaybillError.is(error, expected as never) || assert.fail(`${String(error)}, not ${expected}`);

overStores('publish', (store) => {
  it('writes with the transaction that it is given, or not at all', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await assert.rejects(
      bus.transaction(async (tx) => {
        await bus.publish(Noted, { text: 'undone' }, { tx });
        throw new Error('changed my mind');
      }),
      /changed my mind/,
    );
    await bus.transaction(async (tx) => void (await bus.publish(Noted, { text: 'kept' }, { tx })));
    await bus.settled();
    assert.deepEqual(bus.published(Noted), [{ text: 'kept' }]);
  });

  it('answers with the id that the caller chose, or a rising UUIDv7', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    assert.equal((await bus.publish(Noted, { text: 'a' }, { id: 'request-1' })).id, 'request-1');
    const { id: first } = await bus.publish(Noted, { text: 'b' });
    const { id: second } = await bus.publish(Noted, { text: 'c' });
    assert.match(first, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.ok(first < second);
  });

  it('under one id twice has its effect once', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    bus.subscribe(Noted, () => void runs++);
    await bus.publish(Noted, { text: 'a' }, { id: 'request-1' });
    await bus.publish(Noted, { text: 'a' }, { id: 'request-1' });
    await bus.settled();
    assert.equal(runs, 1);
  });

  it('keeps the order of calls within a transaction and between them', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.transaction(async (tx) => {
      await bus.publish(Noted, { text: '1' }, { tx });
      await bus.publish(Noted, { text: '2' }, { tx });
    });
    await Promise.all(['3', '4', '5'].map((text) => bus.publish(Noted, { text })));
    await bus.publishAll([Noted.of({ text: '6' }), Noted.of({ text: '7' })]);
    await bus.settled();
    assert.deepEqual(seen, ['1', '2', '3', '4', '5', '6', '7']);
  });

  it('takes events and commands mixed, with options of their own, in publishAll', async () => {
    await using bus = createTestBus({ service: 'orders', store });
    const seen: string[] = [];
    bus.handle(Ship, (command) => void seen.push(`ship ${command.orderId}`));
    bus.subscribe(Noted, (event, ctx) => void seen.push(`${event.text} ${ctx.message.headers.who}`));
    const published = await bus.publishAll([
      Noted.of({ text: 'a' }, { headers: { who: 'ann' }, id: 'n1' }),
      Ship.of({ orderId: 'o1' }),
      Noted.of({ text: 'later' }, { delayMs: 5_000, headers: { who: 'bob' } }),
    ]);
    assert.equal(published[0]!.id, 'n1');
    assert.equal(published.length, 3);
    await bus.settled();
    assert.deepEqual(seen.toSorted(), ['a ann', 'ship o1']);
    await bus.advance(5_000);
    assert.deepEqual(seen.toSorted(), ['a ann', 'later bob', 'ship o1']);
  });

  it('writes all of publishAll or, if one is refused, nothing', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await assert.rejects(bus.publishAll([Noted.of({ text: 'a' }), Noted.of({ text: 7 } as never)]), code('CONTRACT_VIOLATION'));
    await bus.settled();
    assert.deepEqual(bus.messages(), []);
  });

  it('takes an empty publishAll', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    assert.deepEqual(await bus.publishAll([]), []);
  });

  it('works before start: the row waits for the relay', async () => {
    await using bus = createTestBus({ service: 'desk', store, autoStart: false });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.publish(Noted, { text: 'early' });
    assert.deepEqual(seen, []);
    await bus.start();
    await bus.settled();
    assert.deepEqual(seen, ['early']);
  });

  it("leaves the sending to others with relay 'off'", async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, transport, relay: 'off' });
    await using other = createTestBus({ service: 'other', store, transport });
    const seen: string[] = [];
    other.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.publish(Noted, { text: 'a' });
    await bus.publish(Noted, { text: 'delayed' }, { delayMs: 100 });
    await bus.advance(10_000);
    assert.deepEqual(seen, []);
    assert.deepEqual(bus.published(Noted), [{ text: 'a' }]);
    assert.deepEqual((await operations(bus).outbox.list()).map(({ type }) => type), ['desk.noted.v1']);
  });

  it('does not hold back the caller while the broker is away, and loses nothing', async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, transport });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.start();
    transport.faults.set({ away: true });
    for (const text of ['a', 'b', 'c']) await bus.publish(Noted, { text });
    await bus.advance(20_000);
    assert.deepEqual(seen, []);
    assert.ok(bus.history().some(({ signal }) => signal === 'relay-paused'));
    transport.faults.clear();
    await bus.advance(60_000);
    assert.deepEqual(seen, ['a', 'b', 'c']);
    assert.deepEqual(await bus.failures(), []);
  });

  it('counts nothing as sent whose answer was lost, and sends it again under the same id', async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, transport });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.start();
    transport.faults.set({ away: 'after-storing' });
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(1_000);
    transport.faults.clear();
    await bus.advance(60_000);
    assert.deepEqual(seen, ['a']);
    assert.ok(bus.history().some(({ signal }) => signal === 'duplicate'));
  });

  it('parks what the broker refuses for good, with its bytes, and sends the rest', async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, transport });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.start();
    transport.faults.set({ refuse: (message) => (Buffer.from(message.body).includes('bad') ? 'not this one' : undefined) });
    await bus.publishAll(['a', 'bad', 'b'].map((text) => Noted.of({ text })));
    await bus.settled();
    assert.deepEqual(seen, ['a', 'b']);
    const [failure] = await bus.failures();
    assert.equal(failure!.subscription, undefined);
    assert.equal(failure!.error.code, 'TRANSPORT_REFUSED');
    assert.equal(Buffer.from(failure!.message.body).toString(), '{"text":"bad"}');
    transport.faults.clear();
    await operations(bus).failures.retry({});
    await bus.settled();
    assert.deepEqual(seen, ['a', 'b', 'bad']);
  });
});

overStores('a delayed message', (store) => {
  it('leaves when it is due, not before', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const at: number[] = [];
    bus.subscribe(Noted, () => void at.push(bus.clock.monotonic()));
    await bus.publish(Noted, { text: 'a' }, { delayMs: 10_000 });
    await bus.advance(9_999);
    assert.deepEqual(at, []);
    await bus.advance(1);
    assert.deepEqual(at, [10_000]);
  });

  it('waits until a point in time; one that has passed is now', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.publish(Noted, { text: 'then' }, { deliverAt: new Date(bus.clock.now() + 5_000) });
    await bus.publish(Noted, { text: 'past' }, { deliverAt: new Date(bus.clock.now() - 5_000) });
    await bus.settled();
    assert.deepEqual(seen, ['past']);
    await bus.advance(5_000);
    assert.deepEqual(seen, ['past', 'then']);
  });

  it('is taken back by cancel, once', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const { id } = await bus.publish(Noted, { text: 'a' }, { delayMs: 10_000 });
    assert.equal(await bus.cancel(id), true);
    assert.equal(await bus.cancel(id), false);
    await bus.advance(20_000);
    assert.deepEqual(bus.published(Noted), []);
  });

  it('is not taken back by a cancel whose transaction is undone', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const { id } = await bus.publish(Noted, { text: 'a' }, { delayMs: 10_000 });
    await assert.rejects(
      bus.transaction(async (tx) => {
        assert.equal(await bus.cancel(id, { tx }), true);
        throw new Error('undo');
      }),
    );
    await bus.advance(20_000);
    assert.equal(bus.published(Noted).length, 1);
  });

  it('cannot be taken back once it has left', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const { id } = await bus.publish(Noted, { text: 'a' }, { delayMs: 1_000 });
    await bus.advance(1_000);
    assert.equal(await bus.cancel(id), false);
    assert.equal(await bus.cancel('unknown'), false);
  });

  it('is never sent for a transaction that was undone', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await assert.rejects(
      bus.transaction(async (tx) => {
        await bus.publish(Noted, { text: 'a' }, { tx, delayMs: 1_000 });
        throw new Error('undo');
      }),
    );
    await bus.advance(5_000);
    assert.deepEqual(bus.published(Noted), []);
  });

  it('survives the process', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.publish(Noted, { text: 'a' }, { delayMs: 10_000 });
    await bus.advance(5_000);
    bus.crash();
    await bus.advance(5_000);
    assert.deepEqual(seen, ['a']);
  });
});

overStores('ttlMs', (store) => {
  it('keeps a message that is too late from being applied, with a signal', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    const subscription = bus.subscribe(Noted, (event) => void seen.push(event.text));
    await bus.start();
    await subscription.pause();
    await bus.publish(Noted, { text: 'short' }, { ttlMs: 1_000 });
    await bus.publish(Noted, { text: 'long' }, { ttlMs: 100_000 });
    await bus.advance(2_000);
    await subscription.resume();
    await bus.settled();
    assert.deepEqual(seen, ['long']);
    assert.equal(bus.history().filter(({ signal }) => signal === 'expired').length, 1);
    assert.deepEqual(await bus.failures(), []);
  });

  it('ends the retries of a message', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    bus.subscribe(Noted, () => {
      runs++;
      throw new Error('no');
    });
    await bus.publish(Noted, { text: 'a' }, { ttlMs: 2_000 });
    await bus.advance(60_000);
    assert.ok(runs <= 4, `${runs} runs`);
    assert.equal((await operations(bus).waiting.list()).length, 0);
  });
});

overStores('headers', (store) => {
  it('travel with the message; those that propagate go on to what it causes', async () => {
    await using bus = createTestBus({ service: 'desk', store, propagate: ['tenant', 'user'] });
    const headers: Message['headers'][] = [];
    bus.subscribe(Noted, (event, ctx) => void ctx.publish(Seen, { what: event.text }, { headers: { own: 'x' } }));
    bus.subscribe(Seen, (_, ctx) => void headers.push({ ...ctx.message.headers }));
    await bus.publish(Noted, { text: 'a' }, { headers: { tenant: 'acme', other: 'stays' } });
    await bus.settled();
    assert.deepEqual(headers, [{ tenant: 'acme', own: 'x' }]);
  });

  it('may hold any text: umlauts, quotes, emoji', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let seen: string | undefined;
    bus.subscribe(Noted, (_, ctx) => {
      seen = ctx.message.headers.name;
    });
    await bus.publish(Noted, { text: 'a' }, { headers: { name: 'Jürgen "J" Müßig 🚚 %41 \\' } });
    await bus.settled();
    assert.equal(seen, 'Jürgen "J" Müßig 🚚 %41 \\');
  });
});

overStores('middleware', (store) => {
  it('changes headers at publish, and wraps each run of a handler, first to last', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const order: string[] = [];
    bus.use({
      publish: (message, next) => next({ ...message, headers: { ...message.headers, tenant: 'acme' } }),
      handle: async (ctx, next) => {
        order.push(`outer ${ctx.message.headers.tenant}`);
        await next();
        order.push('outer end');
      },
    });
    bus.use({
      handle: async (_, next) => {
        order.push('inner');
        await next();
        order.push('inner end');
      },
    });
    bus.subscribe(Noted, () => void order.push('handler'));
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(order, ['outer acme', 'inner', 'handler', 'inner end', 'outer end']);
  });

  it('that throws fails the publish, or the run', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.use({
      publish: (message, next) => (message.headers.forbidden ? Promise.reject(new Error('not allowed')) : next(message)),
      handle: (ctx, next) => (ctx.message.headers.bad ? Promise.reject(new Error('not handled')) : next()),
    });
    let runs = 0;
    bus.subscribe(Noted, { retry: false }, () => void runs++);
    await assert.rejects(bus.publish(Noted, { text: 'a' }, { headers: { forbidden: '1' } }), /not allowed/);
    await bus.publish(Noted, { text: 'a' }, { headers: { bad: '1' } });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(runs, 1);
    assert.equal(bus.published(Noted).length, 2);
    assert.deepEqual((await bus.failures()).map(({ error }) => error.message), ['not handled']);
  });

  it('that changes more than headers changes nothing else', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.use({ publish: (message, next) => next({ ...message, id: 'forged', source: 'elsewhere', type: 'other.v1', data: { text: 'b' } }) });
    let seen: HandlerContext['message'] | undefined;
    bus.subscribe(Noted, (event, ctx) => {
      assert.equal(event.text, 'a');
      seen = ctx.message;
    });
    const { id } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual([seen?.id, seen?.source, seen?.type], [id, 'desk', 'desk.noted.v1']);
  });

  it('that does not go on is an error, not a message that silently never was', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.use({ publish: async () => {} });
    await assert.rejects(bus.publish(Noted, { text: 'a' }), code('INVALID_OPTION'));
  });

  it('that adds a header no message may have is refused', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.use({ publish: (message, next) => next({ ...message, headers: { 'ce-id': 'forged' } }) });
    await assert.rejects(bus.publish(Noted, { text: 'a' }), code('INVALID_HEADER'));
  });

  it('that swallows a handler, by not going on, applies the message', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    bus.use({ handle: async () => {} });
    bus.subscribe(Noted, () => void runs++);
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(runs, 0);
    assert.ok(bus.history().some(({ signal }) => signal === 'applied'));
  });
});

overStores('requireTransaction', (store) => {
  it('refuses a publish without tx anywhere, and takes one that says own', async () => {
    await using bus = createTestBus({ service: 'desk', store, requireTransaction: true });
    await assert.rejects(bus.publish(Noted, { text: 'a' }), code('TX_MISSING'));
    await assert.rejects(bus.send(CreateOrder, { product: 'p', amount: 1 }), code('TX_MISSING'));
    await assert.rejects(bus.publishAll([Noted.of({ text: 'a' })]), code('TX_MISSING'));
    await bus.publish(Noted, { text: 'b' }, { tx: 'own' });
    await bus.transaction(async (tx) => void (await bus.publish(Noted, { text: 'c' }, { tx })));
    await bus.settled();
    assert.deepEqual(bus.published(Noted), [{ text: 'b' }, { text: 'c' }]);
  });

  it('is off for a store given by URL', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.publish(Noted, { text: 'a' });
  });
});

overStores('lockKey', (store) => {
  it('holds a contract\'s key until the end of the transaction', async () => {
    await using bus = createTestBus({ service: 'catalog', store });
    await bus.transaction(async (tx) => {
      await bus.lockKey(Renamed, { id: 'p', name: 'n' }, { tx });
      await bus.publish(Renamed, { id: 'p', name: 'n' }, { tx });
    });
    await bus.settled();
    assert.equal(bus.published(Renamed).length, 1);
  });

  it('refuses a contract without key, data that does not fit, and what is no transaction', async () => {
    await using bus = createTestBus({ service: 'catalog', store });
    await bus.transaction(async (tx) => {
      await assert.rejects(bus.lockKey(Noted as never, { text: 'a' }, { tx }), code('INVALID_CONTRACT'));
      await assert.rejects(bus.lockKey(Renamed, { id: 7 } as never, { tx }), code('CONTRACT_VIOLATION'));
    });
    await assert.rejects(bus.lockKey(Renamed, { id: 'p', name: 'n' }, { tx: {} as never }), code('NOT_A_TRANSACTION'));
    await assert.rejects(bus.lockKey(Renamed, { id: 'p', name: 'n' }, {} as never), code('NOT_A_TRANSACTION'));
  });
});

overStores('the data', (store) => {
  it('is what the schema made of it: handlers get the output, the wire carries the input', async () => {
    const Trimmed = defineEvent('desk.trimmed', {
      schema: z.object({ name: z.string().trim(), at: z.iso.datetime().transform((text) => new Date(text)), colour: z.string().default('red') }),
    });
    await using bus = createTestBus({ service: 'desk', store });
    let seen: unknown;
    bus.subscribe(Trimmed, (event) => {
      seen = event;
    });
    await bus.publish(Trimmed, { name: '  a ', at: '2030-01-01T00:00:00Z' });
    await bus.settled();
    assert.deepEqual(seen, { name: 'a', at: new Date('2030-01-01T00:00:00Z'), colour: 'red' });
    assert.equal(Buffer.from(bus.messages()[0]!.body).toString(), '{"name":"  a ","at":"2030-01-01T00:00:00Z"}');
  });

  it('is that of the moment of the call, whatever happens to the object later', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.start();
    const data = { text: '' };
    const headers = { n: '' };
    const calls = [];
    for (const text of ['a', 'b', 'c']) {
      data.text = text;
      headers.n = text;
      calls.push(bus.publish(Noted, data, { headers }));
    }
    data.text = 'changed';
    headers.n = 'changed';
    await Promise.all(calls);
    await bus.settled();
    assert.deepEqual(bus.published(Noted), [{ text: 'a' }, { text: 'b' }, { text: 'c' }]);
    assert.deepEqual(bus.messages().map((message) => message.headers.n), ['a', 'b', 'c']);
  });

  it('that the schema drops is reported by path, and still travels', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const extra: unknown[] = [];
    bus.on('extra-fields', (detail) => extra.push(detail));
    await bus.publish(Noted, { text: 'a', password: 'secret', nested: { deep: 1 } } as never);
    assert.deepEqual(extra, [{ type: 'desk.noted.v1', paths: ['password', 'nested'] }]);
  });

  it('may be validated asynchronously', async () => {
    const Slow = defineEvent('desk.slow', {
      schema: z.object({ text: z.string() }).refine(async () => new Promise<boolean>((resolve) => void setImmediate(() => resolve(true)))),
    });
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    bus.subscribe(Slow, (event) => void seen.push(event.text));
    await bus.publish(Slow, { text: 'a' });
    await bus.settled();
    assert.deepEqual(seen, ['a']);
  });
});

describe('several calls of one turn', () => {
  it('share a commit', async () => {
    await using bus = createTestBus({ service: 'desk' });
    await bus.start();
    await Promise.all(Array.from({ length: 50 }, (_, i) => bus.publish(Noted, { text: String(i) })));
    await bus.settled();
    assert.equal(bus.published(Noted).length, 50);
  });
});

describe('a bus on its own ground', () => {
  it('publishes, handles and stops without a test clock', async () => {
    const transport = memory();
    await using desk = createBus({ service: 'desk', store: 'sqlite::memory:', transport });
    const seen = Promise.withResolvers<string>();
    desk.subscribe(Noted, (event) => seen.resolve(event.text));
    await desk.start();
    const { token } = await desk.publish(Noted, { text: 'a' });
    assert.equal(await seen.promise, 'a');
    assert.equal(await desk.caughtUp(token, { timeoutMs: 10_000 }), true);
  });
});

describe('an event that nobody subscribes to', () => {
  it('counts as sent and is no failure', async () => {
    await using bus = createTestBus({ service: 'desk' });
    await bus.publish(Priced, { id: 'p', price: 1, revision: 1 });
    await bus.settled();
    assert.deepEqual(await bus.failures(), []);
    assert.equal((await operations(bus).status()).ready, 0);
  });
});
