/** What ends, and what is half deployed. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { defineEvent } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { Noted } from '../support/contracts.ts';
import { embedded, folder, signal } from './support.ts';

it('unsubscribe applies what waits for its next run', async () => {
  await using bus = createTestBus({ service: 'desk' });
  let runs = 0;
  const subscription = bus.subscribe(Noted, { retry: { immediate: 0, delayed: 2, delayMs: 1_000 } }, () => {
    if (++runs === 1) throw new Error('no');
  });
  await bus.publish(Noted, { text: 'a' });
  await bus.settled();
  const gone = subscription.unsubscribe();
  await bus.advance(25_000);
  await gone;
  assert.deepEqual([runs, (await operations(bus).waiting.list()).length], [2, 0]);
});

it('unsubscribe drops what waits for its next run, when asked to', async () => {
  await using bus = createTestBus({ service: 'desk' });
  const subscription = bus.subscribe(Noted, { retry: { immediate: 0, delayed: 2, delayMs: 1_000 } }, () => {
    throw new Error('no');
  });
  await bus.publish(Noted, { text: 'a' });
  await bus.settled();
  await subscription.unsubscribe({ queued: 'drop' });
  assert.deepEqual(await operations(bus).waiting.list(), []);
});

it('unsubscribe says when something waits longer than it does, goes on with it, and may be asked again', async () => {
  await using bus = createTestBus({ service: 'desk' });
  let runs = 0;
  const subscription = bus.subscribe(Noted, { retry: { immediate: 0, delayed: 1, delayMs: 60_000 } }, () => {
    if (++runs === 1) throw new Error('no');
  });
  await bus.publish(Noted, { text: 'a' });
  await bus.settled();
  const late = assert.rejects(subscription.unsubscribe(), { code: 'STORE_BUSY' });
  await bus.advance(31_000);
  await late;
  await bus.advance(60_000);
  await subscription.unsubscribe();
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
it('an older instance that works beside a newer one handles the form it knows', async (t) => {
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

for (const apart of [false, true]) {
  it(`an older instance handles the form it knows over a broker, when both forms come ${apart ? 'one by one' : 'together'}`, async () => {
    const transport = memory();
    await using older = createTestBus({ service: 'desk', transport });
    await using newer = createTestBus({ service: 'desk', transport });
    await using publisher = createTestBus({ service: 'other', transport });
    const seen: string[] = [];
    older.subscribe(V1, { batch: apart ? 1 : 100 }, ({ a }) => void seen.push(a));
    await older.start();
    const subscription = newer.subscribe(V2, () => void seen.push('newer'));
    await newer.start();
    await subscription.pause();
    await publisher.publish(V2, { a: 'x', b: 'y' });
    await older.advance(2_000);
    assert.deepEqual(seen, ['x']);
    assert.deepEqual(await operations(older).waiting.list(), []);
  });
}
