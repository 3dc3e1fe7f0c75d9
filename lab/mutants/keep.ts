/**
 * `WAYBILL_MUTANT=NAME node --import ./lab/mutants/plant.ts lab/mutants/keep.ts FROM COUNT ['{"renames":true}']`: the first seed that notices the
 * planted bug, made small and printed as a scenario to keep (packages/waybill/test/simulation/scenarios).
 */
import { type Knobs, shrink, simulate, tell } from 'waybill/testing';
import { isPlanted } from './plant.ts';

const [from = '1', count = '1000', knobs = '{}'] = process.argv.slice(2);
Error.stackTraceLimit = 0; // nobody reads the stacks of simulated trouble
if (!isPlanted()) throw new Error('the mutant was not planted: its file is not loaded by the simulation');
for (let seed = Number(from); seed < Number(from) + Number(count); seed++) {
  const outcome = await simulate({ seed, knobs: JSON.parse(knobs) as Partial<Knobs> });
  if (outcome.violations.length === 0) continue;
  const small = await shrink(outcome);
  console.log(small.violations.map((violation) => tell(violation, small.story)).join('\n'));
  const violates = [...new Set(small.violations.map(({ invariant }) => invariant))];
  console.log(JSON.stringify({ why: '', mutant: process.env.WAYBILL_MUTANT, violates, seed, faults: small.faults, knobs: small.knobs }));
  process.exit(0);
}
console.log('no seed notices it');
process.exit(1);
