/**
 * The whole bus over simulated machines: a bounded part of what `npm run simulate` does for longer. A seed that fails
 * prints what was violated and the shortest story of the message; `npm run simulate -- --from SEED --seeds 1` repeats it,
 * and makes it small.
 */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Outcome, type Scenario, everyFault, shrink, simulate, tell } from 'waybill/testing';
import { aimOf } from '../../src/testing/simulation/faults.ts';

const seeds = Number(process.env.SIMULATION_SEEDS ?? 250);

function assertHolds({ violations, story, scenario }: Outcome): void {
  assert.ok(violations.length === 0, `seed ${scenario.seed}\n${violations.map((violation) => tell(violation, story)).join('\n')}`);
}

/** Seeds that aim at a kind of fault, which is one in hundreds. Whether a run comes to the call that it aims at, it alone tells. */
function aimedAt(kind: string, from: number): number[] {
  const seeds: number[] = [];
  for (let seed = from + 1; seeds.length < triesMax; seed++) if (aimOf(seed).kind === kind) seeds.push(seed);
  return seeds;
}
const triesMax = 10;

describe('the simulation', () => {
  it(`finds no violation of an invariant in ${seeds} seeds, under faults of every kind`, async (t) => {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0; // nobody reads the stacks of simulated trouble, and they cost a tenth of the time
    t.after(() => (Error.stackTraceLimit = stackTraceLimit));
    const kinds = new Set<string>();
    const run = async (seed: number): Promise<void> => {
      const outcome = await simulate({ seed });
      assertHolds(outcome);
      for (const { kind } of outcome.faults) kinds.add(kind);
    };
    for (let seed = 1; seed <= seeds; seed++) await run(seed);
    if (seeds < 200) return;
    // Which of them met every call too, npm run simulate says.
    const wanted = new Set(everyFault().map((name) => name.split(' ')[0]!));
    for (const kind of wanted) for (const seed of aimedAt(kind, seeds)) if (!kinds.has(kind)) await run(seed);
    assert.deepEqual([...wanted].filter((kind) => !kinds.has(kind)), []);
  });

  it('runs the same way again, to the last event', async () => {
    for (const seed of [5, 17, 160]) assert.equal((await simulate({ seed })).hash, (await simulate({ seed })).hash);
  });

  it('runs the same way from the list of its faults', async () => {
    for (const seed of [5, 17, 160]) {
      const { hash, faults } = await simulate({ seed });
      assert.equal((await simulate({ seed, faults })).hash, hash);
    }
  });

  it('runs another way for another seed', async () => {
    assert.notEqual((await simulate({ seed: 5 })).hash, (await simulate({ seed: 6 })).hash);
  });

  it('notices when a broker loses what it confirmed, and makes the run small', async () => {
    const failing = async (): Promise<Outcome> => {
      for (let seed = 1; seed < 20; seed++) {
        const outcome = await simulate({ seed, loses: 1 });
        if (outcome.violations.some(({ invariant }) => invariant === 'I1')) return outcome;
      }
      return assert.fail('no seed noticed');
    };
    const failed = await failing();
    const small = await shrink(failed);
    assert.ok(small.faults.length <= failed.faults.length && small.knobs.operations <= failed.knobs.operations);
    assert.ok(small.knobs.takes.length <= failed.knobs.takes.length);
    assert.deepEqual((await simulate({ ...small.scenario })).hash, small.hash);
    assert.match(tell(small.violations[0]!, small.story), /has neither its effect nor a dead letter|began no saga/);
  });

  it('brings back what a broker lost by publishing everything again, and does nothing twice', async () => {
    // In any order: what comes back comes after its successors. Without nights, after which it has left the ledger.
    const takes = ['sets', 'prices', 'later', 'do', 'orders'];
    let lost = 0;
    for (let seed = 1; seed <= 8; seed++) {
      const knobs = { takes, order: 'any', holds: false, nights: false } as const;
      lost += (await simulate({ seed, loses: 8, knobs })).violations.filter(({ invariant }) => invariant === 'I1').length;
      assertHolds(await simulate({ seed, loses: 8, knobs, republishes: true }));
    }
    assert.ok(lost > 2, `only ${lost} losses would have been there`);
  });

  const directory = join(import.meta.dirname, 'scenarios');
  for (const name of readdirSync(directory)) {
    it(`holds for what once failed: ${name}`, async () => {
      const { why, mutant, violates, ...scenario } = JSON.parse(readFileSync(join(directory, name), 'utf8')) as Scenario & { why: string; mutant: string; violates: string[] };
      assert.ok(why && mutant && violates.length > 0); // with that bug planted it does: lab/mutants
      assertHolds(await simulate(scenario));
    });
  }
});
