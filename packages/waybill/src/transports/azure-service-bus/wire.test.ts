import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { WireMessage } from '../../contract/message.ts';
import { deliveryOf, fromAzure, givenBack, toAzure } from './wire.ts';

const sent: WireMessage = {
  kind: 'event',
  id: 'id-1',
  source: 'catalog',
  type: 'catalog.price-changed.v1',
  recipient: undefined,
  key: 'p1',
  time: Date.UTC(2030, 0, 1),
  headers: {
    'ce-specversion': '1.0',
    'ce-id': 'id-1',
    'ce-source': 'catalog',
    'ce-type': 'catalog.price-changed.v1',
    'ce-time': '2030-01-01T00:00:00.000Z',
    'ce-partitionkey': 'p1',
    'ce-sequence': '7',
    'ce-traceparent': '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    'ce-correlationid': 'c',
    'content-type': 'application/json',
    tenant: 't1',
  },
  body: Buffer.from('{}'),
};

describe('messages on Azure Service Bus', () => {
  it('are CloudEvents in the AMQP binding, with the properties that Azure filters and traces by', () => {
    const { applicationProperties, subject, contentType, messageId, correlationId, sessionId } = toAzure(sent);
    assert.deepEqual([subject, contentType, messageId, correlationId], [sent.type, 'application/json', `catalog ${sent.type} id-1`, 'c']);
    assert.match(sessionId!, /^\d+$/);
    assert.equal(applicationProperties!['cloudEvents_sequence'], '7');
    assert.equal(applicationProperties!['cloudEvents_partitionkey'], 'p1');
    assert.equal(applicationProperties!['Diagnostic-Id'], sent.headers['ce-traceparent']);
    assert.equal(applicationProperties!['tenant'], 't1');
    assert.equal('content-type' in applicationProperties!, false);
  });

  it('come back with the headers that they were sent with', () => {
    const arrived = fromAzure({ ...toAzure(sent), deliveryCount: 0 });
    assert.deepEqual(arrived.headers, sent.headers);
    assert.deepEqual([arrived.source, arrived.timeMs, arrived.unexplained], ['catalog', sent.time, 0]);
  });

  it('are read from senders who write the older prefix, and capitals, and times of their own', () => {
    const { headers } = fromAzure({
      body: undefined,
      contentType: 'application/json',
      applicationProperties: { 'cloudEvents:specversion': '1.0', 'cloudEvents:id': 'x', 'cloudEvents:time': Date.UTC(2030, 0, 1), 'cloudEvents_Source': 's', Tenant: 5 },
    });
    assert.deepEqual(headers, { 'ce-specversion': '1.0', 'ce-id': 'x', 'ce-time': '2030-01-01T00:00:00.000Z', 'ce-source': 's', tenant: '5', 'content-type': 'application/json' });
  });

  it('have the key of other senders from where Azure orders by it, and never the bucket of our own', () => {
    const foreign = { body: undefined, applicationProperties: { 'cloudEvents_specversion': '1.0', 'cloudEvents_id': 'x' } };
    const keyOf = (more: object): unknown => fromAzure({ ...foreign, ...more }).headers['ce-partitionkey'];
    assert.equal(keyOf({ sessionId: 's' }), 's');
    assert.equal(keyOf({ sessionId: 's', partitionKey: 's' }), 's');
    assert.equal(keyOf({ partitionKey: 'p', applicationProperties: { ...foreign.applicationProperties, cloudEvents_partitionkey: 'said' } }), 'said');
    assert.equal(keyOf({}), undefined);
    const { 'ce-partitionkey': _, ...headers } = sent.headers;
    const own = fromAzure({ ...toAzure({ ...sent, key: undefined, headers }), partitionKey: '7', deliveryCount: 0 });
    assert.deepEqual(own.headers, headers);
  });

  it('take the trace of senders who know only Diagnostic-Id', () => {
    const properties = { 'cloudEvents_specversion': '1.0', 'Diagnostic-Id': '00-a-b-01' };
    assert.equal(fromAzure({ body: undefined, applicationProperties: properties }).headers['ce-traceparent'], '00-a-b-01');
  });

  it('have an id for each version that travels under one id, and none that is too long', () => {
    const other = toAzure({ ...sent, type: 'catalog.price-changed.v2' });
    assert.notEqual(other.messageId, toAzure(sent).messageId);
    const long = toAzure({ ...sent, id: 'x'.repeat(200) });
    assert.ok(long.messageId!.length <= 128);
  });

  it('are under suspicion for deliveries that nobody gave back', () => {
    const once = fromAzure({ body: undefined, deliveryCount: 1 });
    assert.equal(once.unexplained, 1);
    const back = { applicationProperties: givenBack(once), body: undefined };
    assert.deepEqual([fromAzure({ ...back, deliveryCount: 1 }).unexplained, fromAzure({ ...back, deliveryCount: 2 }).unexplained], [0, 1]);
  });

  it('are read whatever their body is', () => {
    const body = (value: unknown): string => {
      const message = { body: value };
      return new TextDecoder().decode(deliveryOf(message, fromAzure(message), 'event', { redelivered: false, suspect: false }).body);
    };
    assert.deepEqual([Buffer.from('bytes'), 'text', { a: 1 }, undefined, null].map(body), ['bytes', 'text', '{"a":1}', '', '']);
  });
});
