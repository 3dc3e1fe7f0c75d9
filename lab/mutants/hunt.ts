/** Runs what is kept of a planted bug, then seeds, until an invariant is violated; prints what was found as JSON. */
import { type Outcome, simulate } from 'waybill/testing';
import type { Caught } from './hunting.ts';
import { kept, near } from './kept.ts';
import { isPlanted } from './plant.ts';

const [from = 1, count = 1_000] = process.argv.slice(2).map(Number);
Error.stackTraceLimit = 0; // nobody reads the stacks of simulated trouble
if (!isPlanted()) throw new Error('the mutant was not planted: its file is not loaded by the simulation');
for (const [name, scenario] of kept) {
  if (scenario.mutant !== process.env.WAYBILL_MUTANT) continue;
  let runs = 0;
  for (const one of near(scenario)) tell(`${name}, ${runs++ === 0 ? 'as it is kept' : `run ${runs} next to it: ${JSON.stringify(one.faults ?? one.seed)}`}`, await simulate(one));
}
for (let seed = from; seed < from + count; seed++) tell(`seed ${seed}`, await simulate({ seed }));
end({});

function tell(by: string, { violations }: Outcome): void {
  if (violations.length > 0) end({ by, invariants: [...new Set(violations.map(({ invariant }) => invariant))], what: violations[0]!.what });
}

function end(caught: Caught): never {
  console.log(JSON.stringify(caught));
  process.exit(0);
}
