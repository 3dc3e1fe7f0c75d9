import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLanes } from './lanes.ts';

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe('lanes', () => {
  it('do the work of a key one after another, in order, and of others side by side', async () => {
    const done: string[] = [];
    let running = 0;
    let most = 0;
    const lanes = createLanes<string>({
      count: 8,
      take: () => 1,
      async work([item]) {
        most = Math.max(most, ++running);
        await turn();
        running--;
        done.push(item!);
      },
    });
    for (let i = 0; i < 10; i++) for (const key of ['a', 'b', 'c', 'd']) lanes.push(`${key}${i}`, key);
    assert.equal(lanes.size, 40);
    await lanes.idle();
    assert.equal(lanes.size, 0);
    for (const key of ['a', 'b', 'c', 'd']) assert.deepEqual(done.filter((item) => item.startsWith(key)), Array.from({ length: 10 }, (_, i) => `${key}${i}`));
    assert.ok(most > 1);
  });

  it('spread what has no key over all lanes', async () => {
    const per = new Map<number, number>();
    const gate = Promise.withResolvers<void>();
    const lanes = createLanes<number>({
      count: 4,
      take: () => 1,
      async work(items, lane) {
        per.set(lane, (per.get(lane) ?? 0) + items.length);
        await gate.promise;
      },
    });
    for (let i = 0; i < 40; i++) lanes.push(i, undefined);
    gate.resolve();
    await lanes.idle();
    assert.deepEqual([...per.values()], [10, 10, 10, 10]);
  });

  it('take together what was pushed in one step, as much as they are told', async () => {
    const batches: number[][] = [];
    const lanes = createLanes<number>({ count: 1, take: (queued) => Math.min(3, queued.length), work: async (items) => void batches.push(items) });
    for (let i = 0; i < 7; i++) lanes.push(i, 'k');
    await lanes.idle();
    assert.deepEqual(batches, [[0, 1, 2], [3, 4, 5], [6]]);
  });

  it('put back at the front what was taken and not done', async () => {
    const done: number[] = [];
    let first = true;
    const lanes = createLanes<number>({
      count: 1,
      take: (queued) => queued.length,
      async work(items, lane) {
        if (first) {
          first = false;
          done.push(items[0]!);
          lanes.unshift(items.slice(1), lane);
          lanes.push(99, 'k');
          return;
        }
        done.push(...items);
      },
    });
    for (const i of [1, 2, 3]) lanes.push(i, 'k');
    await lanes.idle();
    assert.deepEqual(done, [1, 2, 3, 99]);
    assert.equal(lanes.size, 0);
  });

  it('give up what is queued, not what runs, and wake those that wait', async () => {
    const gate = Promise.withResolvers<void>();
    const done: number[] = [];
    const lanes = createLanes<number>({
      count: 1,
      take: () => 1,
      async work([item]) {
        await gate.promise;
        done.push(item!);
      },
    });
    for (const i of [1, 2, 3]) lanes.push(i, 'k');
    await turn();
    const finished = lanes.finished();
    assert.deepEqual(lanes.clear(), [2, 3]);
    await finished;
    assert.equal(lanes.size, 1);
    gate.resolve();
    await lanes.idle();
    assert.deepEqual(done, [1]);
  });

  it('of a key are always the same', async () => {
    const seen = new Map<string, Set<number>>();
    const lanes = createLanes<string>({ count: 16, take: () => 1, work: async ([item], lane) => void (seen.get(item!) ?? seen.set(item!, new Set()).get(item!))!.add(lane) });
    for (let i = 0; i < 3; i++) {
      for (const key of ['', 'a', '🚚', '__proto__', 'x'.repeat(500)]) lanes.push(key, key);
      await lanes.idle();
    }
    assert.ok([...seen.values()].every((used) => used.size === 1));
  });
});
