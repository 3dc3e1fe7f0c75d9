import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defineCommand, defineEvent, definitionOf } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Envelope } from '../contract/message.ts';
import type { StandardSchema } from '../contract/schema.ts';
import { cloudEvents } from '../formats/cloudevents.ts';
import { createSignals } from '../observe/signals.ts';
import { virtualClock } from '../testing/clock.ts';
import { checkData } from './data.ts';
import { createPublish } from './publish.ts';
import { readToken } from './token.ts';

const schemaOf = (make: (value: any) => unknown): StandardSchema<any, any> => ({ '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: make(value) }) } });
const as = schemaOf((value) => value);
const V1 = defineEvent('shop.price', { schema: as, key: (e: any) => e.id });
const V2 = defineEvent('shop.price', { schema: as, version: 2, key: (e: any) => e.id, sequence: (e: any) => e.n as number, previous: V1, upcast: (x) => x, downcast: ({ n: _, ...x }: any) => x });
const V3 = defineEvent('shop.price', { schema: as, version: 3, key: (e: any) => e.id, sequence: (e: any) => e.n as number, previous: V2, upcast: (x) => x, downcast: ({ extra: _, ...x }: any) => x });

const room = (more: Partial<Parameters<typeof createPublish>[0]> = {}) => {
  const clock = virtualClock();
  return { clock, ...createPublish({ service: 'shop', clock, signals: createSignals(), format: cloudEvents, middleware: [], propagate: [], hopsMax: 64, noticeUnread: () => {}, ...more }) };
};
const isCode = (code: string) => (error: unknown) => WaybillError.is(error, code as never) || assert.fail(String(error));

describe('prepare', () => {
  it('makes the message, and after it the same in older versions under the same id, newest first', async () => {
    const { prepare, clock } = room();
    const { id, token, messages } = await prepare(definitionOf(V3), { id: 'p', n: 7, extra: true }, {}, undefined);
    assert.deepEqual(messages.map((message) => [message.type, message.id, message.key, Buffer.from(message.body).toString()]), [
      ['shop.price.v3', id, 'p', '{"id":"p","n":7,"extra":true}'],
      ['shop.price.v2', id, 'p', '{"id":"p","n":7}'],
      ['shop.price.v1', id, 'p', '{"id":"p"}'],
    ]);
    const back = messages.map(({ headers, body }) => cloudEvents.decode(headers, body).envelope);
    assert.deepEqual(back.map(({ downcastOf, sequence }) => [downcastOf, sequence]), [[undefined, 7n], ['shop.price.v3', 7n], ['shop.price.v3', 7n]]);
    assert.deepEqual(readToken(token), { source: 'shop', id, types: ['shop.price.v3', 'shop.price.v2', 'shop.price.v1'], timeMs: clock.now() });
  });

  it('addresses a command to its service, with where to reply and until when', async () => {
    const { prepare, clock } = room();
    const { messages } = await prepare(definitionOf(defineCommand('orders.create', { schema: as })), {}, { replyTo: 'shop/1', ttlMs: 500 }, undefined);
    const [message] = messages;
    assert.deepEqual([message!.kind, message!.recipient], ['command', 'orders']);
    const { envelope } = cloudEvents.decode(message!.headers, message!.body);
    assert.deepEqual([envelope.replyTo, envelope.expiresAt!.getTime()], ['shop/1', clock.now() + 500]);
  });

  it('inherits conversation, cause, trace and the headers that propagate', async () => {
    const { prepare } = room({ propagate: ['tenant'] });
    const cause: Envelope = { kind: 'event', id: 'cause', source: 's', type: 't', time: new Date(0), correlationId: 'talk', traceparent: 'trace', headers: { tenant: 'acme', other: 'x' } };
    const { messages } = await prepare(definitionOf(V1), { id: 'p' }, { headers: { own: 'y' } }, cause);
    const { envelope } = cloudEvents.decode(messages[0]!.headers, messages[0]!.body);
    assert.deepEqual([envelope.causationId, envelope.correlationId, envelope.traceparent, { ...envelope.headers }], ['cause', 'talk', 'trace', { tenant: 'acme', own: 'y' }]);
    const asked = await prepare(definitionOf(V1), { id: 'p' }, { correlationId: 'mine', causationId: 'why', headers: { tenant: 'other' } }, cause);
    const { envelope: own } = cloudEvents.decode(asked.messages[0]!.headers, asked.messages[0]!.body);
    assert.deepEqual([own.causationId, own.correlationId, own.headers.tenant], ['why', 'mine', 'other']);
  });

  it('says when a message may leave, and nothing for one that may leave at once', async () => {
    const { prepare } = room();
    const later = async (options: object): Promise<unknown> => (await prepare(definitionOf(V1), { id: 'p' }, options, undefined)).later;
    assert.equal(await later({}), undefined);
    assert.equal(await later({ delayMs: 0 }), undefined);
    assert.deepEqual(await later({ delayMs: 5 }), { afterMs: 5 });
    assert.deepEqual(await later({ deliverAt: new Date(5) }), { atMs: 5 });
  });

  it('encodes a downcast copy whose headers pass the limit as little as the message itself', async () => {
    const { prepare } = room();
    await assert.rejects(async () => prepare(definitionOf(V3), { id: 'p', n: 1 }, { headers: { big: 'x'.repeat(8_000) } }, undefined), isCode('MESSAGE_TOO_LARGE'));
  });
});

describe('checkData', () => {
  it('names the fields that the schema dropped, by path, at most 20', async () => {
    const only = definitionOf(defineEvent('a.b', { schema: schemaOf((v) => ({ keep: v.keep, list: v.list?.map((x: any) => ({ id: x.id })) })) }));
    const { extra } = await checkData(only, { keep: { any: 1 }, drop: 1, list: [{ id: 1, secret: 2 }, { id: 3 }], __proto: 1 });
    assert.deepEqual(extra, ['drop', 'list.0.secret', '__proto']);
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`f${i}`, i]));
    assert.equal((await checkData(only, many)).extra.length, 20);
  });

  it('takes no transformation for a dropped field: dates, lists of another length, other objects', async () => {
    const turned = definitionOf(defineEvent('a.b', { schema: schemaOf((v) => ({ at: new Date(v.at), tags: new Set(v.tags), list: v.list.slice(1), gone: undefined })) }));
    const { extra } = await checkData(turned, { at: '2030-01-01', tags: ['a'], list: [{ x: 1 }, { y: 1 }], gone: null });
    assert.deepEqual(extra, []);
  });

  it('hands key and sequence the output of the schema', async () => {
    const made = definitionOf(defineEvent('a.b', { schema: schemaOf((v) => ({ id: `#${v.id}`, n: v.n * 2 })), key: (e: any) => e.id, sequence: (e: any) => BigInt(e.n) }));
    const { key, sequence, json } = await checkData(made, { id: 'p', n: 3 });
    assert.deepEqual([key, sequence, json], ['#p', 6n, '{"id":"p","n":3}']);
  });

  it('takes sequences up to 63 bits, negative ones too', async () => {
    const of = (sequence: bigint | number) => definitionOf(defineEvent('a.b', { schema: as, sequence: () => sequence }));
    for (const sequence of [0, -1, 2 ** 53 - 1, 2n ** 63n - 1n, -(2n ** 63n - 1n)]) assert.equal((await checkData(of(sequence), {})).sequence, BigInt(sequence));
    for (const sequence of [2n ** 63n, 2 ** 53, -(2n ** 63n)]) await assert.rejects(async () => checkData(of(sequence), {}), isCode('CONTRACT_VIOLATION'));
  });
});
