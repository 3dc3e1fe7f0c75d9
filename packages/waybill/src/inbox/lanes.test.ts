import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Clock } from '../contract/clock.ts';
import { createLanes, type LanesOptions } from './lanes.ts';

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** A clock that stands still until it is set. */
function handClock() {
  let nowMs = 0;
  const timers = new Set<{ atMs: number; fn: () => void }>();
  const clock = {
    monotonic: () => nowMs,
    after(ms: number, fn: () => void) {
      const timer = { atMs: nowMs + ms, fn };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
  } as unknown as Clock;
  return {
    clock,
    timers,
    pass(ms: number) {
      nowMs += ms;
      for (const timer of timers) if (timer.atMs <= nowMs && timers.delete(timer)) timer.fn();
    },
  };
}

/** Lanes whose works end when they are told to, the oldest first. */
function held<T>(options: Partial<LanesOptions<T>>) {
  const works: { items: T[]; putBack: (items: readonly T[]) => void; end: () => void }[] = [];
  const lanes = createLanes<T>({
    room: () => 1,
    most: Infinity,
    beside: () => ({ atOnce: Infinity, withinMs: 0 }),
    clock: handClock().clock,
    work: (items, putBack) => new Promise((end) => works.push({ items, putBack, end })),
    ...options,
  });
  return {
    lanes,
    works,
    begun: async () => (await turn(), works.map(({ items }) => items)),
  };
}

const beside = (full: boolean) => (full ? { atOnce: 3, withinMs: 100 } : { atOnce: 1, withinMs: 20 });

describe('lanes', () => {
  it('know what they hold weighs, until it is done or cleared', async () => {
    const { lanes, works, begun } = held<number>({ room: () => 2, most: 1, weigh: (item) => item });
    for (const item of [1, 10, 100, 1_000]) lanes.push(item, 'a');
    assert.equal(lanes.weight, 1_111);
    await begun();
    works[0]!.putBack([10]);
    works[0]!.end();
    await turn();
    assert.equal(lanes.weight, 1_110);
    lanes.clear();
    assert.equal(lanes.weight, 110); // under way
    works[1]!.end();
    await turn();
    assert.deepEqual([lanes.weight, lanes.size], [0, 0]);
  });

  it('do the work of a key one after another, in order, and of others side by side', async () => {
    const done: string[] = [];
    let running = 0;
    let most = 0;
    const lanes = createLanes<string>({
      room: () => 1,
      most: 3,
      beside: () => ({ atOnce: Infinity, withinMs: 0 }),
      clock: handClock().clock,
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
    assert.equal(most, 3);
  });

  it('begin each work with the oldest item that may run, however many lanes became ready again', async () => {
    const keyOf = (n: number): string => `k${(n * 7_919) % 53}`;
    const { lanes, works } = held<number>({ room: () => 7, most: 3 });
    const waiting = new Set(Array.from({ length: 500 }, (_, n) => n));
    const busy = new Set<string>();
    const under: { items: number[]; end: () => void }[] = [];
    for (const n of waiting) lanes.push(n, keyOf(n));
    for (let ends = 0; ; ends++) {
      await turn();
      for (const { items, putBack, end } of works.splice(0)) {
        assert.equal(items[0], Math.min(...[...waiting].filter((n) => !busy.has(keyOf(n)))));
        for (const n of items) {
          waiting.delete(n);
          busy.add(keyOf(n));
        }
        under.push({
          items,
          end() {
            for (const n of items) busy.delete(keyOf(n));
            const back = ends % 3 === 0 ? items.slice(-2) : [];
            putBack(back);
            for (const n of back) waiting.add(n);
            end();
          },
        });
      }
      const next = under.splice(ends % Math.max(1, under.length), 1)[0];
      if (next === undefined) break;
      next.end();
    }
    assert.equal(lanes.size, 0);
    assert.equal(waiting.size, 0);
  });

  it('of several keys share a work, up to its room, in the order in which all came', async () => {
    const { lanes, begun, works } = held<string>({ room: () => 4 });
    for (const item of ['a1', 'b1', 'a2', 'c1', 'd1', 'b2', 'e1']) lanes.push(item, item[0]);
    assert.deepEqual(await begun(), [['a1', 'b1', 'a2', 'b2'], ['c1', 'd1', 'e1']]);
    lanes.push('a3', 'a');
    lanes.push('f1', 'f');
    assert.deepEqual((await begun())[2], ['f1']); // a is under way
    works[0]!.end();
    assert.deepEqual((await begun())[3], ['a3']);
  });

  it('keep the order of what has no key, and run it side by side', async () => {
    const { lanes, begun } = held<number>({ room: () => 2 });
    for (let i = 0; i < 5; i++) lanes.push(i, undefined);
    assert.deepEqual(await begun(), [[0, 1], [2, 3], [4]]);
  });

  it('take the oldest first, also of what had to wait for its key', async () => {
    const { lanes, begun, works } = held<string>({ room: () => 2, most: 2 });
    for (const item of ['a1', 'b1', 'c1', 'd1', 'a2', 'e1', 'f1']) lanes.push(item, item[0]);
    assert.deepEqual(await begun(), [['a1', 'a2'], ['b1', 'c1']]);
    for (const item of ['b2', 'g1']) lanes.push(item, item[0]);
    works[1]!.end();
    assert.deepEqual((await begun())[2], ['d1', 'e1']);
    works[2]!.end();
    assert.deepEqual((await begun())[3], ['f1', 'b2']);
  });

  it('begin so many works at once as they are told, and fewer that are not full', async () => {
    const { lanes, begun, works } = held<string>({ room: () => 2, beside });
    for (const item of ['a', 'b', 'c', 'd', 'e']) lanes.push(item, item);
    assert.deepEqual(await begun(), [['a', 'b'], ['c', 'd']]); // e waits for more
    lanes.push('f', 'f');
    lanes.push('g', 'g');
    assert.deepEqual((await begun())[2], ['e', 'f']);
    lanes.push('h', 'h');
    assert.equal((await begun()).length, 3);
    for (const { end } of works.slice(0, 2)) end();
    assert.deepEqual((await begun())[3], ['g', 'h']);
  });

  it('begin what is not full when nothing is under way', async () => {
    const { lanes, begun, works } = held<string>({ room: () => 2, beside });
    lanes.push('a', 'a');
    assert.deepEqual(await begun(), [['a']]);
    lanes.push('b', 'b');
    assert.equal((await begun()).length, 1);
    works[0]!.end();
    assert.deepEqual((await begun())[1], ['b']);
  });

  it('do not count what lasts long, up to the most', async () => {
    const { clock, timers, pass } = handClock();
    const { lanes, begun, works } = held<string>({ room: () => 2, most: 3, beside, clock });
    for (const item of ['a', 'b', 'c']) {
      lanes.push(item, item);
      assert.equal((await begun()).at(-1)![0], item);
      lanes.push(`${item}-`, item); // waits for its key whatever happens
      pass(20);
    }
    for (const item of ['d', 'e']) lanes.push(item, item);
    await begun();
    pass(1_000);
    assert.deepEqual([await begun(), timers.size], [[['a'], ['b'], ['c']], 0]);
    works[1]!.end();
    assert.deepEqual((await begun())[3], ['b-', 'd']);
  });

  it('wait for others no longer than they are told, and by one timer', async () => {
    const { clock, timers, pass } = handClock();
    const { lanes, begun } = held<string>({ room: () => 2, beside, clock });
    lanes.push('a', 'a');
    await begun();
    pass(5);
    lanes.push('b', 'b');
    assert.deepEqual([await begun(), timers.size], [[['a']], 1]);
    pass(14);
    assert.equal((await begun()).length, 1);
    pass(1);
    assert.deepEqual([await begun(), timers.size], [[['a'], ['b']], 0]);
    lanes.push('c', 'c');
    await begun();
    assert.equal(timers.size, 1);
    assert.deepEqual([lanes.clear(), timers.size], [['c'], 0]);
  });

  it('let what must stand alone stand alone, in its turn', async () => {
    const alone = new Set(['b1', 'd1']);
    const { lanes, begun } = held<string>({ room: () => 4, together: (item) => (alone.has(item) ? 1 : Infinity) });
    for (const item of ['a1', 'b1', 'b2', 'c1', 'd1']) lanes.push(item, item[0]);
    assert.deepEqual(await begun(), [['a1', 'c1'], ['b1'], ['d1']]);
  });

  it('put back at the front what was taken and not done, each into its lane', async () => {
    const { lanes, begun, works } = held<string>({ room: () => 5, most: 1 });
    for (const item of ['a1', 'b1', 'a2']) lanes.push(item, item[0]);
    await begun();
    for (const item of ['a3', 'b2', 'c1']) lanes.push(item, item[0]);
    works[0]!.putBack(['b1', 'a2']);
    assert.equal(lanes.size, 8); // until the work ends its items count as taken
    works[0]!.end();
    assert.deepEqual((await begun())[1], ['b1', 'a2', 'a3', 'b2', 'c1']);
    assert.equal(lanes.size, 5);
  });

  it('give up what is queued, not what runs, and wake those that wait', async () => {
    const { lanes, begun, works } = held<number>({ most: 1 });
    for (const i of [1, 2, 3]) lanes.push(i, 'k');
    for (const i of [4, 5]) lanes.push(i, undefined);
    await begun();
    const finished = lanes.finished();
    assert.deepEqual(lanes.clear(), [2, 3, 4, 5]);
    await finished;
    assert.equal(lanes.size, 1);
    works[0]!.end();
    await lanes.idle();
    assert.equal(works.length, 1);
    lanes.push(6, 'k');
    assert.deepEqual((await begun())[1], [6]);
  });

  it('take any text for a key', async () => {
    const { lanes, begun, works } = held<string>({});
    const keys = ['', 'a', '🚚', '__proto__', 'x'.repeat(500)];
    for (const key of [...keys, ...keys]) lanes.push(key, key);
    assert.deepEqual((await begun()).flat(), keys);
    for (const { end } of works.slice(0)) end();
    assert.deepEqual((await begun()).flat(), [...keys, ...keys]);
  });
});
