/** Bytes in, bytes out. */
import assert from 'node:assert/strict';
import { limits } from '../../../contract/message.ts';
import { message, receive, send, to, type TransportCase } from './world.ts';

const bodies: Readonly<Record<string, Uint8Array>> = {
  'every byte': Uint8Array.from({ length: 256 }, (_, byte) => byte),
  'nothing at all': new Uint8Array(),
  'a zero byte': new Uint8Array(1),
  'text of many tongues': new TextEncoder().encode('Grüße, 世界 🌍 \u202e\u0000 e\u0301'),
  'half a character': Uint8Array.of(0xf0, 0x9f, 0x8c, 0xed, 0xa0, 0x80, 0xff),
  'what looks like SQL and JSON': new TextEncoder().encode(`'); drop table waybill_ledger; -- {"a": "\\u0000"}`),
  'as much as is allowed': Uint8Array.from({ length: limits.bodyBytes }, (_, i) => (i * 31) & 0xff),
};

const headers: Readonly<Record<string, string>> = {
  id: 'a',
  plain: 'value',
  empty: '',
  spaces: ' two  words ',
  unicode: 'Grüße 世界 🌍',
  quotes: `"'\`\\,;=%20{}`,
  'x-with-dashes_and.dots': '1',
  long: 'x'.repeat(4_000),
  constructor: 'a name that objects have of their own',
};

export const payloadCases: readonly TransportCase[] = [
  {
    name: 'a body comes with every byte unchanged',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      const consumer = await basket.session.consume(to('basket.prices'));
      for (const [what, body] of Object.entries(bodies)) {
        await send(catalog, message(what, { body }));
        const [got] = await receive(world, consumer, 1);
        assert.ok(got!.body instanceof Uint8Array, what);
        assert.ok(Buffer.from(got!.body).equals(body), `${what}: ${got!.body.length} bytes came of ${body.length}`);
        await consumer.settle([got!]);
      }
    },
  },
  {
    name: 'headers come with every name and value unchanged',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('a', { headers }));
      const [got] = await receive(world, await basket.session.consume(to('basket.prices')), 1);
      assert.deepEqual({ ...got!.headers }, headers);
    },
  },
  {
    name: 'a message is what it was when it was sent, whatever becomes of the object',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      const mine = { body: new TextEncoder().encode('as sent'), headers: { state: 'as sent' } };
      await send(catalog, message('a', mine));
      mine.body.fill(0x21);
      mine.headers.state = 'changed later';
      const [got] = await receive(world, await basket.session.consume(to('basket.prices')), 1);
      assert.deepEqual([new TextDecoder().decode(got!.body), got!.headers['state']], ['as sent', 'as sent']);
    },
  },
  {
    name: "each delivery is its receiver's own: what one does to it no other sees",
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await basket.session.declare(to('basket.audit'));
      await send(catalog, message('as sent'));
      const consumer = await basket.session.consume(to('basket.prices'));
      const [first] = await receive(world, consumer, 1);
      first!.body.fill(0x21);
      (first!.headers as Record<string, string>)['id'] = 'changed';
      await consumer.close();
      for (const name of ['basket.prices', 'basket.audit']) {
        const [got] = await receive(world, await basket.session.consume(to(name)), 1);
        assert.deepEqual([new TextDecoder().decode(got!.body), got!.headers['id']], ['as sent', 'id of as sent'], name);
      }
    },
  },
];
