import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { virtualClock } from '../testing/clock.ts';
import type { Item } from './item.ts';
import { createTaking } from './taking.ts';

const row = (id: number, more: object = {}) => ({ row: id, starts: 0, attempt: 0, reason: 'retry', message: { id: String(id), headers: {} }, ...more });

function taking(options: { rows?: object[]; deliveries?: object[]; nextDueMs?: number; decode?: (of: any) => any; mayNotRun?: boolean; active?: boolean; behind?: () => Promise<object[]>; receives?: () => void } = {}) {
  const clock = virtualClock();
  const seen = { forgets: 0, looks: 0, waits: [] as number[], released: [] as unknown[], pushed: [] as (readonly Item[])[] };
  const held = new Set<number>();
  const one = createTaking({
    plan: { name: 'shop.x', lingerMs: 0, mode: 'shared' },
    store: {
      capabilities: { cheapSavepoints: options.behind === undefined },
      ports: { waiting: { behind: options.behind, due: async () => (seen.looks++, { rows: options.rows ?? [], nowMs: 0, nextDueMs: options.nextDueMs }) } },
    },
    consumer: {
      active: options.active ?? true,
      receive: async (_: number, { waitMs }: { waitMs: number }) => (seen.waits.push(waitMs), options.receives?.(), options.deliveries ?? []),
      release: (all: unknown[]) => void seen.released.push(...all),
      settle: () => {},
    },
    clock,
    decode: options.decode ?? ((of: any) => ({ kind: 'run', wire: of, envelope: {} })),
    owner: 'me',
    held,
    room: () => 10,
    mayNotRun: () => options.mayNotRun ?? false,
    forgets: () => seen.forgets,
    stopping: new AbortController().signal,
    push: (items: readonly Item[]) => void seen.pushed.push(items),
  } as never);
  return { ...one, seen, held, clock };
}

describe('taking', () => {
  it('looks at what waits at first, then only when something may be due or it is asked', async () => {
    const { take, lookAgain, wake, seen, clock } = taking({ nextDueMs: 400 });
    await take();
    await take();
    assert.deepEqual([seen.looks, seen.waits], [1, [400, 400]]);
    await clock.advance(400);
    await take();
    assert.equal(seen.looks, 2);
    lookAgain();
    await take();
    wake();
    await take();
    assert.equal(seen.looks, 4);
  });

  it('waits for deliveries no longer than ten seconds, though nothing else is due', async () => {
    const { take, seen } = taking();
    await take();
    assert.deepEqual(seen.waits, [10_000]);
  });

  it('leaves what waits to whoever is active, and looks once it is that itself', async () => {
    const { take, seen } = taking({ active: false });
    await take();
    assert.deepEqual([seen.looks, seen.waits], [0, [1_000]]);
  });

  it('takes a waiting row once while it is in hand', async () => {
    const { take, lookAgain, seen, held } = taking({ rows: [row(1), row(2)] });
    held.add(1);
    await take();
    lookAgain();
    await take();
    assert.deepEqual(seen.pushed.flat().map((item) => item.row?.row), [2]);
    assert.deepEqual([...held], [1, 2]);
  });

  it('lets what took the process along run alone, and parks it after the fourth time', async () => {
    const { take, seen } = taking({ rows: [row(1, { starts: 3 }), row(2, { starts: 4 }), row(3, { starts: 4, attempt: 4 })] });
    await take();
    const [crashed, given, retried] = seen.pushed[0]!;
    assert.deepEqual([crashed!.crashes, crashed!.together, crashed!.incoming.kind], [3, 1, 'run']);
    assert.equal((given!.incoming as { error: { code?: string } }).error.code, 'HANDLER_CRASHED');
    assert.deepEqual([retried!.crashes, retried!.together], [0, Infinity]);
  });

  it('gives what this instance cannot read to others first', async () => {
    const { take, seen, clock } = taking({ rows: [row(1)], decode: (of) => ({ kind: 'leave', wire: of }) });
    await take();
    assert.deepEqual(seen.pushed.flat(), []);
    await clock.advance(250);
    assert.deepEqual(seen.pushed.flat().map((item) => item.row?.row), [1]);
  });

  it('takes with a row what stands behind it, as far as it can be read here and is not in hand', async () => {
    const line = (id: number, key: string) => row(id, { inOrder: true, message: { id: String(id), key, headers: {} } });
    const { take, seen, held } = taking({
      rows: [line(1, 'a'), line(2, 'b'), line(3, 'c')],
      behind: async () => [line(4, 'a'), line(5, 'a'), line(6, 'b'), line(7, 'b'), line(8, 'c'), line(9, 'c')],
      decode: (of) => ({ kind: of.id === '6' ? 'leave' : 'run', wire: of, envelope: {} }),
    });
    held.add(9);
    await take();
    const pushed = seen.pushed.flat();
    assert.deepEqual(pushed.map((item) => item.row?.row), [1, 2, 3, 4, 5, 8]);
    assert.deepEqual(pushed.map((item) => pushed.findIndex(({ line }) => line === item.line)), [0, 1, 2, 0, 0, 2], 'one line of each key');
    assert.deepEqual([...held].toSorted((a, b) => a - b), [1, 2, 3, 4, 5, 8, 9]);
  });

  it('reads them again when what stands behind them could not be read', async () => {
    const { take, seen, held } = taking({ rows: [row(1, { inOrder: true })], behind: () => Promise.reject(new Error('away')) });
    await assert.rejects(take(), { message: 'away' });
    assert.deepEqual([seen.pushed, [...held]], [[], []]);
  });

  it('lets what waits and is in hand go first, for a moment, once a delivery had to line up behind it', async () => {
    const { take, wake, seen, held, clock } = taking();
    wake(true);
    await take();
    assert.equal(seen.waits.length, 1, 'nothing is in hand');
    held.add(7);
    wake(true);
    let taken = false;
    const first = take().then(() => (taken = true));
    await clock.advance(199);
    assert.deepEqual([taken, seen.waits.length, seen.looks], [false, 1, 2]);
    wake(true); // more lined up: it is no longer for that
    await first;
    assert.equal(seen.waits.length, 1, 'what waits is looked at first');
    const second = take();
    await clock.advance(1);
    await second;
    await take();
    assert.equal(seen.waits.length, 2, 'others have their turn, whatever is in hand');
    await take();
    assert.equal(seen.waits.length, 3, 'until another has to line up');
  });

  it('gives back what it was receiving when all that was in hand was let go of', async () => {
    const deliveries = [{ headers: {} }];
    const { take, seen } = taking({ deliveries, receives: () => seen.forgets++ });
    await take();
    assert.deepEqual([seen.pushed.flat(), seen.released], [[], deliveries]);
  });

  it('leaves everything where it was when it may not run by the time it is read', async () => {
    const { take, seen, held } = taking({ rows: [row(1)], deliveries: [{ headers: {} }], mayNotRun: true });
    await take();
    assert.deepEqual([seen.pushed, [...held], seen.waits], [[], [], []]);
  });
});
