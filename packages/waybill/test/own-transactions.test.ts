/** Handlers with transactions of their own, beside others and behind them. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Host, StoreSession } from '../src/contract/store.ts';
import { memory } from '../src/stores/memory/index.ts';
import { createTestBus } from 'waybill/testing';
import { Noted, Priced } from './support/contracts.ts';

it('what comes while one of many runs does not wait for it, however many there is room for', async () => {
  await using bus = createTestBus({ service: 'view', store: 'memory:' });
  const [began, other] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  bus.subscribe(Noted, { transaction: 'own', concurrency: 50 }, async ({ text }) => {
    if (text === 'other') return other.resolve();
    began.resolve();
    await other.promise;
  });
  await bus.publish(Noted, { text: 'first' });
  await began.promise;
  await bus.publish(Noted, { text: 'other' });
  await bus.settled();
  assert.deepEqual(bus.history().flatMap(({ signal }) => (signal === 'retrying' || signal === 'applied' ? [signal] : [])), ['applied', 'applied']);
});

it('what cannot be put behind the one that waits is not run before it', async () => {
  const store = memory();
  let refusals = 1;
  const open = async (host: Host): Promise<StoreSession> => {
    const real = await store.open(host);
    const { waiting } = real.ports;
    const add: typeof waiting.add = (tx, entries, taken) => {
      if (entries.some(({ reason }) => reason === 'behind') && refusals-- > 0) throw new Error('refused');
      return waiting.add(tx, entries, taken);
    };
    return Object.assign(Object.create(real) as StoreSession, { ports: { ...real.ports, waiting: { ...waiting, add } } });
  };
  await using bus = createTestBus({ service: 'view', store: { ...store, open } as never });
  const seen: number[] = [];
  let broken = true;
  bus.subscribe(Priced, { order: 'by-key', transaction: 'own' }, ({ revision }) => {
    if (revision === 1 && broken) throw new Error('not yet');
    seen.push(revision);
  });
  await bus.publish(Priced, { id: 'a', price: 1, revision: 1 });
  await bus.settled();
  await bus.publish(Priced, { id: 'a', price: 2, revision: 2 });
  await bus.settled();
  broken = false;
  await bus.advance(60_000);
  assert.deepEqual(seen, [1, 2]);
});
