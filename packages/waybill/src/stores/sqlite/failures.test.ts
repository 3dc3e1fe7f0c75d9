import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { FailureRow } from '../../contract/store.ts';
import { failure, openStore, wire } from '../../../test/sqlite/support.ts';
import type { SqliteStoreSession } from './port.ts';

const add = (store: SqliteStoreSession, ...rows: Partial<FailureRow>[]): Promise<void> =>
  store.transaction((tx) => store.ports.failures.add(tx, rows.map((row) => failure(row))));

describe('failures', () => {
  it('keep the original bytes and all that is known', async (t) => {
    const store = await openStore(t, ':memory:');
    const row = failure({
      message: wire({ kind: 'command', recipient: 'basket', key: 'k', body: new Uint8Array([0, 255]) }),
      error: { code: 'X', message: 'no', stack: 'Error: no\n    at f (app.ts:1:2)' },
      holds: true,
    });
    await add(store, row);
    assert.deepEqual(await store.ports.inspect.failures({}), [{ ...row, row: 1 }]);
  });

  it('are moved: taken once, gone from the list, back when the transaction is undone', async (t) => {
    const store = await openStore(t, ':memory:');
    const { failures, inspect } = store.ports;
    await add(store, { message: wire({ id: 'a' }) }, { message: wire({ id: 'b' }) }, { message: wire({ id: 'c' }) });
    await assert.rejects(store.transaction(async (tx) => (await failures.take(tx, [1]), assert.fail('no'))));
    assert.equal((await inspect.failures({})).length, 3);
    const taken = await store.transaction((tx) => failures.take(tx, [3, 1, 99, 3]));
    assert.deepEqual(taken.map((row) => [row.row, row.message.id]), [[3, 'c'], [1, 'a']]); // prettier-ignore
    assert.deepEqual((await inspect.failures({})).map((row) => row.message.id), ['b']);
  });

  it('are the same trouble when they were thrown at one line with one kind of message', async (t) => {
    const store = await openStore(t, ':memory:');
    const error = (message: string, line: number, code = 'HANDLER_FAILED') => ({
      code,
      message,
      stack: `Error: ${message}\n    at query (node:internal/x:1:1)\n    at pool (/app/node_modules/pg/lib.js:7:3)\n    at handle (/app/src/prices.ts:${line}:${message.length})`,
    });
    await add(
      store,
      { error: error('no product "p1" (id 17)', 5), firstFailedMs: 30, lastFailedMs: 40 },
      { error: error('no product "p2 and more" (id 4.5)', 5), firstFailedMs: 10, lastFailedMs: 20 },
      { error: error('no product 01890a5d-ac96-774b-bcce-b302099a8057', 5) },
      { error: error('no product "p1" (id 17)', 6) },
      { error: error('no product "p1" (id 17)', 5, 'OTHER') },
      { error: error('no product "p1" (id 17)', 5), subscription: 'basket.other' },
      { error: error('no product "p1" (id 17)', 5), message: wire({ type: 'other.v1' }) },
    );
    const groups = await store.ports.inspect.failureGroups();
    assert.deepEqual(groups.map((group) => group.count).sort((a, b) => a - b), [1, 1, 1, 1, 1, 2]);
    const pair = groups.find((group) => group.count === 2)!;
    assert.deepEqual(
      { ...pair, group: '' },
      {
        group: '',
        subscription: 'basket.prices',
        type: 'catalog.price-changed.v1',
        code: 'HANDLER_FAILED',
        message: 'no product "p2 and more" (id 4.5)',
        count: 2,
        firstMs: 10,
        lastMs: 40,
      },
    );
    const members = await store.ports.inspect.failures({ group: pair.group });
    assert.deepEqual(members.map((row) => row.row), [1, 2]);
    assert.deepEqual((await store.ports.inspect.failures({ group: pair.group, after: 1 })).map((row) => row.row), [2]);
  });

  it('without a stack, or of what could not be sent, have a group too', async (t) => {
    const store = await openStore(t, ':memory:');
    await add(store, { subscription: undefined, error: { code: 'UNROUTABLE', message: 'nobody', stack: undefined } });
    const [group] = await store.ports.inspect.failureGroups();
    assert.deepEqual([group!.subscription, group!.code, group!.count], [undefined, 'UNROUTABLE', 1]);
  });
});
