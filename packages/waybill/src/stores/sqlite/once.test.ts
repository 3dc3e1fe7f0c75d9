import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { folder, openStore, testHost } from '../../../test/sqlite/support.ts';

const entry = (key: string, result = '1', retainMs = 1_000) => ({ scope: 's', key, result, fingerprint: undefined, retainMs });

describe('first results', () => {
  it('are found by scope and key, with their fingerprint', async (t) => {
    const store = await openStore(t, ':memory:', Object.assign(testHost(), { nowMs: 1 }));
    const { once } = store.ports;
    await store.transaction(async (tx) => {
      await once.save(tx, { ...entry('k', '{"a":1}'), fingerprint: 'f' });
      await once.save(tx, entry('l', ''));
    });
    await store.transaction(async (tx) => {
      assert.deepEqual(await once.find(tx, 's', 'k'), { result: '{"a":1}', fingerprint: 'f' });
      assert.deepEqual(await once.find(tx, 's', 'l'), { result: '', fingerprint: undefined });
      assert.equal(await once.find(tx, 'other', 'k'), undefined);
    });
  });

  it('are forgotten when they expire, and trimmed then, the oldest first', async (t) => {
    const host = testHost();
    const store = await openStore(t, ':memory:', host);
    const { once } = store.ports;
    host.nowMs = 10;
    await store.transaction(async (tx) => {
      for (const [key, expires] of [['a', 30], ['b', 20], ['c', 40]] as const) await once.save(tx, entry(key, '1', expires - 10));
    });
    host.nowMs = 30;
    await store.transaction(async (tx) => {
      assert.equal(await once.find(tx, 's', 'a'), undefined);
      assert.ok(await once.find(tx, 's', 'c'));
      await once.save(tx, entry('b', '2', 20)); // used again before it was trimmed
    });
    assert.equal(await once.trim(30, 10), 1);
    assert.equal(await once.trim(60, 1), 1);
    assert.equal(await once.trim(60, 10), 1);
  });

  it('may be kept for ever', async (t) => {
    const store = await openStore(t, ':memory:');
    await store.transaction((tx) => store.ports.once.save(tx, entry('k', '1', Infinity)));
    assert.equal(await store.ports.once.trim(Date.now(), 10), 0);
    await store.transaction(async (tx) => assert.ok(await store.ports.once.find(tx, 's', 'k')));
  });

  it('are one: of two that come at once the second finds the first one’s', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const stores = [await openStore(t, file), await openStore(t, file), await openStore(t, file)];
    let runs = 0;
    const results = await Promise.all(
      stores.map((store) =>
        store.transaction(async (tx) => {
          const found = await store.ports.once.find(tx, 's', 'k');
          if (found) return found.result;
          const result = String(++runs);
          await new Promise((resolve) => setImmediate(resolve));
          await store.ports.once.save(tx, entry('k', result, Number.MAX_SAFE_INTEGER));
          return result;
        }, { lazy: true }), // prettier-ignore
      ),
    );
    assert.deepEqual(results, ['1', '1', '1']);
  });
});
