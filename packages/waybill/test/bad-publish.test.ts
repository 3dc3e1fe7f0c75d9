/** What is refused before it is written: a stable code, the next step, and nothing in the ledger. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as v from 'valibot';
import { type } from 'arktype';
import { defineCommand, defineEvent, WaybillError } from 'waybill';
import { createTestBus, type TestBus } from 'waybill/testing';
import * as z from 'zod';
import { CreateOrder, Noted, Priced, Ship } from './support/contracts.ts';

const Anything = defineEvent('desk.anything', { schema: z.any() });

/** Refused with this code and a message that helps, and nothing was written. */
async function refused(code: string, says: RegExp, act: (bus: TestBus<any>) => Promise<unknown>): Promise<void> {
  await using bus = createTestBus({ service: 'desk' });
  await assert.rejects(act(bus), (error) => {
    assert.ok(WaybillError.is(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, says);
    assert.ok(error.message.length < 2_000, 'bounded');
    return true;
  });
  await bus.settled();
  assert.deepEqual(bus.messages(), []);
  assert.deepEqual(await bus.failures(), []);
}

describe('publish refuses data', () => {
  it('outside the contract, and says where', () => refused('CONTRACT_VIOLATION', /price/, (bus) => bus.publish(Priced, { id: 'p', price: 'much', revision: 1 } as never)));
  it('that is missing', () => refused('CONTRACT_VIOLATION', /publish a value/, (bus) => bus.publish(Noted, undefined as never)));
  it('that is a function', () => refused('CONTRACT_VIOLATION', /publish a value/, (bus) => bus.publish(Anything, () => {})));
  it('with a bigint', () => refused('CONTRACT_VIOLATION', /no JSON.*publish plain values/, (bus) => bus.publish(Anything, { n: 1n })));
  it('with a cycle', () =>
    refused('CONTRACT_VIOLATION', /no JSON/, (bus) => {
      const cycle: { self?: unknown } = {};
      cycle.self = cycle;
      return bus.publish(Anything, cycle);
    }));
  it('whose toJSON throws', () => refused('CONTRACT_VIOLATION', /no JSON.*haha/, (bus) => bus.publish(Anything, { toJSON: () => { throw new Error('haha'); } })));
  it('whose toJSON throws no error', () =>
    refused('CONTRACT_VIOLATION', /no JSON/, (bus) =>
      bus.publish(Anything, {
        toJSON: () => {
          // eslint-disable-next-line typescript/only-throw-error -- what the test is about
          throw undefined;
        },
      }),
    ));
  it('larger than 1 MiB', () => refused('MESSAGE_TOO_LARGE', /1048576.*reference/, (bus) => bus.publish(Noted, { text: 'x'.repeat(1024 * 1024) })));
  it('larger than 1 MiB in UTF-8 alone', () => refused('MESSAGE_TOO_LARGE', /reference/, (bus) => bus.publish(Noted, { text: '€'.repeat(400_000) })));
  it('nested more than 64 levels', () =>
    refused('MESSAGE_TOO_LARGE', /64 levels.*reference/, (bus) => {
      let deep: unknown = 1;
      for (let i = 0; i < 65; i++) deep = [deep];
      return bus.publish(Anything, deep);
    }));
  it('nested 100,000 levels', () =>
    refused('MESSAGE_TOO_LARGE', /64 levels/, (bus) => {
      let deep: unknown = 1;
      for (let i = 0; i < 100_000; i++) deep = [deep];
      return bus.publish(Anything, deep);
    }));
  it('with a key that reaches into prototypes', () => refused('CONTRACT_VIOLATION', /prototype/, (bus) => bus.publish(Anything, JSON.parse('{"__proto__":{"admin":true}}'))));
  it('that its schema reads as a bigint alone', () => {
    const Big = defineEvent('desk.bigint', { schema: z.object({ n: z.bigint() }) });
    return refused('SCHEMA_NOT_JSON', /big number as text/, (bus) => bus.publish(Big, { n: 1n }));
  });
  it('that its schema reads as an object but not as JSON: a date', () => {
    const At = defineEvent('desk.at', { schema: z.object({ at: z.date() }) });
    return refused('SCHEMA_NOT_JSON', /ISO string/, (bus) => bus.publish(At, { at: new Date() }));
  });
  it('that its schema reads as an object but not as JSON: a bigint with toJSON', () => {
    const Big = defineEvent('desk.big', { schema: z.object({ set: z.set(z.string()) }) });
    return refused('SCHEMA_NOT_JSON', /JSON/, (bus) => bus.publish(Big, { set: new Set(['a']) }));
  });
  it('when the schema itself throws', () => {
    const Broken = defineEvent('desk.broken', { schema: z.any().refine(() => { throw new Error('schema broke'); }) });
    return refused('CONTRACT_VIOLATION', /schema broke|schema/, (bus) => bus.publish(Broken, {}));
  });
  it('when the schema answers with nothing', () => {
    const Odd = defineEvent('desk.odd', { schema: { '~standard': { version: 1, vendor: 'odd', validate: () => undefined as never } } });
    return refused('CONTRACT_VIOLATION', /schema/, (bus) => bus.publish(Odd, {} as never));
  });
  it('of a valibot contract', () => {
    const E = defineEvent('desk.valibot', { schema: v.object({ text: v.pipe(v.string(), v.minLength(2)) }) });
    return refused('CONTRACT_VIOLATION', /text/, (bus) => bus.publish(E, { text: 'a' }));
  });
  it('of an arktype contract', () => {
    const E = defineEvent('desk.arktype', { schema: type({ text: 'string > 1' }) });
    return refused('CONTRACT_VIOLATION', /text/, (bus) => bus.publish(E, { text: 'a' }));
  });
  it('of a command', () => refused('CONTRACT_VIOLATION', /amount/, (bus) => bus.send(CreateOrder, { product: 'p', amount: -1 })));
  it('of a request', () => refused('CONTRACT_VIOLATION', /amount/, (bus) => bus.request(CreateOrder, { product: 'p', amount: -1 }, { timeoutMs: 1_000 })));
});

describe('publish refuses a key or sequence', () => {
  const keyed = (key: unknown) => defineEvent('desk.keyed', { schema: z.any(), key: () => key as string });
  const counted = (sequence: unknown) => defineEvent('desk.counted', { schema: z.any(), sequence: () => sequence as number });
  for (const [what, key] of [['empty', ''], ['undefined', undefined], ['a number', 7], ['too long', 'k'.repeat(501)], ['with a line break', 'a\nb'], ['with NUL', 'a\0b'], ['with broken Unicode', '\ud800']] as const) {
    it(`that is ${what}`, () => refused('CONTRACT_VIOLATION', /key/, (bus) => bus.publish(keyed(key), {})));
  }
  for (const [what, sequence] of [['a fraction', 1.5], ['not a number', Number.NaN], ['text', '7'], ['undefined', undefined], ['past 2^53 as a number', 2 ** 60], ['past 63 bits', 2n ** 64n]] as const) {
    it(`that is ${what}`, () => refused('CONTRACT_VIOLATION', /sequence/, (bus) => bus.publish(counted(sequence), {})));
  }
  it('whose function throws', () => {
    const E = defineEvent('desk.keyed', { schema: z.any(), key: (): string => { throw new Error('no key'); } });
    return refused('CONTRACT_VIOLATION', /key function threw/, (bus) => bus.publish(E, {}));
  });
});

describe('publish refuses headers', () => {
  const publish = (headers: unknown) => (bus: TestBus<any>) => bus.publish(Noted, { text: 'a' }, { headers: headers as Record<string, string> });
  for (const [what, headers] of [
    ['with a line break in the name', { 'a\r\nb': 'x' }],
    ['with an upper-case name', { Tenant: 'x' }],
    ['with an empty name', { '': 'x' }],
    ['with a space in the name', { 'a b': 'x' }],
    ['with a name past 64 characters', { ['n'.repeat(65)]: 'x' }],
    ['that would forge the envelope', { 'ce-id': 'x' }],
    ['that would forge the content type', { 'content-type': 'text/html' }],
    ['that look like ours', { 'waybill-x': 'x' }],
    ['that brokers use', { 'x-death': 'x' }],
    ['with a line break in the value', { a: 'x\r\nce-id: forged' }],
    ['with NUL in the value', { a: 'x\0' }],
    ['with broken Unicode in the value', { a: '\ud800' }],
    ['that are numbers', { a: 7 }],
    ['that are objects', { a: { toString: () => 'x' } }],
    ['that are null', { a: null }],
    ['called __proto__', JSON.parse('{"__proto__":"x"}')],
    ['that are a list', ['x']],
    ['that are a text', 'tenant=acme'],
  ] as const) {
    it(what, () => refused('INVALID_HEADER', /header/, publish(headers)));
  }
  it('past 64', () => refused('MESSAGE_TOO_LARGE', /64/, publish(Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`h${i}`, 'v'])))));
  it('past 8 kB', () => refused('MESSAGE_TOO_LARGE', /8192/, publish({ a: 'v'.repeat(9_000) })));
  it('past 8 kB in UTF-8 alone', () => refused('MESSAGE_TOO_LARGE', /8192/, publish({ a: '€'.repeat(2_800) })));
});

