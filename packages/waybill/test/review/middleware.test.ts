/** Middleware that does not await next(). */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createTestBus } from 'waybill/testing';
import { Noted, Seen } from '../support/contracts.ts';
import { overStores } from '../support/stores.ts';

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
};

overStores('middleware that does not await next()', (store) => {
  it('does not end the run before the handler has', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.use({ handle: async (_, next) => void next() });
    bus.subscribe(Noted, { retry: false }, async (_, ctx) => {
      await turns();
      await ctx.publish(Seen, { what: 'done' });
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(bus.published(Seen), [{ what: 'done' }]);
  });

  it('does not hide that the handler failed', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.use({ handle: async (_, next) => void next() });
    bus.subscribe(Noted, { retry: false }, async () => {
      await turns();
      throw new Error('no');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual((await bus.failures()).map(({ error }) => error.message), ['no']);
  });
});
