/** Found and not mended: each is marked as to do, with what is wrong. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { defineEvent } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import * as z from 'zod';
import { Noted } from '../support/contracts.ts';
import { embedded, folder, signal } from './support.ts';

const orphans = 'over the memory transport an unsubscribe leaves what waits for its next run to nobody: neither applied nor in failures';
it('unsubscribe applies what waits for its next run', { skip: orphans }, async () => {
  await using bus = createTestBus({ service: 'desk' });
  let runs = 0;
  const subscription = bus.subscribe(Noted, { retry: { immediate: 0, delayed: 2, delayMs: 1_000 } }, () => {
    if (++runs === 1) throw new Error('no');
  });
  await bus.publish(Noted, { text: 'a' });
  await bus.settled();
  await subscription.unsubscribe();
  await bus.advance(60_000);
  assert.deepEqual([runs, (await operations(bus).waiting.list()).length], [2, 0]);
});

const V1 = defineEvent('other.thing', { schema: z.object({ a: z.string() }) });
const V2 = defineEvent('other.thing', {
  version: 2,
  schema: z.object({ a: z.string(), b: z.string() }),
  previous: V1,
  upcast: (older) => ({ ...older, b: '' }),
  downcast: ({ a }) => ({ a }),
});
const deployed = 'the newer form waits for an instance with a handler and keeps the older form away: after ten minutes it fails, while this instance could handle it';
it('an older instance that works beside a newer one handles the form it knows', { skip: deployed }, async (t) => {
  const directory = folder(t);
  const [older, newer, publisher] = [embedded(t, 'desk', directory), embedded(t, 'desk', directory), embedded(t, 'other', directory)];
  const outcome = signal<string>();
  older.subscribe(V1, ({ a }) => outcome.give(a));
  for (const name of ['skipped', 'duplicate'] as const) older.on(name, () => outcome.give(name));
  await older.start();
  newer.subscribe(V2, () => outcome.give('newer'));
  await newer.start();
  await publisher.start();
  await publisher.publish(V2, { a: 'x', b: 'y' });
  assert.equal(await outcome.come, 'x');
});
