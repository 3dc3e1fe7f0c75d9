import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { WireMessage } from '../contract/message.ts';
import { createSignals } from '../observe/signals.ts';
import { memory } from '../stores/memory/index.ts';
import { virtualClock } from '../testing/clock.ts';
import { createMover } from './mover.ts';

const message = (id: string): WireMessage => ({ kind: 'event', id, source: 'shop', type: 'shop.x.v1', recipient: undefined, key: undefined, time: 0, headers: {}, body: Buffer.from(id) });

async function room() {
  const clock = virtualClock();
  const host = { service: 'shop', clock, signals: createSignals(), logger: console, migrate: 'auto' as const };
  const store = await memory().open(host);
  const { waiting, outbox } = store.ports;
  const trouble: unknown[] = [];
  let broken = false;
  const append = async (tx: never, messages: readonly WireMessage[]): Promise<void> => {
    if (broken) throw new Error('no');
    await outbox.append(tx, messages);
  };
  const mover = () => createMover({ store, clock, append: append as never, trouble: (_, error) => trouble.push(error) });
  const delay = (id: string, ms: number) =>
    store.transaction((tx) =>
      waiting.add(tx, [{ subscription: undefined, message: message(id), dueMs: clock.now() + ms, attempt: 0, attempts: 1, firstFailedMs: undefined, error: undefined, reason: 'delayed', inOrder: false }]),
    );
  const ids = async (): Promise<string[]> => (await store.ports.inspect.outbox({ limit: 1_000 })).map(({ id }) => id);
  return { clock, store, mover, delay, ids, trouble, break: (now: boolean) => (broken = now) };
}

describe('the mover', () => {
  it('moves each message when it is due, not before, in the order they are due', async () => {
    const { clock, mover, delay, ids } = await room();
    await delay('late', 500);
    await delay('early', 100);
    const one = mover();
    one.start();
    await clock.advance(99);
    assert.deepEqual(await ids(), []);
    await clock.advance(1);
    assert.deepEqual(await ids(), ['early']);
    await clock.advance(400);
    assert.deepEqual(await ids(), ['early', 'late']);
    await one.stop();
  });

  it('notices within a second what another process delayed, and at once what it is told of', async () => {
    const { clock, mover, delay, ids } = await room();
    const one = mover();
    one.start();
    await clock.advance(10);
    await delay('unheard', 0);
    await clock.advance(1_000);
    assert.deepEqual(await ids(), ['unheard']);
    await delay('told', 0);
    one.wake();
    await clock.advance(0);
    assert.deepEqual(await ids(), ['unheard', 'told']);
    await one.stop();
  });

  it('moves more than one commit holds', async () => {
    const { clock, mover, delay, ids } = await room();
    for (let i = 0; i < 250; i++) await delay(`m${i}`, 1);
    const one = mover();
    one.start();
    await clock.advance(1);
    assert.equal((await ids()).length, 250);
    await one.stop();
  });

  it('moves once, although two do it', async () => {
    const { clock, mover, delay, ids } = await room();
    for (let i = 0; i < 20; i++) await delay(`m${i}`, 1);
    const both = [mover(), mover()];
    for (const one of both) one.start();
    await clock.advance(10);
    assert.equal((await ids()).length, 20);
    for (const one of both) await one.stop();
  });

  it('leaves everything in its place while the ledger takes nothing, and tells', async () => {
    const { clock, mover, delay, ids, store, trouble, break: breakIt } = await room();
    await delay('a', 1);
    breakIt(true);
    const one = mover();
    one.start();
    await clock.advance(5_000);
    assert.deepEqual(await ids(), []);
    assert.equal((await store.ports.inspect.waiting({})).length, 1);
    assert.ok(trouble.length > 1 && trouble.length < 20);
    breakIt(false);
    await clock.advance(60_000);
    assert.deepEqual(await ids(), ['a']);
    await one.stop();
  });
});
