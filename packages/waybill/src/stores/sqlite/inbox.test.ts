import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { failure, folder, openStore, testHost, waitingEntry, wire } from '../../../test/sqlite/support.ts';
import type { SqliteStoreSession } from './port.ts';

const key = (id: string, source = 'catalog') => ({ id, source });
const taken = (store: SqliteStoreSession): Promise<string[]> =>
  store.database.read((statements) =>
    statements.all<{ k: string }>("select subscription || ' ' || source || ' ' || id as k from waybill_inbox order by k").map((row) => row.k),
  );

describe('the inbox', () => {
  it('takes a message on once per subscription and source', async (t) => {
    const store = await openStore(t, ':memory:');
    const { inbox } = store.ports;
    await store.transaction(async (tx) => {
      assert.deepEqual(await inbox.insert(tx, 'a', [key('1'), key('2'), key('1')]), [true, true, false]);
      assert.deepEqual(await inbox.insert(tx, 'b', [key('1')]), [true]);
      assert.deepEqual(await inbox.insert(tx, 'a', [key('1', 'ordering')]), [true]);
    });
    await store.transaction(async (tx) => assert.deepEqual(await inbox.insert(tx, 'a', [key('2'), key('3')]), [false, true]));
    assert.equal(await inbox.has('a', key('3')), true);
    assert.equal(await inbox.has('b', key('3')), false);
  });

  it('forgets what was rolled back, whole or in part', async (t) => {
    const store = await openStore(t, join(folder(t), 'catalog.db'));
    const { inbox } = store.ports;
    await assert.rejects(store.transaction(async (tx) => (await inbox.insert(tx, 'a', [key('1')]), assert.fail('no'))));
    assert.equal(await inbox.has('a', key('1')), false);
    await store.transaction(async (tx) => {
      await assert.rejects(tx.savepoint(async () => (await inbox.insert(tx, 'a', [key('1')]), assert.fail('no'))));
      assert.deepEqual(await inbox.insert(tx, 'a', [key('1')]), [true]);
      assert.equal(await inbox.has('a', key('1')), false); // not committed yet
    });
    assert.equal(await inbox.has('a', key('1')), true);
  });

  it('knows ids that rise without asking for each, and finds every other one all the same', async (t) => {
    const store = await openStore(t, join(folder(t), 'catalog.db'));
    const { inbox } = store.ports;
    const insert = (ids: readonly string[], source = 'catalog', subscription = 'a'): Promise<readonly boolean[]> =>
      store.transaction(async (tx) => {
        const fresh: boolean[] = [];
        for (const id of ids) fresh.push(...(await inbox.insert(tx, subscription, [key(id, source)])));
        return fresh;
      });
    const many = Array.from({ length: 100 }, (_, i) => `id-${String(i).padStart(3, '0')}`);
    assert.deepEqual(await insert(many), many.map(() => true)); // three statements' worth, and some more
    assert.deepEqual(await insert(many), many.map(() => false));
    assert.deepEqual(await insert(['id-0985', 'id-098', 'id-0985', 'id-1', 'id-1', 'id-0']), [true, false, false, true, false, true]);
    // By bytes '\uffff' stands before '\u{1f600}', by JavaScript behind it: the second insert must not believe itself at the end.
    assert.deepEqual(await insert(['\u{1f600}'], 'odd'), [true]);
    assert.deepEqual(await insert(['\uffff'], 'odd'), [true]);
    assert.deepEqual(await insert(['\uffff', '\u{1f600}', 'z'], 'odd'), [false, false, true]);
    assert.equal((await taken(store)).length, 103 + 3);
  });

  it('tells sources and subscriptions of one transaction apart, in any turn', async (t) => {
    const store = await openStore(t, ':memory:');
    const { inbox } = store.ports;
    const given = [['a', 'x', '5'], ['b', 'x', '4'], ['a', 'y', '3'], ['a', 'x', '6'], ['b', 'x', '4'], ['a', 'y', '3'], ['a', 'x', '4']] as const;
    const fresh = await store.transaction(async (tx) => {
      const found: boolean[] = [];
      for (const [subscription, source, id] of given) found.push(...(await inbox.insert(tx, subscription, [key(id, source)])));
      return found;
    });
    assert.deepEqual(fresh, [true, true, true, true, false, false, true]);
    assert.deepEqual(await taken(store), ['a x 4', 'a x 5', 'a x 6', 'a y 3', 'b x 4']);
  });

  it('believes nothing that a savepoint took back, whoever asks through which handle', async (t) => {
    const store = await openStore(t, ':memory:');
    const { inbox } = store.ports;
    await store.transaction(async (tx) => {
      assert.deepEqual(await inbox.insert(tx, 'a', [key('1')]), [true]);
      await assert.rejects(
        tx.savepoint(async (native) => {
          assert.deepEqual(await inbox.insert(store.join(native), 'a', [key('1'), key('2')]), [false, true]);
          assert.deepEqual(await inbox.insert(tx, 'a', [key('2'), key('3')]), [false, true]);
          assert.fail('undone');
        }),
      );
      assert.deepEqual(await inbox.insert(tx, 'a', [key('3'), key('2'), key('1')]), [true, true, false]);
    });
    assert.deepEqual(await taken(store), ['a catalog 1', 'a catalog 2', 'a catalog 3']);
  });

  it('carries over what the same transaction has taken on', async (t) => {
    const store = await openStore(t, ':memory:');
    const { inbox } = store.ports;
    await store.transaction(async (tx) => {
      await inbox.insert(tx, 'old', [key('1'), key('2')]);
      await inbox.insert(tx, 'new', [key('0')]);
      await inbox.rename(tx, 'old', 'new');
      assert.deepEqual(await inbox.insert(tx, 'new', [key('1'), key('3')]), [false, true]);
    });
    assert.deepEqual(await taken(store), ['new catalog 0', 'new catalog 1', 'new catalog 2', 'new catalog 3']);
  });

  it('raises a watermark, never lowers it, up to 64 bits', async (t) => {
    const store = await openStore(t, ':memory:');
    const mark = (sequence: bigint, event = 'catalog.price', of = 'k') => ({ subscription: 'a', source: 'catalog', event, key: of, sequence });
    const high = 2n ** 63n - 1n;
    await store.transaction(async (tx) => {
      const advance = async (...args: Parameters<typeof mark>): Promise<boolean> => store.ports.inbox.advance(tx, mark(...args));
      assert.equal(await advance(-5n), true);
      assert.equal(await advance(0n), true);
      assert.equal(await advance(0n), false);
      assert.equal(await advance(-1n), false);
      assert.equal(await advance(high - 1n), true);
      assert.equal(await advance(high - 2n), false);
      assert.equal(await advance(high), true);
      assert.equal(await advance(high), false);
      assert.equal(await advance(1n, 'catalog.stock'), true); // another event, another key: their own marks
      assert.equal(await advance(1n, 'catalog.price', 'other'), true);
    });
  });

  it('goes over to a subscription’s new name with everything that belongs to it', async (t) => {
    const store = await openStore(t, ':memory:');
    const { inbox, waiting, failures, inspect } = store.ports;
    const mark = { source: 'catalog', event: 'e', key: 'k' };
    await store.transaction(async (tx) => {
      await inbox.insert(tx, 'old', [key('1'), key('2')]);
      await inbox.insert(tx, 'new', [key('2')]);
      await inbox.advance(tx, { ...mark, subscription: 'old', sequence: 7n });
      await inbox.advance(tx, { ...mark, subscription: 'new', sequence: 5n });
      await inbox.advance(tx, { ...mark, key: 'l', subscription: 'old', sequence: 1n });
      await inbox.advance(tx, { ...mark, key: 'l', subscription: 'new', sequence: 9n });
      for (const subscription of ['old', 'new']) {
        await waiting.add(tx, [waitingEntry({ subscription, message: wire({ id: `w-${subscription}`, key: 'k' }), inOrder: true })]);
        await failures.add(tx, [failure({ subscription })]);
      }
      await inbox.rename(tx, 'old', 'new');
      assert.equal(await inbox.advance(tx, { ...mark, subscription: 'new', sequence: 7n }), false);
      assert.equal(await inbox.advance(tx, { ...mark, key: 'l', subscription: 'new', sequence: 8n }), false);
      assert.equal(await inbox.advance(tx, { ...mark, subscription: 'old', sequence: 1n }), true); // nothing is left there
    });
    assert.deepEqual(await taken(store), ['new catalog 1', 'new catalog 2']);
    const due = await waiting.due('new', 10, 10);
    assert.deepEqual(due.rows.map((row) => row.message.id), ['w-old']); // one line, the older row at its head
    assert.equal((await inspect.failures({ subscription: 'new' })).length, 2);
  });

  it('is trimmed of what is old, and of nothing that still waits or has failed', async (t) => {
    const host = testHost();
    const store = await openStore(t, ':memory:', host);
    const { inbox, waiting, failures } = store.ports;
    const source = 'catalog';
    host.nowMs = 1_000;
    await store.transaction(async (tx) => {
      await inbox.insert(tx, 'a', ['old', 'waits', 'failed', 'same-id'].map((id) => key(id)));
      await waiting.add(tx, [waitingEntry({ subscription: 'a', message: wire({ id: 'waits', source }) })]);
      await failures.add(tx, [failure({ subscription: 'a', message: wire({ id: 'failed', source }) })]);
      // of others: another subscription's, another source's
      await waiting.add(tx, [waitingEntry({ subscription: 'b', message: wire({ id: 'same-id', source }) })]);
      await failures.add(tx, [failure({ subscription: 'a', message: wire({ id: 'same-id', source: 'ordering' }) })]);
    });
    host.nowMs = 2_000;
    await store.transaction((tx) => inbox.insert(tx, 'a', [key('young')]));
    assert.equal(await inbox.trim(1_000, 10), 0);
    assert.equal(await inbox.trim(2_000, 10), 2);
    assert.deepEqual(await taken(store), ['a catalog failed', 'a catalog waits', 'a catalog young']);
  });

  it('is trimmed the oldest first, up to as many rows as were asked for', async (t) => {
    const host = testHost();
    const store = await openStore(t, ':memory:', host);
    for (const [nowMs, id] of [[3, 'a'], [1, 'z'], [2, 'm']] as const) {
      host.nowMs = nowMs;
      await store.transaction((tx) => store.ports.inbox.insert(tx, 's', [key(id)]));
    }
    assert.equal(await store.ports.inbox.trim(9, 2), 2);
    assert.deepEqual(await taken(store), ['s catalog a']);
  });
});
