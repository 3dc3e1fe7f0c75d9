import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { virtualClock } from '../../testing/clock.ts';
import type { AzureHandlers, AzureReceived, AzureSession } from './client.ts';
import type { Held, Sink } from './held.ts';
import { creditPerSession, HeldSession, holdMaxMs } from './held-session.ts';

const lockMs = 30_000;
const lost = Object.assign(new Error('gone'), { code: 'SessionLockLost' });
const busy = Object.assign(new Error('busy'), { code: 'ServiceBusy' });

/** A session whose renewals answer as told; what is brought stays in hand until it is freed. */
function ground({ renew = async () => {}, aheadMs = 0 }: { renew?: (n: number) => Promise<void>; aheadMs?: number } = {}) {
  const clock = virtualClock();
  const told: string[] = [];
  const inHand: (() => void)[] = [];
  const acks: (() => void)[] = [];
  let handlers: AzureHandlers | undefined;
  let renewals = 0;
  let untilMs = 0;
  const lock = (): Date => new Date((untilMs = clock.now() + lockMs) + aheadMs);
  const session = {
    sessionId: '1',
    sessionLockedUntilUtc: lock(),
    subscribe: (given: AzureHandlers) => ((handlers = given), { close: async () => {} }),
    async renewSessionLock() {
      await renew(++renewals);
      return lock();
    },
    completeMessage: () => new Promise<void>((resolve) => acks.push(resolve)),
    setSessionState: async (state: unknown) => void told.push(`state ${String(state)}`),
    close: async () => void told.push('closed'),
  } as unknown as AzureSession;
  const sink: Sink = {
    arrived: (_source, _message, _suspect, free) => void inHand.push(free),
    lost: () => void told.push('lost'),
    broken: (error) => assert.fail(String(error)),
    gone: () => assert.fail('it is there'),
    anew: () => {},
    hungry: () => true,
  };
  const held = new HeldSession(session, { kind: 'event', sink, clock, silentMs: 10_000, lockMs, suspects: 0, ended: () => told.push('ended'), closed: () => {} });
  void held.start();
  const bring = (): Promise<void> => handlers!.processMessage({ body: 'x' } as AzureReceived);
  return { clock, held, told, inHand, acks, bring, renewals: () => renewals, leftMs: () => untilMs - clock.now() };
}

describe('a session that is held', () => {
  for (const aheadMs of [0, 3_600_000]) {
    it(`has its lock renewed in time for as long as something is in hand${aheadMs > 0 ? ', by a clock that is an hour behind too' : ''}`, async () => {
      const { clock, bring, renewals, leftMs, held } = ground({ aheadMs });
      void bring();
      for (let ms = 0; ms < holdMaxMs; ms += 1_000) {
        await clock.advance(1_000);
        assert.ok(leftMs() > 0, `it ran out after ${ms} ms`);
      }
      assert.ok(renewals() >= 3);
      await held.leave();
    });
  }

  it('has it renewed again where that failed', async () => {
    const { clock, bring, leftMs, told } = ground({ renew: async (n) => (n % 3 === 0 ? undefined : Promise.reject(busy)) });
    void bring();
    for (let ms = 0; ms < holdMaxMs - 1_000; ms += 1_000) {
      await clock.advance(1_000);
      assert.ok(leftMs() > 0, `it ran out after ${ms} ms`);
    }
    assert.deepEqual(told, []);
  });

  it('is lost when a renewal says so', async () => {
    const { clock, bring, told, held } = ground({ renew: () => Promise.reject(lost) });
    void bring();
    await clock.advance(lockMs);
    assert.deepEqual(told.sort(), ['closed', 'ended', 'lost']);
    assert.equal(held.holds, false);
  });

  it('is left when it is quiet', async () => {
    const { clock, bring, inHand, told } = ground();
    void bring();
    await clock.advance(10_000);
    assert.deepEqual(told, []);
    inHand[0]!();
    await clock.advance(10_000);
    assert.deepEqual(told, ['ended', 'state null', 'closed']);
  });

  it('is left after a while although its messages do not end, once those in hand are done, and takes no more then', async () => {
    const { clock, bring, inHand, told } = ground();
    void bring();
    void bring();
    await clock.advance(holdMaxMs);
    assert.deepEqual(told, []); // still in hand
    inHand[0]!();
    void bring(); // credit was given for it before
    inHand[1]!();
    await clock.advance(1);
    assert.deepEqual(told, []);
    inHand[2]!();
    await clock.advance(1);
    assert.deepEqual(told, ['ended', 'state null', 'closed']);
    void bring();
    assert.equal(inHand.length, 3);
  });

  it('asks for no more while the broker is behind with acknowledgements, and is not left before they came through', async () => {
    const { clock, held, bring, inHand, acks, told } = ground();
    const message = { message: {} } as Held;
    void bring();
    for (let n = 0; n < creditPerSession; n++) void held.complete(message);
    assert.equal(held.isBehind, false);
    void held.complete(message);
    assert.equal(held.isBehind, true);
    await clock.advance(holdMaxMs);
    inHand[0]!();
    await clock.advance(1);
    assert.deepEqual(told, []);
    for (const ack of acks) ack();
    await clock.advance(1);
    assert.equal(held.isBehind, false);
    assert.deepEqual(told, ['ended', 'state null', 'closed']);
  });
});
