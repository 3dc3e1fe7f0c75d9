import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defineEvent, definitionOf } from '../contract/contracts.ts';
import type { Envelope } from '../contract/message.ts';
import type { Format } from '../contract/format.ts';
import type { Incoming } from '../contract/handling.ts';
import type { StandardSchema } from '../contract/schema.ts';
import { cloudEvents } from '../formats/cloudevents.ts';
import { virtualClock } from '../testing/clock.ts';
import { createDecode, replyError } from './decode.ts';
import { addTaker, planOf } from './plan.ts';

const as: StandardSchema<any, any> = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } };
const V1 = defineEvent('shop.price', { schema: as });
const V2 = defineEvent('shop.price', { schema: as, version: 2, previous: V1, upcast: (x: any) => ({ ...x, two: true }) });
const V3 = defineEvent('shop.price', { schema: as, version: 3, previous: V2, upcast: (x: any) => ({ ...x, three: true }) });

const decodeFor = (contract: any, options: object = {}) => {
  const plan = planOf({ name: 'desk.x', kind: 'event', setBased: false, service: 'desk', options });
  addTaker(plan, { contract: definitionOf(contract), handler: () => {} });
  return createDecode(plan, cloudEvents, virtualClock({ startMs: 1_000_000 }));
};
const delivery = (type: string, json: string, more: Partial<Envelope> = {}, format: Format = cloudEvents) => ({
  kind: 'event' as const,
  ...format.encode({ kind: 'event', id: 'id', source: 'shop', type, time: new Date(5), correlationId: 'c', headers: {}, ...more }, json),
});
const run = (incoming: Incoming): Extract<Incoming, { kind: 'run' }> => (incoming.kind === 'run' ? incoming : assert.fail(JSON.stringify(incoming)));

describe('decode', () => {
  it('makes a message ready for its handler, and keeps the bytes', async () => {
    const given = delivery('shop.price.v1', '{"n":1}', { key: 'k', sequence: 7n });
    const incoming = run(await decodeFor(V1)(given));
    assert.deepEqual(incoming.data, { n: 1 });
    assert.deepEqual([incoming.key, incoming.sequence, incoming.message.id], ['k', 7n, 'id']);
    assert.equal(incoming.wire.body, given.body);
    assert.deepEqual([incoming.wire.id, incoming.wire.source, incoming.wire.type, incoming.wire.time], ['id', 'shop', 'shop.price.v1', 5]);
  });

  it('brings older versions up, step by step', async () => {
    const decode = decodeFor(V3);
    assert.deepEqual(run(await decode(delivery('shop.price.v3', '{}'))).data, {});
    assert.deepEqual(run(await decode(delivery('shop.price.v2', '{}'))).data, { three: true });
    assert.deepEqual(run(await decode(delivery('shop.price.v1', '{}'))).data, { two: true, three: true });
  });

  it('leaves what it has no handler for: another type, a newer version', async () => {
    for (const type of ['shop.other.v1', 'shop.price.v2', '__proto__', 'constructor']) {
      assert.equal((await decodeFor(V1)(delivery(type, '{}'))).kind, 'leave');
    }
  });

  it('knows what has expired before it looks at anything else', async () => {
    assert.equal((await decodeFor(V1)(delivery('shop.price.v1', 'rubbish', { expiresAt: new Date(1_000_000) }))).kind, 'expired');
    assert.equal((await decodeFor(V1)(delivery('shop.price.v1', '{}', { expiresAt: new Date(1_000_001) }))).kind, 'run');
  });

  it('never throws: what cannot be run says why, under an identity of its own', async () => {
    const decode = decodeFor(V1);
    const one = await decode({ kind: 'event', headers: {}, body: Buffer.from('rubbish') });
    const same = await decode({ kind: 'event', headers: {}, body: Buffer.from('rubbish') });
    const other = await decode({ kind: 'event', headers: {}, body: Buffer.from('other') });
    assert.equal(one.kind, 'fail');
    assert.equal(one.wire.id, same.wire.id);
    assert.notEqual(one.wire.id, other.wire.id);
    assert.match(one.wire.id, /^unreadable:[0-9a-f]{64}$/);
  });

  it('reads the format of the contract too', async () => {
    const lines: Format = {
      name: 'lines',
      encode: (envelope, json) => ({ headers: { line: `${envelope.id} ${envelope.type}` }, body: Buffer.from(json) }),
      decode(headers, body) {
        if (!headers.line) throw new Error('no line');
        const [id, type] = headers.line.split(' ');
        return { envelope: { kind: 'event', id: id!, type: type!, source: 'lines', time: new Date(0), correlationId: id!, headers: {} }, json: Buffer.from(body).toString() };
      },
    };
    const decode = decodeFor(defineEvent('shop.lined', { schema: as, format: lines }));
    assert.deepEqual(run(await decode(delivery('shop.lined.v1', '{"n":1}', {}, lines))).data, { n: 1 });
    assert.deepEqual(run(await decode(delivery('shop.lined.v1', '{"n":2}'))).data, { n: 2 });
  });
});

describe('replyError', () => {
  it('tells code and text, within bounds, whatever was thrown', () => {
    assert.deepEqual(replyError(Object.assign(new Error('x'), { code: 'MINE' })), { code: 'MINE', message: 'x' });
    assert.deepEqual(replyError(new Error('y'.repeat(5_000))), { code: 'HANDLER_FAILED', message: 'y'.repeat(1_000) });
    for (const thrown of [undefined, null, 'text', 7, Object.create(null)]) assert.equal(replyError(thrown).code, 'HANDLER_FAILED');
  });
});
