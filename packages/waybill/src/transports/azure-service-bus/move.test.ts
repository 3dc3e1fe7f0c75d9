import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { virtualClock } from '../../testing/clock.ts';
import type { AzureClient } from './client.ts';
import { drainInto } from './move.ts';

const failing = (code: string): Error => Object.assign(new Error(code), { code });

/** An entity of two messages, whose first completion fails. */
function entity(sessions: boolean, failure: Error) {
  const left = ['1', '2'];
  const sent: string[] = [];
  let failed = false;
  const receiver = {
    receiveMessages: async () => left.map((messageId) => ({ messageId, body: '' })),
    async completeMessage({ messageId }: { messageId: string }) {
      if (!failed && (failed = true)) throw failure;
      left.splice(left.indexOf(messageId), 1);
    },
    close: async () => {},
  };
  const client = {
    createSender: () => ({ sendMessages: async ({ messageId }: { messageId: string }) => void sent.push(messageId), close: async () => {} }),
    createReceiver: () => receiver,
    acceptNextSession: async () => receiver,
  } as unknown as AzureClient;
  const clock = virtualClock();
  const moving = drainInto('target', { client, clock, source: { topic: 't', name: 's', sessions }, left: async () => left.length });
  return { sent, left, clock, moving };
}

describe('what a renamed subscription has left is moved', () => {
  for (const [sessions, code] of [[true, 'SessionLockLost'], [false, 'MessageLockLost']] as const) {
    it(`although a lock was lost in between (${code}): that one twice, in order`, async () => {
      const { sent, left, clock, moving } = entity(sessions, failing(code));
      await clock.advance(1_000);
      await moving;
      assert.deepEqual([sent, left], [['1', '1', '2'], []]);
    });
  }

  it('unless something else goes wrong, which is told', async () => {
    const { moving } = entity(true, failing('UnauthorizedAccess'));
    await assert.rejects(moving, /UnauthorizedAccess/);
  });
});
