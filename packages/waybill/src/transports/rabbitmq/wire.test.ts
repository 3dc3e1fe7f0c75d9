import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { WireMessage } from '../../contract/message.ts';
import { propertiesOf, received } from './wire.ts';

describe('a message on the wire', () => {
  const message = (headers: Record<string, string>): WireMessage => ({
    kind: 'event', id: 'i', source: 'desk', type: 'desk.noted.v1', recipient: undefined, key: undefined, time: 7, headers, body: Buffer.from('{}'),
  }); // prettier-ignore
  /** What amqplib sends: without what is undefined. */
  const sent = (headers: Record<string, string>): { contentType?: string; headers: Record<string, string | number> } =>
    JSON.parse(JSON.stringify(propertiesOf(message(headers))));
  const read = (headers: Record<string, string>): unknown => {
    const { delivery } = received({ content: Buffer.from('{}'), fields: { routingKey: 'event.4.desk.noted.v1', deliveryTag: 1 }, properties: { ...sent(headers), messageId: 'i', type: 'desk.noted.v1', appId: 'desk' } } as never, false) as never as { delivery: WireMessage };
    return delivery.headers;
  };
  const all = {
    'ce-specversion': '1.0', 'ce-id': 'i', 'ce-source': 'desk', 'ce-type': 'desk.noted.v1', 'ce-time': 't', 'ce-correlationid': 'c', 'ce-causationid': 'b',
    'ce-partitionkey': 'k', 'ce-sequence': '4', 'ce-traceparent': '00-1', 'ce-waybillhops': '2', 'content-type': 'application/json',
  }; // prettier-ignore
  const few = { 'ce-specversion': '1.0', 'ce-id': 'i', 'content-type': 'application/json' };
  const own = { ...few, 'ce-waybillto': 'shop', 'x-tenant': 'a', constructor: 'b' };

  it('carries nothing of the message before it', () => {
    const alone = sent(few);
    for (const before of [all, own]) {
      sent(before);
      assert.deepEqual(sent(few), alone);
    }
    assert.deepEqual(alone, { ...alone, contentType: 'application/json', headers: { 'waybill-time': 7, 'cloudEvents:specversion': '1.0', 'cloudEvents:id': 'i' } });
  });

  it('is read as it was sent, usual headers or not', () => {
    for (const headers of [all, few, own, {}, all]) assert.deepEqual(read(headers), headers);
  });
});
