import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StoreSession, StoreTransaction } from '../contract/store.ts';
import type { Plan } from '../contract/handling.ts';
import type { Apply } from './apply.ts';
import { type Item, halve } from './item.ts';
import { Fit, Spoilt, createWhole } from './whole.ts';

const tx = { native: 'tx' } as unknown as StoreTransaction;

function item(id: string, row?: number): Item {
  return {
    incoming: { kind: 'run', wire: { id, source: 's' } },
    delivery: {},
    row: row === undefined ? undefined : { row },
    attempt: 0,
    crashes: 0,
    started: true,
    together: Infinity,
    threw: undefined,
  } as unknown as Item;
}

/** A batch over a store of which `known` has been taken on, and `bad` throws. */
function whole(options: { known?: string[]; bad?: string[]; setBased?: boolean; trouble?: boolean; inserts?: string[][]; taken?: number[][]; stays?: number[]; line?: number[]; cheapSavepoints?: boolean; time?: number }) {
  const { known = [], bad = [], setBased = false, trouble = false, inserts = [], taken = [], stays = [], line, cheapSavepoints = false, time = Infinity } = options;
  const ran: string[] = [];
  const store = {
    capabilities: { parallelTransactions: !cheapSavepoints, cheapSavepoints },
    classify: () => (trouble ? 'retry' : 'other'),
    ports: {
      waiting: {
        add: () => {},
        take(_tx: unknown, rows: readonly { row: number }[]) {
          taken.push(rows.map(({ row }) => row));
          return (line ?? rows.map(({ row }) => row)).filter((row) => !stays.includes(row)).map((row) => ({ row }));
        },
      },
      inbox: {
        insert(_tx: unknown, _subscription: string, keys: readonly { id: string }[]) {
          inserts.push(keys.map(({ id }) => id));
          const seen = new Set(known);
          return keys.map(({ id }) => !seen.has(id) && Boolean(seen.add(id)));
        },
      },
    },
  } as unknown as StoreSession;
  const nameOf = ({ incoming }: Item): string => incoming.wire.id;
  const apply = {
    takeOn: async (_tx: unknown, _item: Item, fresh: boolean) => (fresh ? undefined : { kind: 'duplicate' }),
    async run(_tx: unknown, one: Item) {
      ran.push(nameOf(one));
      if (bad.includes(nameOf(one))) throw new Error(nameOf(one));
      return { kind: 'applied', attempt: 1 };
    },
    async runSet(_tx: unknown, items: readonly Item[]) {
      ran.push(items.map(nameOf).join('+'));
      if (items.some((one) => bad.includes(nameOf(one)))) throw new Error('set');
      return items.map(() => ({ kind: 'applied', attempt: 1 }));
    },
  } as unknown as Apply;
  const plan = { name: 'p', formerly: [] as readonly string[], setBased } as Plan;
  const run = createWhole({ plan, store, stopping: new AbortController().signal }, apply, async () => new Set());
  const runAll = (...items: Item[]) => run(tx, items, () => ran.length >= time);
  return { run: (...ids: string[]) => runAll(...ids.map((id) => item(id))), runAll, ran };
}

const spoilt = async (run: Promise<unknown>): Promise<[string[], boolean]> => {
  const error = await run.then(() => undefined, (reason: unknown) => reason);
  assert.ok(error instanceof Spoilt, String(error));
  return [error.culprits.map(({ incoming }) => incoming.wire.id), error.charged];
};