describe('publish refuses an option', () => {
  const publish = (options: unknown) => (bus: TestBus<any>) => bus.publish(Noted, { text: 'a' }, options as object);
  for (const id of ['', 7, null, {}, 'x'.repeat(201), 'a\nb', 'a\0', '\ud800']) {
    it(`id: ${JSON.stringify(id)?.slice(0, 20)}`, () => refused('INVALID_ID', /id must be/, publish({ id })));
    it(`correlationId: ${JSON.stringify(id)?.slice(0, 20)}`, () => refused('INVALID_ID', /correlationId must be/, publish({ correlationId: id })));
  }
  it('causationId that is none', () => refused('INVALID_ID', /causationId/, publish({ causationId: '' })));
  for (const delayMs of [-1, Number.NaN, Infinity, '5', 1e20, null]) it(`delayMs: ${String(delayMs)}`, () => refused('INVALID_OPTION', /delayMs/, publish({ delayMs })));
  for (const ttlMs of [-1, Number.NaN, Infinity, '5', 1e20, null]) it(`ttlMs: ${String(ttlMs)}`, () => refused('INVALID_OPTION', /ttlMs/, publish({ ttlMs })));
  for (const deliverAt of ['2030-01-01', new Date('no'), 7, null]) it(`deliverAt: ${String(deliverAt)}`, () => refused('INVALID_OPTION', /deliverAt/, publish({ deliverAt })));
  it('delayMs and deliverAt together', () => refused('INVALID_OPTION', /exclude each other/, publish({ delayMs: 1, deliverAt: new Date() })));
  it('that it does not know', () => refused('INVALID_OPTION', /dealyMs is no option/, publish({ dealyMs: 5 })));
  it('null', () => refused('INVALID_OPTION', /object/, publish(null)));
  it('list that is none', () => refused('INVALID_OPTION', /object/, publish('soon')));
});

