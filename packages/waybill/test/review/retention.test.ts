/** What retention must leave alone. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { WaybillError } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import { Noted } from '../support/contracts.ts';
import { overStores } from '../support/stores.ts';

const gone = { kind: 'gone', connect: () => Promise.reject(new WaybillError('TRANSPORT_UNREACHABLE', 'the broker is away')) };
const horizonMs = 60_000;

overStores('a message that nobody has sent', (store) => {
  it('outlives the horizon while the broker has never been there', async () => {
    await using bus = createTestBus({ service: 'desk', store, horizonMs, transport: gone });
    await bus.start();
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(10 * horizonMs);
    assert.equal((await operations(bus).outbox.list()).length, 1);
  });

  it('outlives the horizon where another process shall send it, and has never run', async () => {
    const transport = memory();
    await using bus = createTestBus({ service: 'desk', store, horizonMs, transport, relay: 'off' });
    await bus.start();
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(10 * horizonMs);
    assert.equal((await operations(bus).outbox.list()).length, 1);
  });

  it('is removed after the horizon once it was sent', async () => {
    await using bus = createTestBus({ service: 'desk', store, horizonMs });
    await bus.start();
    await bus.publish(Noted, { text: 'a' });
    await bus.advance(10 * horizonMs);
    assert.equal((await operations(bus).outbox.list()).length, 0);
  });
});
