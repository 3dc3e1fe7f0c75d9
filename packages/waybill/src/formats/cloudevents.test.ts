import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CloudEvent, HTTP } from 'cloudevents';
import { WaybillError } from '../contract/errors.ts';
import type { Envelope } from '../contract/message.ts';
import { cloudEvents } from './cloudevents.ts';

const envelope = (more: Partial<Envelope> = {}): Envelope => ({
  kind: 'event',
  id: 'id-1',
  source: 'catalog',
  type: 'catalog.price-changed.v1',
  time: new Date('2030-01-02T03:04:05.678Z'),
  correlationId: 'conversation',
  headers: {},
  ...more,
});
const plain = (value: Envelope): unknown => ({ ...value, headers: { ...value.headers } });

const texts = [
  'a', ' ', '"', "'", '\\', '%', '%41', '%ZZ', '€', '🚚', 'é'.normalize('NFD'), '\u2028', '<script>', '../..', "'; drop table x; --", 'constructor', '__proto__', 'a'.repeat(500), '{"a":1}', '=?utf-8?q?x?=', 'ce-id', 'null', 'undefined', '0', '\u00a0', '\ufeff', '\u202e',
]; // prettier-ignore

describe('CloudEvents in binary mode', () => {
  it('gives back what it was given, whatever the texts are', () => {
    for (const [i, text] of texts.entries()) {
      const other = texts[(i + 7) % texts.length]!;
      const all = envelope({
        kind: (['event', 'command', 'reply'] as const)[i % 3]!,
        id: text,
        source: other,
        type: text + other,
        time: new Date(i * 1e11),
        key: other,
        sequence: BigInt(i) * 10n ** 17n - 3n,
        correlationId: text,
        causationId: other,
        recipient: text,
        replyTo: other,
        replyKey: other,
        hops: 7,
        traceparent: text,
        expiresAt: new Date(i * 1e11 + 5),
        downcastOf: other,
        headers: { tenant: text, other },
      });
      const json = JSON.stringify({ text, other });
      const { headers, body } = cloudEvents.encode(all, json);
      const back = cloudEvents.decode(headers, body);
      assert.equal(back.json, json);
      assert.deepEqual(plain(back.envelope), plain(all));
    }
  });

  it('leaves out what there is not', () => {
    const few = envelope();
    const { headers, body } = cloudEvents.encode(few, '{}');
    assert.deepEqual(headers, {
      'ce-specversion': '1.0',
      'ce-id': 'id-1',
      'ce-source': 'catalog',
      'ce-type': 'catalog.price-changed.v1',
      'ce-time': '2030-01-02T03:04:05.678Z',
      'ce-correlationid': 'conversation',
      'content-type': 'application/json',
    });
    assert.deepEqual(plain(cloudEvents.decode(headers, body).envelope), plain(few));
  });

  it('lets no header of a user stand for an attribute', () => {
    const { headers, body } = cloudEvents.encode(envelope({ headers: { 'ce-id': 'forged', 'content-type': 'text/html', tenant: 'acme', constructor: 'builder' } }), '{}');
    const back = cloudEvents.decode(headers, body);
    assert.equal(back.envelope.id, 'id-1');
    assert.deepEqual({ ...back.envelope.headers }, { tenant: 'acme', constructor: 'builder' });
    assert.equal(Object.getPrototypeOf(back.envelope.headers), null);
  });

  it('is read by the SDK of CloudEvents, with every attribute and extension', () => {
    const all = envelope({ key: 'p1', sequence: 7n, causationId: 'cause', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' });
    const { headers, body } = cloudEvents.encode(all, '{"price":9.5}');
    const theirs = HTTP.toEvent({ headers, body: Buffer.from(body).toString() });
    assert.ok(theirs instanceof CloudEvent);
    assert.equal(theirs.validate(), true);
    assert.deepEqual(
      [theirs.id, theirs.source, theirs.type, theirs.time, theirs.specversion, theirs.datacontenttype, theirs.data],
      ['id-1', 'catalog', 'catalog.price-changed.v1', '2030-01-02T03:04:05.678Z', '1.0', 'application/json', { price: 9.5 }],
    );
    assert.deepEqual(
      [theirs.partitionkey, String(theirs.sequence), theirs.correlationid, theirs.causationid, theirs.traceparent],
      ['p1', '7', 'conversation', 'cause', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
    );
  });

  it('is read by the SDK for every kind of message and any text in it', () => {
    for (const kind of ['event', 'command', 'reply'] as const) {
      for (const text of texts) {
        const { headers, body } = cloudEvents.encode(envelope({ kind, recipient: 'orders', replyTo: 'shop/1', expiresAt: new Date(0), downcastOf: 'a.v2', key: text }), JSON.stringify({ text }));
        const theirs = HTTP.toEvent<{ text: string }>({ headers, body: Buffer.from(body).toString() });
        assert.ok(!Array.isArray(theirs));
        assert.equal(theirs.data!.text, text);
        for (const name of Object.keys(headers)) assert.match(name, /^(?:ce-[a-z0-9]{1,20}|content-type)$/, 'an attribute is lower-case letters and digits (specification, 3.1)');
      }
    }
  });

  it('reads what the SDK wrote', () => {
    const theirs = HTTP.binary(
      new CloudEvent({ id: 'a', source: '/their/service', type: 'com.example.thing', time: '2030-01-02T03:04:05Z', partitionkey: 'k', sequence: '12', data: { n: 1 } }),
    );
    const { envelope: back, json } = cloudEvents.decode(theirs.headers as Record<string, string>, Buffer.from(theirs.body as string));
    assert.deepEqual([back.kind, back.id, back.source, back.type, back.key, back.sequence, back.time.toISOString()], ['event', 'a', '/their/service', 'com.example.thing', 'k', 12n, '2030-01-02T03:04:05.000Z']);
    assert.deepEqual(JSON.parse(json), { n: 1 });
    assert.equal(back.correlationId, 'a', 'a message without conversation begins one');
  });

  it('refuses what is no CloudEvent, with a text of bounded length', () => {
    const good = cloudEvents.encode(envelope(), '{}').headers;
    const long = 'x'.repeat(100_000);
    const bad: Record<string, string>[] = [
      {},
      { ...good, 'ce-id': '' },
      { ...good, 'ce-source': '' },
      { ...good, 'ce-type': '' },
      { ...good, 'ce-specversion': '0.3' },
      { ...good, 'ce-specversion': long },
      { ...good, 'ce-time': 'never' },
      { ...good, 'ce-time': long },
      { ...good, 'ce-waybillkind': 'rumour' },
      { ...good, 'ce-waybillkind': long },
      { ...good, 'ce-sequence': '1.5' },
      { ...good, 'ce-sequence': '1e3' },
      { ...good, 'ce-sequence': ' 1' },
      { ...good, 'ce-sequence': '0x10' },
      { ...good, 'ce-sequence': '9'.repeat(20) },
      { ...good, 'ce-sequence': long },
      { ...good, 'ce-waybillexpires': 'soon' },
      { ...good, 'ce-id': 7 as never },
      { ...good, 'ce-time': {} as never },
      { ...good, 'ce-sequence': [] as never },
    ];
    for (const headers of bad) {
      assert.throws(
        () => cloudEvents.decode(headers, Buffer.from('{}')),
        (error) => WaybillError.is(error, 'MESSAGE_UNDECODABLE') && error.message.length < 300,
        JSON.stringify(headers).slice(0, 300),
      );
    }
    for (const body of [[0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80]]) {
      assert.throws(() => cloudEvents.decode(good, Uint8Array.from(body)), (error) => WaybillError.is(error, 'MESSAGE_UNDECODABLE'));
    }
  });
});
