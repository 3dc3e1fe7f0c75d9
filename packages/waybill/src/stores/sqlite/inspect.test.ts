import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { failure, folder, openStore, waitingEntry, wire } from '../../../test/sqlite/support.ts';
import type { SqliteStoreSession } from './port.ts';

async function withLedger(t: TestContext, messages: number): Promise<SqliteStoreSession> {
  const store = await openStore(t, join(folder(t), 'catalog.db'));
  const all = Array.from({ length: messages }, (_, n) => wire({ id: `e${n + 1}` }));
  await store.transaction((tx) => store.ports.outbox.append(tx, all));
  return store;
}

describe('the list of what was sent', () => {
  it('says published where the commit is the publish', async (t) => {
    const store = await openStore(t, ':memory:');
    await store.transaction((tx) => store.ports.outbox.append(tx, [wire({ id: 'a', kind: 'command', recipient: 'basket', key: 'k', time: 5 })]));
    assert.deepEqual(await store.ports.inspect.outbox({}), [
      { position: 1, id: 'a', type: 'catalog.price-changed.v1', kind: 'command', recipient: 'basket', key: 'k', timeMs: 5, state: 'published' },
    ]);
    assert.deepEqual(await store.ports.inspect.outbox({ state: 'ready' }), []);
    assert.deepEqual(await store.ports.inspect.counts(), { ready: 0, waiting: 0, failed: 0 });
  });

  it('says ready, published and failed where a relay sends, from its first hour on', async (t) => {
    const store = await withLedger(t, 5);
    const ids = async (state: 'ready' | 'published' | 'failed'): Promise<string[]> =>
      (await store.ports.inspect.outbox({ state })).map((entry) => entry.id);
    const lease = (await store.ports.outbox.acquire('me', 3_000))!;
    assert.deepEqual(await ids('ready'), ['e1', 'e2', 'e3', 'e4', 'e5']);
    await lease.settle(3, [failure({ subscription: undefined, message: wire({ id: 'e2' }) })]);
    await store.transaction((tx) => store.ports.failures.add(tx, [failure({ message: wire({ id: 'e1' }) })])); // a receiver's, not ours
    assert.deepEqual([await ids('ready'), await ids('published'), await ids('failed')], [['e4', 'e5'], ['e1', 'e3'], ['e2']]);
    assert.deepEqual(await store.ports.inspect.counts(), { ready: 2, waiting: 0, failed: 2 });
  });

  it('comes in pages, and finds an id far behind in a long ledger', async (t) => {
    const store = await withLedger(t, 7_000);
    const { inspect } = store.ports;
    const positions = (entries: readonly { position: number }[]): number[] => entries.map((entry) => entry.position);
    assert.equal((await inspect.outbox({})).length, 100);
    assert.deepEqual(positions(await inspect.outbox({ after: 6_998 })), [6_999, 7_000]);
    assert.deepEqual(positions(await inspect.outbox({ after: 2, limit: 2 })), [3, 4]);
    assert.equal((await inspect.outbox({ limit: 1_000_000 })).length, 1_000);
    assert.deepEqual(await inspect.outbox({ limit: 0 }), []);
    assert.deepEqual(await inspect.outbox({ after: 7_000 }), []);
    assert.deepEqual(positions(await inspect.outbox({ id: 'e6543' })), [6_543]);
    assert.deepEqual(await inspect.outbox({ id: 'e6543', after: 6_543 }), []);
    await store.ports.outbox.trim(Infinity, 6_000);
    assert.deepEqual(positions(await inspect.outbox({ limit: 1 })), [6_001]);
  });
});

describe('the list of what waits', () => {
  it('is filtered by subscription, by nobody’s, and by id', async (t) => {
    const store = await openStore(t, ':memory:');
    await store.transaction((tx) =>
      store.ports.waiting.add(tx, [
        waitingEntry({ message: wire({ id: 'a' }) }),
        waitingEntry({ message: wire({ id: 'b' }), subscription: undefined, reason: 'delayed' }),
        waitingEntry({ message: wire({ id: 'a' }), subscription: 'other' }),
      ]),
    );
    const rows = async (page: Parameters<typeof store.ports.inspect.waiting>[0]): Promise<number[]> =>
      (await store.ports.inspect.waiting(page)).map((row) => row.row);
    assert.deepEqual(await rows({}), [1, 2, 3]);
    assert.deepEqual(await rows({ subscription: 'other' }), [3]);
    assert.deepEqual(await rows({ subscription: null }), [2]);
    assert.deepEqual(await rows({ id: 'a' }), [1, 3]);
    assert.deepEqual(await rows({ id: 'a', after: 1 }), [3]);
    assert.deepEqual(await rows({ limit: 1, after: 1 }), [2]);
  });
});

describe('the list of failures', () => {
  it('is filtered by all it has, also together', async (t) => {
    const store = await openStore(t, ':memory:');
    await store.transaction((tx) =>
      store.ports.failures.add(tx, [
        failure({ message: wire({ id: 'a', type: 'x.v1' }) }),
        failure({ subscription: undefined, error: { code: 'UNROUTABLE', message: 'm', stack: undefined } }),
        failure({ subscription: 'other', message: wire({ id: 'a' }) }),
      ]),
    );
    const rows = async (filter: Parameters<typeof store.ports.inspect.failures>[0]): Promise<number[]> =>
      (await store.ports.inspect.failures(filter)).map((row) => row.row);
    assert.deepEqual(await rows({}), [1, 2, 3]);
    assert.deepEqual(await rows({ subscription: null }), [2]);
    assert.deepEqual(await rows({ subscription: 'other' }), [3]);
    assert.deepEqual(await rows({ type: 'x.v1' }), [1]);
    assert.deepEqual(await rows({ code: 'UNROUTABLE' }), [2]);
    assert.deepEqual(await rows({ id: 'a' }), [1, 3]);
    assert.deepEqual(await rows({ id: 'a', subscription: 'other' }), [3]);
    assert.deepEqual(await rows({ code: 'UNROUTABLE', subscription: 'other' }), []);
    assert.deepEqual(await rows({ group: 'none' }), []);
  });
});
