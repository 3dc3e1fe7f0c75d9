/** What arrives and is no good: it is parked with its bytes, at once, and its neighbours are applied. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defineEvent } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus, type TestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { Noted, Priced } from './support/contracts.ts';
import { asServer, overStores } from './support/stores.ts';
import { headersOf, stranger } from './support/stranger.ts';

const bytes = (text: string): Buffer => Buffer.from(text);
const bad: readonly [what: string, code: string, message: { body?: Uint8Array; headers?: Record<string, string> }][] = [
  ['no JSON', 'MESSAGE_UNDECODABLE', { body: bytes('{"text":') }],
  ['nothing', 'MESSAGE_UNDECODABLE', { body: bytes('') }],
  ['no UTF-8', 'MESSAGE_UNDECODABLE', { body: Buffer.from([0x7b, 0xff, 0xfe, 0x7d]) }],
  ['larger than the limit', 'MESSAGE_TOO_LARGE', { body: bytes(JSON.stringify({ text: 'x'.repeat(1024 * 1024) })) }],
  ['nested too deeply', 'MESSAGE_TOO_LARGE', { body: bytes(`${'['.repeat(65)}${']'.repeat(65)}`) }],
  ['nested so deeply that a parser would give up', 'MESSAGE_TOO_LARGE', { body: bytes('['.repeat(500_000)) }],
  ['a key that reaches into prototypes', 'MESSAGE_UNDECODABLE', { body: bytes('{"text":"a","__proto__":{"admin":true}}') }],
  ['that key, escaped', 'MESSAGE_UNDECODABLE', { body: bytes('{"text":"a","\\u005f\\u005fproto__":{"admin":true}}') }],
  ['another key that does', 'MESSAGE_UNDECODABLE', { body: bytes('{"text":"a","constructor":{"prototype":{"admin":true}}}') }],
  ['data outside the contract', 'CONTRACT_VIOLATION', { body: bytes('{"text":7}') }],
  ['null', 'CONTRACT_VIOLATION', { body: bytes('null') }],
  ['a list', 'CONTRACT_VIOLATION', { body: bytes('[]') }],
  ['no id', 'MESSAGE_UNDECODABLE', { headers: { ...headersOf('x', 'desk.noted.v1'), 'ce-id': '' } }],
  ['an id without end', 'MESSAGE_UNDECODABLE', { headers: headersOf('x'.repeat(5_000), 'desk.noted.v1') }],
  ['an id with control characters', 'MESSAGE_UNDECODABLE', { headers: headersOf('a\nb', 'desk.noted.v1') }],
  ['no source', 'MESSAGE_UNDECODABLE', { headers: { ...headersOf('x', 'desk.noted.v1'), 'ce-source': '' } }],
  ['a source without end', 'MESSAGE_UNDECODABLE', { headers: { ...headersOf('x', 'desk.noted.v1'), 'ce-source': 's'.repeat(5_000) } }],
  ['no headers', 'MESSAGE_UNDECODABLE', { headers: {} }],
  ['another version of CloudEvents', 'MESSAGE_UNDECODABLE', { headers: { ...headersOf('x', 'desk.noted.v1'), 'ce-specversion': '0.3' } }],
  ['a time that is none', 'MESSAGE_UNDECODABLE', { headers: headersOf('x', 'desk.noted.v1', { 'ce-time': 'yesterday' }) }],
  ['an end of life that is no time', 'MESSAGE_UNDECODABLE', { headers: headersOf('x', 'desk.noted.v1', { 'ce-waybillexpires': 'soon' }) }],
  ['a kind that is none', 'MESSAGE_UNDECODABLE', { headers: headersOf('x', 'desk.noted.v1', { 'ce-waybillkind': 'rumour' }) }],
  ['a sequence that is no number', 'MESSAGE_UNDECODABLE', { headers: headersOf('x', 'desk.noted.v1', { 'ce-sequence': 'first' }) }],
  ['a key without end', 'MESSAGE_UNDECODABLE', { headers: headersOf('x', 'desk.noted.v1', { 'ce-partitionkey': 'k'.repeat(5_000) }) }],
  ['too many headers', 'MESSAGE_TOO_LARGE', { headers: headersOf('x', 'desk.noted.v1', Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`h${i}`, 'v']))) }],
  ['headers that are too large', 'MESSAGE_TOO_LARGE', { headers: headersOf('x', 'desk.noted.v1', { big: 'v'.repeat(20_000) }) }],
  ['a header that is no text', 'MESSAGE_UNDECODABLE', { headers: headersOf('x', 'desk.noted.v1', { 'ce-id': 7 as never }) }],
];

overStores('a message that arrives with', (store) => {
  for (const [what, code, message] of bad) {
    it(`${what} is parked at once, as ${code}, with its bytes; its neighbours are applied`, async () => {
      const transport = memory();
      await using bus = createTestBus({ service: 'desk', store, transport });
      const seen: string[] = [];
      bus.subscribe(Noted, (event) => void seen.push(event.text));
      await bus.start();
      const other = await stranger(transport);
      await other.send({ body: bytes('{"text":"before"}') });
      await other.send(message);
      await other.send({ body: bytes('{"text":"after"}') });
      await bus.settled();
      assert.deepEqual(seen, ['before', 'after']);
      const [failure, ...more] = await bus.failures();
      assert.deepEqual(more, []);
      assert.equal(failure!.error.code, code);
      assert.equal(failure!.subscription, 'desk.desk.noted');
      assert.deepEqual(Buffer.from(failure!.message.body), Buffer.from(message.body ?? bytes('{"text":"strange"}')));
      if (message.headers) assert.deepEqual({ ...failure!.message.headers }, message.headers);
      assert.ok(failure!.error.message.length < 2_000, 'a message of bounded length');
      assert.equal(({} as { admin?: unknown }).admin, undefined);
      assert.deepEqual(bus.history().filter(({ signal }) => signal === 'retrying'), []);
      // It can be looked at, retried (and is parked again, once) and deleted.
      await operations(bus).failures.retry({});
      await bus.advance(5_000);
      assert.equal((await bus.failures()).length, 1);
      await operations(bus).failures.delete({});
      assert.deepEqual(await bus.failures(), []);
    });
  }

  it('nothing readable twice is parked once', async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, transport });
    bus.subscribe(Noted, () => {});
    await bus.start();
    const other = await stranger(transport);
    await other.send({ headers: {}, body: bytes('rubbish') });
    await other.send({ headers: {}, body: bytes('rubbish') });
    await other.send({ headers: {}, body: bytes('other rubbish') });
    await bus.settled();
    assert.deepEqual((await bus.failures()).map(({ message }) => Buffer.from(message.body).toString()), ['rubbish', 'other rubbish']);
  });

  it('a header of a hostile name reaches the handler as a header, and nothing else', async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, transport });
    let headers: Record<string, string> | undefined;
    bus.subscribe(Noted, (_, ctx) => {
      headers = ctx.message.headers;
    });
    await bus.start();
    const hostile = JSON.parse(`{"__proto__":"p","constructor":"c","hasownproperty":"h"}`) as Record<string, string>;
    await (await stranger(transport)).send({ headers: Object.defineProperties(headersOf('x', 'desk.noted.v1'), Object.getOwnPropertyDescriptors(hostile)) });
    await bus.settled();
    assert.deepEqual(Object.entries(headers!), [['__proto__', 'p'], ['constructor', 'c'], ['hasownproperty', 'h']]);
    assert.equal(({} as { p?: unknown }).p, undefined);
  });

  it('an id that has been seen from another source is another message', async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, transport });
    let runs = 0;
    bus.subscribe(Noted, () => void runs++);
    await bus.publish(Noted, { text: 'a' }, { id: 'same' });
    await (await stranger(transport)).send({ id: 'same' });
    await bus.settled();
    assert.equal(runs, 2);
  });

  it("no sequence, where order 'latest' needs one, is parked as SEQUENCE_MISSING", async () => {
    const Strange = defineEvent('desk.strange', { schema: z.object({ id: z.string(), n: z.number().optional() }), key: (e) => e.id, sequence: (e) => e.n as number });
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, transport });
    const seen: unknown[] = [];
    bus.subscribe(Priced, { order: 'latest' }, (event) => void seen.push(event));
    bus.subscribe(Strange, { order: 'latest' }, (event) => void seen.push(event));
    await bus.start();
    const other = await stranger(transport);
    await other.send({ type: 'catalog.priced.v1', body: bytes('{"id":"p","price":1,"revision":5}') }); // made from the data
    await other.send({ type: 'desk.strange.v1', body: bytes('{"id":"p"}') });
    await bus.settled();
    assert.equal(seen.length, 1);
    assert.equal((await bus.failures()).length, 1);
    assert.equal((await bus.failures())[0]!.error.code, 'SEQUENCE_MISSING');
  });

  it('a sequence of more than 63 bits is parked', async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, transport });
    bus.subscribe(Priced, { order: 'latest' }, () => {});
    await bus.start();
    await (await stranger(transport)).send({
      type: 'catalog.priced.v1',
      headers: headersOf('x', 'catalog.priced.v1', { 'ce-sequence': '9999999999999999999' }),
      body: bytes('{"id":"p","price":1,"revision":5}'),
    });
    await bus.settled();
    assert.deepEqual((await bus.failures()).map(({ error }) => error.code), ['CONTRACT_VIOLATION']);
  });
});

const handlers: readonly [what: string, code: string, says: RegExp, handler: () => unknown][] = [
  ['throws', 'HANDLER_FAILED', /^x$/, () => { throw new Error('x'); }],
  ['rejects', 'HANDLER_FAILED', /^x$/, () => Promise.reject(new Error('x'))],
  // eslint-disable-next-line typescript/prefer-promise-reject-errors -- what the test is about
  ['rejects with nothing', 'HANDLER_FAILED', /no error was thrown, but undefined/, () => Promise.reject(undefined)],
  ['hangs', 'HANDLER_TIMEOUT', /1000 ms; shorten it, or raise timeoutMs/, () => new Promise(() => {})],
];
overStores('a handler that', (store) => {
  for (const transaction of ['shared', 'own', 'manual'] as const) {
    for (const [what, code, says, handler] of handlers) {
      it(`${what}, in mode '${transaction}', takes nobody along: others are applied, it is parked as ${code}`, async () => {
        await using bus = createTestBus({ service: 'desk', store });
        const seen: string[] = [];
        let runs = 0;
        bus.subscribe(Noted, { transaction, timeoutMs: 1_000, concurrency: 2, retry: { immediate: 1, delayed: 1 } }, async (event) => {
          if (event.text !== 'bad') return void seen.push(event.text);
          runs++;
          await handler();
        });
        bus.subscribe(Noted, { name: 'other' }, (event) => void seen.push(`other ${event.text}`));
        await bus.publishAll(['a', 'bad', 'b'].map((text) => Noted.of({ text })));
        await bus.advance(60_000);
        await bus.settled();
        assert.deepEqual([...new Set(seen)].toSorted(), ['a', 'b', 'other a', 'other b', 'other bad']);
        assert.equal(bus.history().filter(({ signal }) => signal === 'applied').length, 5);
        // A shared batch is redone for the sake of its neighbours, once; on a server the bad one runs once more too.
        assert.ok(seen.length <= 6);
        assert.ok(runs === 3 || (asServer && runs === 4), `${runs} runs`);
        assert.deepEqual((await bus.failures()).map(({ error, attempts }) => [error.code, attempts]), [[code, 3]]);
        assert.match((await bus.failures())[0]!.error.message, says);
      });
    }
  }

  it('blocks the event loop is late, not wrong', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const seen: string[] = [];
    bus.subscribe(Noted, (event) => {
      const end = performance.now() + 30;
      while (performance.now() < end);
      seen.push(event.text);
    });
    await bus.publishAll(['a', 'b', 'c'].map((text) => Noted.of({ text })));
    await bus.settled();
    assert.deepEqual(seen, ['a', 'b', 'c']);
    assert.deepEqual(await bus.failures(), []);
  });

  it('was timed out and goes on as if nothing had happened writes nothing', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const gate = Promise.withResolvers<void>();
    const errors: string[] = [];
    bus.subscribe(Noted, { timeoutMs: 1_000, retry: false }, async (event, ctx) => {
      await gate.promise;
      await ctx.publish(Noted, { text: 'zombie' }).catch((error: { code: string }) => errors.push(error.code));
      await bus.publish(Noted, { text: 'zombie' }, { tx: ctx.tx }).catch((error: { code: string }) => errors.push(error.code));
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(2_000);
    gate.resolve();
    await bus.settled();
    assert.deepEqual(errors, ['NOT_A_TRANSACTION', 'NOT_A_TRANSACTION']);
    assert.equal(bus.published(Noted).length, 1);
  });

  it('does not await what it started leaves that outside', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const late: Promise<string>[] = [];
    bus.subscribe(Noted, (_, ctx) => {
      late.push(
        (async () => {
          await new Promise((resolve) => void setTimeout(resolve, 5));
          return ctx.publish(Noted, { text: 'late' }).then(() => 'published', (error: { code: string }) => error.code);
        })(),
      );
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(await Promise.all(late), ['NOT_A_TRANSACTION']);
    await bus.settled();
    assert.equal(bus.published(Noted).length, 1);
  });
});

describe('a handler without transaction of its own making', () => {
  const inHandler = async (work: (bus: TestBus<any>, ctx: any) => Promise<unknown>): Promise<unknown> => {
    await using bus = createTestBus({ service: 'desk' });
    let code: unknown = 'nothing was refused';
    bus.subscribe(Noted, { retry: false }, async (_, ctx) => {
      await work(bus, ctx).catch((error: { code: unknown; message: string }) => {
        code = error.code;
        assert.match(error.message, /ctx|saga/, 'says what to do instead');
      });
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(bus.messages().length, 1);
    return code;
  };
  it('is refused bus.publish without tx', async () => assert.equal(await inHandler((bus) => bus.publish(Noted, { text: 'b' })), 'TX_MISSING'));
  it("is refused bus.publish with tx: 'own'", async () => assert.equal(await inHandler((bus) => bus.publish(Noted, { text: 'b' }, { tx: 'own' })), 'TX_MISSING'));
  it('is refused bus.publishAll without tx', async () => assert.equal(await inHandler((bus) => bus.publishAll([Noted.of({ text: 'b' })])), 'TX_MISSING'));
  it('is refused bus.transaction', async () => assert.equal(await inHandler((bus) => bus.transaction(async () => {})), 'NESTED_TRANSACTION'));
  it('is refused bus.once', async () => assert.equal(await inHandler((bus) => bus.once('a', 'b', async () => {})), 'NESTED_TRANSACTION'));
  it('is refused bus.cancel without tx', async () => assert.equal(await inHandler((bus) => bus.cancel('x')), 'TX_MISSING'));
});