describe('a batch as a whole', () => {
  it('takes all on in one insert, in the order of their ids, and runs them as they came', async () => {
    const inserts: string[][] = [];
    const { run, ran } = whole({ inserts, known: ['b'] });
    assert.deepEqual((await run('c', 'a', 'b')).map(({ kind }) => kind), ['applied', 'applied', 'duplicate']);
    assert.deepEqual([inserts, ran], [[['a', 'b', 'c']], ['c', 'a']]);
  });

  it('takes what waited off its lines in one go, and runs it before what was delivered meanwhile', async () => {
    const taken: number[][] = [];
    const inserts: string[][] = [];
    const { runAll, ran } = whole({ taken, inserts, stays: [3] });
    const outcomes = await runAll(item('b'), item('a', 1), item('c'), item('d', 3), item('e', 2));
    assert.deepEqual(outcomes.map(({ kind }) => kind), ['applied', 'applied', 'applied', 'gone', 'applied'], 'as they were given');
    assert.deepEqual(ran, ['a', 'e', 'b', 'c']);
    assert.deepEqual([taken, inserts], [[[1, 3, 2]], [['b', 'c']]]);
  });

  it('runs what was taken in the order of its line, though its first one came again and stands last in the lane', async () => {
    const { runAll, ran } = whole({ line: [1, 2, 3] });
    await runAll(item('b', 2), item('c', 3), item('a', 1), item('d'));
    assert.deepEqual(ran, ['a', 'b', 'c', 'd']);
  });

  it('applies the first of two with one id', async () => {
    assert.deepEqual((await whole({}).run('b', 'a', 'a')).map(({ kind }) => kind), ['applied', 'applied', 'duplicate']);
  });

  it('charges a throw to the one that ran first', async () => {
    assert.deepEqual(await spoilt(whole({ bad: ['b'], known: ['a'] }).run('a', 'b', 'c')), [['b'], true]);
  });

  it('charges nobody once others have run: one of them may have spoilt the transaction', async () => {
    const { run, ran } = whole({ bad: ['b'] });
    assert.deepEqual(await spoilt(run('a', 'b', 'c')), [['b'], false]);
    assert.deepEqual(ran, ['a', 'b']);
  });

  it('charges whoever throws where savepoints are cheap: there a failed statement spoils nothing', async () => {
    assert.deepEqual(await spoilt(whole({ bad: ['b'], cheapSavepoints: true }).run('a', 'b', 'c')), [['b'], true]);
  });

  it('takes on one by one, and no more than there is time for, where savepoints are cheap', async () => {
    const inserts: string[][] = [];
    const { run, ran } = whole({ inserts, cheapSavepoints: true, time: 2 });
    assert.equal((await run('c', 'a', 'b')).length, 2);
    assert.deepEqual([inserts, ran], [[['c'], ['a']], ['c', 'a']]);
  });

  it('suspects a whole set, and charges a set of one', async () => {
    assert.deepEqual(await spoilt(whole({ bad: ['b'], setBased: true }).run('a', 'b')), [['a', 'b'], false]);
    assert.deepEqual(await spoilt(whole({ bad: ['b'], known: ['a'], setBased: true }).run('a', 'b')), [['b'], true]);
  });

  it('passes on trouble of the store', async () => {
    await assert.rejects(whole({ bad: ['a'], trouble: true }).run('a'), { message: 'a' });
  });
});

describe('what shares a transaction', () => {
  it('is halved until each stands alone', () => {
    const items = ['a', 'b', 'c', 'd', 'e'].map((id) => item(id));
    const together = (): number[] => items.map((one) => one.together);
    halve(items);
    assert.deepEqual(together(), [2, 2, 3, 3, 3]);
    halve(items.slice(2));
    assert.deepEqual(together(), [2, 2, 1, 2, 2]);
    halve(items.slice(3));
    assert.deepEqual(together(), [2, 2, 1, 1, 1]);
  });

  it('fits into the time it may last, by what the last ones took', () => {
    const fit = new Fit(100, 100, 100);
    fit.took(100, 1_000);
    assert.equal(fit.most, 10);
    fit.took(10, 40);
    assert.equal(fit.most, 20);
    fit.took(3, 5); // says nothing of twenty
    assert.equal(fit.most, 20);
    for (let i = 0; i < 9; i++) fit.took(fit.most, 1);
    assert.equal(fit.most, 100);
    fit.took(1, 10_000);
    assert.equal(fit.most, 1);
  });

  it('is little until it has shown how long it takes', () => {
    const fit = new Fit(100, 100);
    assert.equal(fit.most, 16);
    fit.took(16, 10);
    assert.equal(fit.most, 32);
    assert.equal(new Fit(10, 100).most, 10);
  });

  it('goes side by side with few others where messages are quick, in every lane where they wait for something', () => {
    const fit = new Fit(100, 100);
    const atOnce = (): number[] => [fit.beside(true).atOnce, fit.beside(false).atOnce];
    assert.deepEqual(atOnce(), [4, 1]);
    for (let i = 0; i < 20; i++) fit.took(100, 50);
    assert.deepEqual(atOnce(), [4, 1]);
    for (let i = 0; i < 40; i++) fit.took(2, 100);
    assert.deepEqual(atOnce(), [50, 13]);
    for (let i = 0; i < 40; i++) fit.took(100, 50);
    assert.deepEqual(atOnce(), [4, 1]);
  });
});
