import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createInHand } from './in-hand.ts';
import type { Item, Outcome } from './item.ts';

const delivered = (id: string): Item => ({ delivery: { id }, row: undefined, incoming: { kind: 'run' } }) as never;
const waited = (row: number, started = true): Item => ({ delivery: undefined, row: { row }, line: { left: 1, broken: false }, started, incoming: { kind: 'run' } }) as never;
const applied: Outcome = { kind: 'applied', attempt: 1 };

function hand(broken: { settle?: boolean; release?: boolean; store?: boolean; exclusive?: boolean } = {}) {
  const seen: string[] = [];
  const ids = (all: readonly any[]): string => all.map((one) => one.id ?? one.row?.row ?? one.delivery?.id).join(',');
  const inHand = createInHand({
    plan: { name: 'shop.x' },
    owner: broken.exclusive ? 'shop.x' : 'me',
    store: {
      transaction: async (work: (tx: unknown) => unknown) => (broken.store ? assert.fail('down') : (seen.push('begun'), work('tx'))),
      ports: { waiting: { settle: async (_: unknown, { row }: any, into: unknown) => void seen.push(`kept ${row} ${JSON.stringify(into)}`) } },
    },
    consumer: {
      settle: async (all: any[]) => (broken.settle ? assert.fail('gone') : void seen.push(`settled ${ids(all)}`)),
      release: async (all: any[]) => (broken.release ? assert.fail('gone') : void seen.push(`released ${ids(all)}`)),
    },
    claims: { end: (items: readonly Item[]) => void seen.push(`ended ${ids(items)}`) },
    report: (item: Item, outcome: Outcome) => void seen.push(`told ${ids([item])} ${outcome.kind}`),
    trouble: (where: string) => void seen.push(where),
    wake: () => void seen.push('woken'),
  } as never);
  return { inHand, seen };
}

describe('what is in hand', () => {
  it('is settled at the consumer before it is told of', async () => {
    const { inHand, seen } = hand();
    await inHand.done([delivered('a'), delivered('b')], [applied, { kind: 'duplicate' }]);
    assert.deepEqual(seen, ['settled a,b', 'ended a,b', 'told a applied', 'told b duplicate']);
  });

  it('is neither ended nor told of where the consumer does not settle it: that comes again', async () => {
    const { inHand, seen } = hand({ settle: true });
    inHand.held.add(7);
    await assert.rejects(inHand.done([delivered('a'), waited(7)], [applied, applied]), /gone/);
    assert.deepEqual([seen, [...inHand.held]], [[], [7]]);
  });

  it('wakes who looks at what waits when something of that may be due sooner', async () => {
    for (const [item, outcome] of [[waited(7), applied], [delivered('a'), { kind: 'moved' }], [delivered('a'), { kind: 'retrying', attempt: 1, dueMs: 0, error: 0 }]] as const) {
      const { inHand, seen } = hand();
      await inHand.done([item], [outcome]);
      assert.equal(seen.at(-1), 'woken');
    }
  });

  it('wakes nobody for a line of which more is in hand: that is looked at when it is over', async () => {
    const { inHand, seen } = hand();
    const line = { left: 2, broken: false };
    const [first, second] = [waited(7), waited(8)].map((item) => ({ ...item, line }));
    await inHand.done([first!], [applied]);
    assert.ok(!seen.includes('woken'));
    await inHand.done([second!], [applied]);
    assert.equal(seen.at(-1), 'woken');
  });

  it('may be taken again once it is let go of, in whatever way', async () => {
    for (const way of ['done', 'letGo', 'forget', 'giveBack'] as const) {
      const { inHand } = hand();
      inHand.held.add(7).add(8);
      await inHand[way]([waited(7)], [applied]);
      assert.deepEqual([...inHand.held], [8], way);
    }
  });

  it('takes its start back when it is given back, or it would look like a crash', async () => {
    const { inHand, seen } = hand();
    await inHand.giveBack([delivered('a'), waited(7), waited(8, false)]);
    assert.deepEqual(seen, ['released a', 'ended a,7,8', 'begun', 'kept 7 {}']);
  });

  it('takes back all starts in one transaction, in the order of rows', async () => {
    const { inHand, seen } = hand();
    await inHand.giveBack([waited(9), waited(7), waited(8)]);
    assert.deepEqual(seen, ['ended 9,7,8', 'begun', 'kept 7 {}', 'kept 8 {}', 'kept 9 {}']);
  });

  it('takes its start back when it is forgotten, too: a lease that is lost is no crash', async () => {
    const { inHand, seen } = hand();
    await inHand.forget([delivered('a'), waited(7)]);
    assert.deepEqual(seen, ['ended a,7', 'released a', 'begun', 'kept 7 {}']);
  });

  it('leaves its start where the next holder of the lease has the same name: it may be that one’s by now', async () => {
    const { inHand, seen } = hand({ exclusive: true });
    await inHand.forget([waited(7)]);
    assert.deepEqual(seen, ['ended 7']);
  });

  it('is given back as far as can be while consumer and store are away', async () => {
    const { inHand, seen } = hand({ release: true, store: true });
    inHand.held.add(7);
    await inHand.giveBack([delivered('a'), waited(7)]);
    assert.deepEqual([seen, [...inHand.held]], [['shop.x: giving back what was not handled', 'ended a,7'], []]);
  });
});
