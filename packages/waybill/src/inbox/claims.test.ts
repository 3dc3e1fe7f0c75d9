import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Claim, StoreSession, WaitingRow } from '../contract/store.ts';
import type { Clock } from '../contract/clock.ts';
import { createClaims } from './claims.ts';
import type { Item } from './item.ts';

const item = (row: number): Item => ({ incoming: { kind: 'run' }, started: false, row: { row, attempt: 0, starts: 0 } }) as unknown as Item;

/** A store that remembers what was claimed, and a clock whose one timer the test fires. */
function world(gone: readonly number[] = []) {
  const calls: [rows: number[], renew: boolean][] = [];
  const timers: (() => void)[] = [];
  const store = {
    ports: {
      waiting: {
        async start(rows: readonly WaitingRow[], { renew = false }: Claim) {
          calls.push([rows.map(({ row }) => row), renew]);
          return rows.map(({ row, starts }) => (gone.includes(row) ? undefined : starts + 1));
        },
      },
    },
  } as unknown as StoreSession;
  const clock = {
    after(_ms: number, fn: () => void) {
      timers.push(fn);
      return () => void timers.splice(timers.indexOf(fn), 1);
    },
  } as unknown as Clock;
  const claims = createClaims({ store, clock, owner: 'me', trouble: (error) => assert.fail(String(error)) });
  const tick = async (): Promise<void> => {
    timers.shift()!();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { claims, calls, timers, tick };
}

describe('claims', () => {
  it('begin each run once, and leave out what is gone or another\'s', async () => {
    const { claims, calls } = world([2]);
    const [one, two] = [item(1), item(2)];
    assert.deepEqual(await claims.begin([one, two]), [one]);
    assert.equal(one.row!.starts, 1);
    assert.deepEqual(await claims.begin([one]), [one]); // its batch was undone: the same run goes on
    assert.deepEqual(calls, [[[1, 2], false]]);
  });

  it('are prolonged for as long as anything runs, and not a moment longer', async () => {
    const { claims, calls, timers, tick } = world();
    const [one, two] = [item(1), item(2)];
    await claims.begin([one]);
    await claims.begin([two]);
    assert.equal(timers.length, 1);
    await tick();
    claims.end([one]);
    await tick();
    claims.end([two]);
    assert.equal(timers.length, 0);
    assert.deepEqual(calls.filter(([, renew]) => renew), [[[1, 2], true], [[2], true]]);
  });

  it('are asked for again when the store could not be reached', async () => {
    const { claims } = world();
    const one = item(1);
    const fails = createClaims({
      store: { ports: { waiting: { start: () => Promise.reject(new Error('away')) } } } as unknown as StoreSession,
      clock: {} as Clock,
      owner: 'me',
      trouble() {},
    });
    await assert.rejects(fails.begin([one]), { message: 'away' });
    assert.equal(one.started, false);
    assert.deepEqual(await claims.begin([one]), [one]);
  });
});
