import assert from 'node:assert/strict';
import { it } from 'node:test';
import { virtualClock } from '../testing/clock.ts';
import { createWatch, leave } from './watch.ts';

const never = new AbortController().signal;

it('abandons each run at its own limit, and none that has ended', async () => {
  const clock = virtualClock();
  const watch = createWatch(clock);
  const began = clock.monotonic();
  const seen: [string, number][] = [];
  const run = (name: string, limitMs: number): (() => void) => {
    const watched = watch(limitMs, never, (why) => seen.push([`${name} ${why}`, clock.monotonic() - began]));
    return () => leave(watched);
  };
  run('first', 100)();
  await clock.advance(60);
  run('second', 100);
  const third = run('third', 100);
  run('short', 10);
  await clock.advance(30);
  third();
  run('fourth', 100);
  await clock.advance(500);
  assert.deepEqual(seen, [['short late', 70], ['second late', 160], ['fourth late', 190]]);
});

it('abandons all when the bus stops, and whatever begins after that at once', () => {
  const stopping = new AbortController();
  const watch = createWatch(virtualClock());
  const seen: string[] = [];
  watch(100, stopping.signal, (why) => seen.push(why));
  leave(watch(200, stopping.signal, () => seen.push('no')));
  stopping.abort();
  watch(100, stopping.signal, (why) => seen.push(why));
  assert.deepEqual(seen, ['stopped', 'stopped']);
});