describe('publish refuses a transaction', () => {
  for (const [what, tx] of [['null', null], ['a text', 'mine'], ['an object', {}], ['a number', 7], ['a function', () => {}]] as const) {
    it(`that is ${what}`, () => refused('NOT_A_TRANSACTION', /tx/, (bus) => bus.publish(Noted, { text: 'a' }, { tx: tx as never })));
  }
  it('that is the bus', () => refused('NOT_A_TRANSACTION', /bus/, (bus) => bus.publish(Noted, { text: 'a' }, { tx: bus as never })));
  it('that is over', () =>
    refused('NOT_A_TRANSACTION', /over/, async (bus) => {
      const tx = await bus.transaction(async (open) => ({ open }));
      return bus.publish(Noted, { text: 'a' }, { tx: tx.open });
    }));
  it('that was undone', () =>
    refused('NOT_A_TRANSACTION', /over/, async (bus) => {
      let kept: any;
      await bus
        .transaction(async (tx) => {
          kept = tx;
          throw new Error('undo');
        })
        .catch(() => {});
      return bus.publish(Noted, { text: 'a' }, { tx: kept });
    }));
  it('that is missing inside a block', () => refused('TX_MISSING', /pass \{ tx \}/, (bus) => bus.transaction(() => bus.publish(Noted, { text: 'a' }))));
  it("that is 'own' inside a block", () => refused('TX_MISSING', /pass \{ tx \}/, (bus) => bus.transaction(() => bus.publish(Noted, { text: 'a' }, { tx: 'own' }))));
  it('that is missing inside a block of once', () => refused('TX_MISSING', /pass \{ tx \}/, (bus) => bus.once('a', 'b', () => bus.publish(Noted, { text: 'a' }))));
  it('around a request', () => refused('REQUEST_IN_TRANSACTION', /saga/, (bus) => bus.transaction(() => bus.request(CreateOrder, { product: 'p', amount: 1 }, { timeoutMs: 1 }))));
});

