import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Envelope, WireMessage } from '../../contract/message.ts';
import { cloudEvents } from '../../formats/cloudevents.ts';
import { headersFrom, headersText, messageOf, messageValues, type MessageRow } from './wire.ts';

const time = Date.UTC(2026, 0, 2, 3, 4, 5, 6);
const envelope: Envelope = { kind: 'event', id: 'id-1', source: 'shop', type: 'shop.sold.v1', time: new Date(time), correlationId: 'id-1', headers: {} };

function encoded(fields: Partial<Envelope> = {}): WireMessage {
  const whole = { ...envelope, ...fields };
  const { kind, id, source, type, recipient, key } = whole;
  return { kind, id, source, type, recipient, key, time: whole.time.getTime(), ...cloudEvents.encode(whole, '{}') };
}

/** Through the columns, as a strict table keeps them. */
function kept(message: WireMessage): WireMessage {
  const [kind, id, source, type, recipient, key, at, headers, body] = messageValues(message);
  return messageOf({ kind, id, source, type, recipient, key, time: at, headers, body } as MessageRow);
}

describe('a message as columns', () => {
  it('writes no header that the columns tell', () => {
    for (const fields of [{}, { key: 'k1' }, { kind: 'command', recipient: 'billing' }, { kind: 'reply', recipient: 'shop/1', key: 'k' }] as const) {
      const message = encoded(fields);
      assert.equal(headersText(message), '+');
      assert.deepEqual(kept(message), message);
    }
  });

  it('writes the headers beyond them, and those that say otherwise', () => {
    const message = encoded({ correlationId: 'other', causationId: 'cause', headers: { tenant: 'a', constructor: 'b' }, sequence: 7n });
    assert.deepEqual(JSON.parse(headersText(message).slice(1)), { 'ce-correlationid': 'other', 'ce-causationid': 'cause', 'ce-sequence': '7', tenant: 'a', constructor: 'b' });
    assert.deepEqual(kept(message), message);
  });

  it('keeps headers whole where one is missing, and whatever time they tell', () => {
    const cases: WireMessage[] = [
      { ...encoded(), headers: {} },
      { ...encoded({ key: 'k1' }), key: 'the subscription has another' },
      { ...encoded(), key: 'the sender gave none' },
      { ...encoded(), headers: { ...encoded().headers, 'ce-time': '2026-01-02T03:04:05+02:00' } },
      { ...encoded(), headers: JSON.parse(JSON.stringify(encoded().headers).replace('{', '{"__proto__":"x",')) as Record<string, string> },
    ];
    for (const message of cases) assert.deepEqual(kept(message), message);
    for (const at of [0, -1, -0.5, 1.5, 8.64e15, Infinity]) {
      const message = { ...encoded(), time: at };
      assert.deepEqual(kept(message).headers, message.headers, String(at));
    }
    const first = { ...encoded(), time: 0, headers: { ...encoded().headers, 'ce-time': new Date(0).toISOString() } };
    assert.deepEqual(kept(first), first);
  });

  it('reads what was kept as JSON, and no text that is neither', () => {
    assert.deepEqual(headersFrom('{"a":"b"}', encoded()), { a: 'b' });
    for (const text of ['', 'not json', '+not json']) assert.throws(() => headersFrom(text, encoded()), SyntaxError);
  });
});
