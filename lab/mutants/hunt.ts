/** Runs seeds on a library with a planted bug until an invariant is violated; prints what was found as JSON. */
import { simulate } from 'waybill/testing';
import { isPlanted } from './plant.ts';

const [from = 1, count = 1_000] = process.argv.slice(2).map(Number);
Error.stackTraceLimit = 0; // nobody reads the stacks of simulated trouble
if (!isPlanted()) throw new Error('the mutant was not planted: its file is not loaded by the simulation');
for (let seed = from; seed < from + count; seed++) {
  const { violations } = await simulate({ seed });
  if (violations.length === 0) continue;
  console.log(JSON.stringify({ seed, invariants: [...new Set(violations.map(({ invariant }) => invariant))], what: violations[0]!.what }));
  process.exit(0);
}
console.log(JSON.stringify({ seed: undefined }));
process.exit(0);
