import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { virtualClock } from '../../testing/clock.ts';
import { message } from '../../testing/conformance/message.ts';
import type { AzureClient } from './client.ts';
import { namesWith } from './names.ts';
import { Publisher } from './publisher.ts';

/** Clients whose first send of all fails with that code of the SDK's. */
function ground(code: string) {
  let made = 0;
  let sends = 0;
  const ids: string[] = [];
  const make = (): AzureClient => {
    made++;
    let batch: string[] = [];
    const sender = {
      createMessageBatch: async () => ((batch = []), { maxSizeInBytes: 1_000, tryAddMessage: ({ messageId }: { messageId: string }) => batch.push(messageId) > 0 }),
      async sendMessages() {
        ids.push(...batch);
        if (++sends === 1) throw Object.assign(new Error('no'), { code });
      },
      close: async () => {},
    };
    return { createSender: () => sender, close: async () => {} } as unknown as AzureClient;
  };
  const publisher = new Publisher({ client: make(), another: make, names: namesWith('waybill'), clock: virtualClock(), openMaxMs: 1_000 });
  return { publisher, made: () => made, ids };
}

describe('sending to Azure', () => {
  for (const [code, clients] of [['ServiceBusy', 1], ['GeneralError', 2]] as const) {
    it(`after ${code} the same goes out under the same id, over ${clients === 1 ? 'the same client' : 'another client'}`, async () => {
      const { publisher, made, ids } = ground(code);
      await assert.rejects(publisher.send([message('a')]), { code: 'TRANSPORT_UNREACHABLE' });
      assert.deepEqual(await publisher.send([message('a')]), [{ kind: 'stored' }]);
      assert.equal(made(), clients);
      assert.equal(ids.length, 2);
      assert.equal(ids[0], ids[1]);
    });
  }
});
