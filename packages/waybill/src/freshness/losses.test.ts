import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { HistoryQuery } from '../contract/history.ts';
import type { WireMessage } from '../contract/message.ts';
import type { SignalMap } from '../contract/signals.ts';
import type { StoreSession } from '../contract/store.ts';
import { createSignals } from '../observe/signals.ts';
import { virtualClock } from '../testing/clock.ts';
import { createLosses } from './losses.ts';

const day = 86_400_000;

/** A source that published a message each second, and a subscription that has taken all but some. */
function world(options: { missing: readonly number[]; waiting?: number }) {
  const clock = virtualClock();
  const beganMs = clock.now();
  const signals = createSignals();
  const lost: SignalMap['lost'][] = [];
  signals.on('lost', (detail) => lost.push(detail));
  const gone = new Set(options.missing.map(String));
  const published = Array.from({ length: 500 }, (_, n) => ({ id: `${n}`, source: 'catalog', type: 'priced', time: beganMs + n * 1_000, headers: {} }) as WireMessage);
  const asked: HistoryQuery[] = [];
  let reachedMs = beganMs + 100_000;
  const losses = createLosses({
    clock,
    signals,
    store: () =>
      ({
        ports: { inspect: { standing: async (_: string, keys: readonly { id: string }[]) => keys.map(({ id }) => (gone.has(id) ? 'unknown' : 'applied')) } },
      }) as unknown as StoreSession,
    history: () => ({
      sources: async () => ['catalog'],
      async read(_, query) {
        asked.push(query);
        const all = published.filter(({ time }) => time >= (query.sinceMs ?? 0) && time < query.untilMs!);
        const at = Number(query.after ?? 0);
        return { messages: all.slice(at, at + query.max), next: `${at + query.max}`, more: all.length > at + query.max, trimmed: false };
      },
    }),
    subscription: () => ({ types: ['priced'], thereSinceMs: beganMs, beganMs, progress: () => [{ source: 'catalog', appliedUntilMs: reachedMs, waiting: options.waiting }] }),
  });
  losses.start();
  return {
    clock,
    gone,
    lost,
    asked,
    beganMs,
    /** The broker is away from second 100 to 200. */
    async outage() {
      await clock.advance(100_000);
      signals.emit('paused', { subscription: 'desk.prices', reason: 'transport' });
      await clock.advance(100_000);
      signals.emit('resumed', { subscription: 'desk.prices' });
      reachedMs = beganMs + day;
    },
    queueMade: () => signals.emit('queue-made', { subscription: 'desk.prices' }),
    stop: () => losses.stop(),
  };
}

it('what a broker has lost is told once, with how many and when', async () => {
  const { clock, lost, outage, stop, beganMs } = world({ missing: [120, 121, 122, 180] });
  await outage();
  await clock.advance(600_000);
  assert.deepEqual(lost, [{ subscription: 'desk.prices', source: 'catalog', count: 4, firstId: '120', fromMs: beganMs + 120_000, untilMs: beganMs + 180_000 }]);
  await stop();
});

it('an outage after which everything came is told to nobody, and looked at from where the subscription stood', async () => {
  const { clock, lost, outage, stop, asked, beganMs } = world({ missing: [10] });
  await outage();
  await clock.advance(600_000);
  assert.deepEqual(lost, []);
  assert.equal(asked[0]!.sinceMs, beganMs + 40_000, 'not before, but for the difference of two clocks');
  await stop();
});

it('what comes before the second look was only late', async () => {
  const { clock, lost, outage, stop, gone } = world({ missing: [150] });
  await outage();
  await clock.advance(11_000);
  gone.clear();
  await clock.advance(600_000);
  assert.deepEqual(lost, []);
  await stop();
});

it('what lies before the subscription is not lost', async () => {
  const { clock, lost, outage, stop } = world({ missing: [150], waiting: 3 });
  await outage();
  await clock.advance(200_000);
  assert.deepEqual(lost, []);
  await stop();
});

it('a queue that was made anew puts everything in doubt', async () => {
  const { clock, lost, queueMade, stop } = world({ missing: [3, 30] });
  await clock.advance(50_000);
  queueMade();
  await clock.advance(600_000);
  assert.deepEqual(lost.map(({ count }) => count), [2]);
  await stop();
});

it('the first queue of a subscription is no reason to look', async () => {
  const { clock, lost, asked, queueMade, stop } = world({ missing: [3] });
  queueMade();
  await clock.advance(600_000);
  assert.deepEqual([lost, asked], [[], []]);
  await stop();
});
