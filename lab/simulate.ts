/**
 * `npm run simulate -- --seeds N --from S`: the simulation over many seeds. It fails on a violation, which it makes small
 * and prints as a scenario to check in (packages/waybill/test/simulation/scenarios); when a run is not the same twice; and,
 * from some hundred seeds on, when a fault at a crash point was never met.
 *
 * `--once` runs each seed once instead of every tenth twice; `--trace` prints every event.
 */
import { parseArgs } from 'node:util';
import { everyFault, shrink, simulate, tell } from 'waybill/testing';
import { createProgress } from './progress.ts';

/** Seeds after which every fault must have been met: each seed sees to one, in turn, and some of those come too late. */
const gateFactor = 3;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    once: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});
const count = whole('seeds', values.seeds, 1);
const from = whole('from', values.from, 0);
const progress = createProgress(count, 'seeds');
const hit = new Set<string>();
const failed: number[] = [];
let steps = 0;

for (let seed = from; seed < from + count; seed++) {
  const outcome = await simulate({ seed }, { trace: values.trace });
  if (values.trace) console.log(outcome.trace.join('\n'));
  steps += outcome.steps;
  for (const name of outcome.hit) hit.add(name);
  if (!values.once && seed % 10 === 0) {
    const again = await simulate({ seed });
    if (again.hash !== outcome.hash) fail(seed, `seed ${seed} ran two ways: ${outcome.hash} and ${again.hash}; real time or chance leaks in`);
  }
  progress.update(seed - from + 1, `${failed.length} failed`);
  if (outcome.violations.length === 0) continue;
  fail(seed, `seed ${seed} violates ${outcome.violations.map(({ invariant }) => invariant).join(', ')}`);
  const small = await shrink(outcome, (runs, faults) => progress.update(seed - from + 1, `making seed ${seed} small: run ${runs}, ${faults} faults`));
  console.log(small.violations.map((violation) => tell(violation, small.story)).join('\n'));
  console.log(JSON.stringify({ why: '', seed, faults: small.faults, knobs: small.knobs }, null, 2));
  if (!values.keep) break;
}
progress.end();

const missed = everyFault().filter((name) => !hit.has(name));
console.log({ seeds: count, from, failed, events: steps, faultsMet: `${hit.size} of ${everyFault().length}` });
if (count >= gateFactor * everyFault().length && missed.length > 0) {
  console.log('never met (the coverage gate):', missed);
  process.exitCode = 1;
}
process.exit();

function fail(seed: number, what: string): void {
  failed.push(seed);
  process.exitCode = 1;
  console.log(what);
}

function whole(name: string, value: string, min: number): number {
  const number = Number(value);
  if (Number.isSafeInteger(number) && number >= min) return number;
  console.error(`--${name} must be a whole number from ${min} on, not ${value}`);
  process.exit(2);
}
