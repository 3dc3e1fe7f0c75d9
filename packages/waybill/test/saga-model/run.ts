/** Every combination, with two deaths and two failing compensations: some minutes. Ends with 1 when something breaks. */
import { types } from './model.ts';
import { scenarios, search } from './search.ts';

const harsh = { crashes: 2, failures: 2 };
const twice = Object.values(types);
const all = [scenarios(harsh), scenarios({ ...harsh, crashes: 1, twice }), scenarios({ ...harsh, submittedAgain: true })].flat();
let states = 0;
const ends: Record<string, number> = {};
for (const scenario of all) {
  const found = await search(scenario);
  states += found.states;
  for (const [end, count] of Object.entries(found.ends)) ends[end] = (ends[end] ?? 0) + count;
  if (!found.broken) continue;
  console.error(JSON.stringify(scenario), found.broken);
  process.exit(1);
}
console.log(`${all.length} scenarios, ${states} states, nothing broken; ends: ${JSON.stringify(ends)}`);
