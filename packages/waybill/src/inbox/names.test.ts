import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { InboxPort, StoreTransaction } from '../contract/store.ts';
import { underAllNames } from './names.ts';

const tx = {} as StoreTransaction;

function inbox(): { port: InboxPort; rows: Set<string>; marks: Map<string, bigint> } {
  const rows = new Set<string>();
  const marks = new Map<string, bigint>();
  const port = {
    insert: (_: unknown, subscription: string, keys: { id: string }[]) =>
      keys.map(({ id }) => {
        const key = `${subscription}/${id}`;
        return rows.has(key) ? false : Boolean(rows.add(key));
      }),
    has: async (subscription: string, { id }: { id: string }) => rows.has(`${subscription}/${id}`),
    advance(_: unknown, { subscription, sequence }: { subscription: string; sequence: bigint }) {
      if ((marks.get(subscription) ?? -1n) >= sequence) return false;
      return Boolean(marks.set(subscription, sequence));
    },
  };
  return { port: port as unknown as InboxPort, rows, marks };
}

describe('the inbox of a renamed subscription', () => {
  const keys = [{ source: 's', id: 'a' }, { source: 's', id: 'b' }]; // prettier-ignore

  it('finds what an instance took on that knows only the old name, and the other way round', async () => {
    const { port } = inbox();
    const renamed = underAllNames(port, { name: 'new', formerly: ['old'] });
    await port.insert(tx, 'old', keys.slice(0, 1));
    assert.deepEqual(await renamed.insert(tx, 'new', keys), [false, true]);
    assert.deepEqual(await port.insert(tx, 'old', keys), [false, false]);
    assert.equal(await renamed.has('new', keys[0]!), true);
  });

  it('lets no watermark of the old name be overtaken backwards', async () => {
    const { port } = inbox();
    const renamed = underAllNames(port, { name: 'new', formerly: ['old'] });
    const mark = { subscription: 'new', source: 's', event: 'e', key: 'k' };
    assert.equal(await port.advance(tx, { ...mark, subscription: 'old', sequence: 5n }), true);
    assert.equal(await renamed.advance(tx, { ...mark, sequence: 4n }), false);
    assert.equal(await renamed.advance(tx, { ...mark, sequence: 6n }), true);
    assert.equal(await port.advance(tx, { ...mark, subscription: 'old', sequence: 6n }), false);
  });

  it('is the inbox itself where there was no other name', () => {
    const { port } = inbox();
    assert.equal(underAllNames(port, { name: 'new', formerly: [] }), port);
  });
});