describe('publish refuses a contract', () => {
  it('that is none', () => refused('INVALID_CONTRACT', /defineEvent/, (bus) => bus.publish({ type: 'desk.noted.v1' } as never, {} as never)));
  it('that is missing', () => refused('INVALID_CONTRACT', /defineEvent/, (bus) => bus.publish(undefined as never, {} as never)));
  it('of a command', () => refused('INVALID_CONTRACT', /send/, (bus) => bus.publish(Ship as never, { orderId: 'o' } as never)));
  it('of an event, in send', () => refused('INVALID_CONTRACT', /publish/, (bus) => bus.send(Noted as never, { text: 'a' } as never)));
  it('of an event, in request', () => refused('INVALID_CONTRACT', /nobody replies/, (bus) => bus.request(Noted as never, { text: 'a' } as never, { timeoutMs: 1 })));
  it('in publishAll that is no draft', () => refused('INVALID_CONTRACT', /Contract\.of/, (bus) => bus.publishAll([{ type: 'desk.noted.v1', data: {}, options: {} } as never])));
  it('in a publishAll that is no list', () => refused('INVALID_OPTION', /list of drafts/, (bus) => bus.publishAll('all' as never)));
});

describe('a definition refuses', () => {
  const schema = z.object({ id: z.string() });
  const E1 = defineEvent('desk.e', { schema });
  const C1 = defineCommand('desk.c', { schema });
  const bad: [what: string, make: () => unknown][] = [
    ['an upper-case name', () => defineEvent('Desk.Noted', { schema })],
    ['an empty name', () => defineEvent('', { schema })],
    ['a name with a space', () => defineEvent('desk noted', { schema })],
    ['a name with a line break', () => defineEvent('desk.noted\n', { schema })],
    ['a name that ends in a dot', () => defineEvent('desk.', { schema })],
    ['a name past 150 characters', () => defineEvent('d'.repeat(151), { schema })],
    ['a name that is none', () => defineEvent(7 as never, { schema })],
    ['__proto__ as name', () => defineEvent('__proto__', { schema })],
    ['a version that is no whole number from 1', () => defineEvent('desk.e', { schema, version: 0 })],
    ['a fractional version', () => defineEvent('desk.e', { schema, version: 1.5 })],
    ['no schema', () => defineEvent('desk.e', {} as never)],
    ['no definition', () => defineEvent('desk.e', undefined as never)],
    ['a schema that is none', () => defineEvent('desk.e', { schema: { parse: () => {} } as never })],
    ['a reply that is no schema', () => defineCommand('desk.c', { schema, reply: {} as never })],
    ['a receiver that is no service', () => defineCommand('desk.c', { schema, to: 'Not A Service' })],
    ['an upcast without previous', () => defineEvent('desk.e', { schema, version: 2, upcast: (x: never) => x })],
    ['a downcast without previous', () => defineEvent('desk.e', { schema, version: 2, downcast: (x) => x as never })],
    ['a previous that is no contract', () => defineEvent('desk.e', { schema, version: 2, previous: {} as never })],
    ['a command as previous of an event', () => defineEvent('desk.c', { schema, version: 2, previous: C1 as never })],
    ['itself as previous', () => defineEvent('desk.e', { schema, previous: E1 })],
    ['a key that is no function', () => defineEvent('desk.e', { schema, key: 'id' as never })],
    ['a sequence that is no function', () => defineEvent('desk.e', { schema, sequence: 7 as never })],
    ['an upcast that is no function', () => defineEvent('desk.e', { schema, version: 2, previous: E1, upcast: {} as never })],
    ['a word that it does not know', () => defineEvent('desk.e', { schema, kye: () => 'x' } as never)],
    ['a sequence for a command', () => defineCommand('desk.c', { schema, sequence: () => 1 } as never)],
    ['a format that is none', () => defineEvent('desk.e', { schema, format: 'json' as never })],
    ['33 older versions', () => {
      let older: any = E1;
      for (let version = 2; version <= 40; version++) older = defineEvent('desk.e', { schema, version, previous: older, upcast: (x) => x as never });
    }],
  ];
  for (const [what, make] of bad) {
    it(what, () => {
      assert.throws(make, (error) => {
        assert.ok(WaybillError.is(error, 'INVALID_CONTRACT'), String(error));
        return true;
      });
    });
  }
});
