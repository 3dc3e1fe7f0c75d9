/** The runner and the checker themselves, on a driver of one number. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runCase, type Case, type Driver } from './conformance.ts';
import { gaps, instead, unnoticed, type Sabotage } from './sabotage.ts';

interface Counter {
  add(): void;
  readonly count: number;
  close(): Promise<void>;
}
type Ability = 'subtract';

const counts: Case<Counter, Ability> = {
  name: 'it counts',
  async run(world) {
    world.add();
    assert.equal(world.count, 1);
  },
};
const subtracts: Case<Counter, Ability> = { name: 'it subtracts', needs: ['subtract'], run: async () => {} };
const refuses: Case<Counter, Ability> = { name: 'it refuses to subtract', without: ['subtract'], run: async () => {} };

let closed = 0;
const honest: Driver<Counter, Ability> = {
  name: 'honest',
  lacks: { subtract: 'it only ever rises' },
  async open() {
    let count = 0;
    return { add: () => void count++, get count() { return count; }, close: async () => void closed++ };
  },
};
const sabotage = (members: Partial<Counter>, breaks = counts.name): Sabotage<Counter, Ability> => ({
  name: 'does it wrong',
  breaks,
  wrap: (driver) => ({ ...driver, open: async () => instead(await driver.open(), members) }),
});
const forgets = sabotage({ add: () => {} });

describe('runCase', () => {
  it('closes the world, whether the case passed or not', async () => {
    const before = closed;
    assert.equal(await runCase(counts, honest), undefined);
    await assert.rejects(runCase(counts, forgets.wrap(honest)), assert.AssertionError);
    assert.equal(closed, before + 2);
  });

  it('skips only what the driver declares to lack, and says why', async () => {
    assert.equal(await runCase(subtracts, honest), 'subtract: it only ever rises');
    assert.equal(await runCase(subtracts, { ...honest, lacks: {} }), undefined);
  });

  it('runs the cases of refusal only on drivers that lack the ability', async () => {
    assert.equal(await runCase(refuses, honest), undefined);
    assert.match((await runCase(refuses, { ...honest, lacks: {} }))!, /without subtract/);
  });

  it('reports what the case found rather than what closing found', async () => {
    const broken = sabotage({ add: () => {}, close: () => Promise.reject(new Error('close')) });
    await assert.rejects(runCase(counts, broken.wrap(honest)), assert.AssertionError);
    await assert.rejects(runCase(counts, sabotage({ close: () => Promise.reject(new Error('close')) }).wrap(honest)), /close/);
  });
});

describe('the check of sabotages', () => {
  it('is content with a case that notices', async () => {
    assert.deepEqual(gaps([counts], [forgets]), []);
    assert.equal(await unnoticed(forgets, [counts], honest), undefined);
  });

  it('reports a case that nothing sabotages', () => {
    assert.deepEqual(gaps([counts, subtracts], [forgets]), ['nothing sabotages: it subtracts']);
  });

  it('reports a sabotage that names no case, and two cases of one name', async () => {
    const lost = sabotage({}, 'it divides');
    assert.match(gaps([counts], [forgets, lost]).join(), /a case that is not there: it divides/);
    assert.match((await unnoticed(lost, [counts], honest))!, /no case is named/);
    assert.match(gaps([counts, counts], [forgets]).join(), /two cases are named: it counts/);
  });

  it('reports a case that passes on the broken driver', async () => {
    assert.match((await unnoticed(sabotage({}), [counts], honest))!, /passed on a driver that does it wrong/);
  });

  it('reports a case that ended by anything but its own assertion', async () => {
    const crashes = sabotage({ add: () => { throw new TypeError('the wrapper crashed'); } });
    assert.match((await unnoticed(crashes, [counts], honest))!, /other than its own assertion.*the wrapper crashed/s);
  });

  it('reports a case that does not run on the driver at hand', async () => {
    assert.match((await unnoticed(sabotage({}, subtracts.name), [subtracts], honest))!, /does not run on honest/);
  });
});

describe('instead', () => {
  it('replaces members and leaves methods of classes their own this', () => {
    class Till {
      #sum = 1;
      add(by: number): number {
        return (this.#sum += by);
      }
      get sum(): number {
        return this.#sum;
      }
    }
    const till = new Till();
    const broken = instead(till, { add: (by) => till.add(-by) });
    assert.equal(broken.add(5), -4);
    assert.equal(broken.sum, -4);
    assert.ok(broken instanceof Till);
  });
});
