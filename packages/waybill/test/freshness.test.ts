/** Tokens, and how far each source has been applied. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import { Noted, Seen } from './support/contracts.ts';
import { overStores } from './support/stores.ts';

overStores('caughtUp', (store) => {
  it('is true once every subscription here has applied the message, and not before', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const first = bus.subscribe(Noted, () => {});
    const second = bus.subscribe(Noted, { name: 'second' }, () => {});
    await bus.start();
    await second.pause();
    const { token } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), false);
    let answer: boolean | undefined;
    const waited = bus.caughtUp(token, { timeoutMs: 60_000 }).then((value) => (answer = value));
    await bus.advance(10_000);
    assert.equal(answer, undefined);
    await second.resume();
    await bus.settled();
    assert.equal(await waited, true);
    assert.equal(first.name, 'desk.desk.noted');
  });

  it('is true at once in a service that subscribes to nothing of it', async () => {
    const transport = memory();
    await using desk = createTestBus({ service: 'desk', store, transport });
    await using other = createTestBus({ service: 'other', store, transport });
    const { token } = await desk.publish(Noted, { text: 'a' });
    assert.equal(await other.caughtUp(token, { timeoutMs: 0 }), true);
  });

  it('is false while the message waits for a retry, and after it has failed; true once it was retried', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let broken = true;
    bus.subscribe(Noted, { retry: { immediate: 0, delayed: 1 } }, () => {
      if (broken) throw new Error('no');
    });
    const { token } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), false);
    await bus.advance(10_000);
    assert.equal((await bus.failures()).length, 1);
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), false);
    broken = false;
    await operations(bus).failures.retry({});
    await bus.settled();
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), true);
  });

  it('is false at the timeout', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const subscription = bus.subscribe(Noted, () => {});
    await bus.start();
    await subscription.pause();
    const { token } = await bus.publish(Noted, { text: 'a' });
    const waited = bus.caughtUp(token, { timeoutMs: 2_000 });
    const began = bus.clock.monotonic();
    await bus.advance(2_000);
    assert.equal(await waited, false);
    assert.equal(bus.clock.monotonic() - began, 2_000);
  });

  it('does not wait for a subscription that was removed', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const subscription = bus.subscribe(Noted, () => {});
    await bus.start();
    await subscription.unsubscribe();
    const { token } = await bus.publish(Noted, { text: 'a' });
    assert.equal(await bus.caughtUp(token, { timeoutMs: 0 }), true);
  });

  it('leaves no listener and no timer behind', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, () => {});
    const { token } = await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    for (let i = 0; i < 100; i++) await bus.caughtUp(token, { timeoutMs: 1_000_000 });
    const { length } = bus.history();
    await bus.advance(1_000);
    assert.equal(bus.history().length, length);
  });

  it('takes a token that travelled as text, and one with the longest id', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, () => {});
    const { token } = await bus.publish(Noted, { text: 'a' }, { id: '€'.repeat(200) });
    assert.match(token, /^[A-Za-z0-9_-]+$/, 'fit for cookies and addresses');
    await bus.settled();
    assert.equal(await bus.caughtUp(decodeURIComponent(encodeURIComponent(token)), { timeoutMs: 0 }), true);
  });
});

overStores('freshness', (store) => {
  it('tells per source and subscription how far it is, and what waits', async () => {
    const transport = memory();
    await using catalog = createTestBus({ service: 'catalog', store, transport });
    await using desk = createTestBus({ service: 'desk', store, transport });
    const notes = desk.subscribe(Noted, { name: 'notes' }, () => {});
    desk.subscribe(Seen, { name: 'sights' }, () => {});
    await catalog.publish(Noted, { text: 'a' });
    await catalog.settled();
    const published = new Date(desk.clock.now());
    assert.deepEqual(await desk.freshness(), [
      { source: 'catalog', subscription: 'desk.notes', appliedUntil: published, waiting: 0, state: 'current' },
    ]);
    await notes.pause();
    await catalog.advance(10_000);
    await catalog.publishAll([Noted.of({ text: 'b' }), Noted.of({ text: 'c' })]);
    await catalog.settled();
    const [row] = await desk.freshness('catalog');
    assert.equal(row!.waiting, 2);
    assert.equal(row!.state, 'behind');
    assert.deepEqual(await desk.freshness('nobody'), []);
  });

  it('says failing while a message of the subscription is in failures', async () => {
    await using desk = createTestBus({ service: 'desk', store });
    desk.subscribe(Noted, { retry: false }, () => {
      throw new Error('no');
    });
    await desk.publish(Noted, { text: 'a' });
    await desk.settled();
    assert.equal((await desk.freshness())[0]!.state, 'failing');
    await operations(desk).failures.delete({});
    assert.equal((await desk.freshness())[0]!.state, 'current');
  });
});
