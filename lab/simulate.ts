/**
 * `npm run simulate -- --seeds N --from S`: the simulation over many seeds. It fails on a violation, which it makes small
 * and prints as a scenario to check in (packages/waybill/test/simulation/scenarios); when a run is not the same twice; and,
 * from some hundred seeds on, when a fault at a crash point was never met. Each seed sees to one fault, in turn, and those
 * that come after all had their turn to what was missed.
 *
 * `--coverage` ends as soon as every fault was met; `--seeds` is the most that this may take. `--aim` has all seeds see to one fault;
 * `--once` runs each seed once instead of every tenth twice; `--trace` prints every event.
 */
import { parseArgs } from 'node:util';
import { everyFault, shrink, simulate, tell } from 'waybill/testing';
import { createProgress } from './progress.ts';

/** After so many seeds for each fault every one must have been met: some come too late for the call that they see to. */
const gateFactor = 2;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    coverage: { type: 'boolean', default: false },
    aim: { type: 'string' },
    once: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});
// Nobody reads the stacks of simulated trouble, and they cost a tenth of the time.
if (!values.trace) Error.stackTraceLimit = 0;
const count = whole('seeds', values.seeds, 1);
const from = whole('from', values.from, 0);
const progress = createProgress(count, 'seeds');
const faults = everyFault();
const hit = new Set<string>();
const failed: number[] = [];
let ran = 0;
let steps = 0;
/** Seeds until the last fault was met for the first time. */
let seedsToMeetAll: number | undefined;

for (let seed = from; seed < from + count; seed++) {
  const missing = seed - from < faults.length ? [] : faults.filter((name) => !hit.has(name));
  const aim = values.aim ?? missing[seed % missing.length];
  const outcome = await simulate({ seed, aim }, { trace: values.trace });
  if (values.trace) console.log(outcome.trace.join('\n'));
  ran++;
  steps += outcome.steps;
  for (const name of outcome.hit) hit.add(name);
  if (hit.size === faults.length) seedsToMeetAll ??= seed - from + 1;
  if (!values.once && seed % 10 === 0) {
    const again = await simulate({ seed, aim });
    if (again.hash !== outcome.hash) fail(seed, `seed ${seed} ran two ways: ${outcome.hash} and ${again.hash}; real time or chance leaks in`);
  }
  progress.update(seed - from + 1, `${failed.length} failed, ${hit.size} of ${faults.length} faults met`);
  if (outcome.violations.length === 0) {
    if (values.coverage && seedsToMeetAll !== undefined) break;
    continue;
  }
  fail(seed, `seed ${seed}${aim === undefined ? '' : ` (--aim '${aim}')`} violates ${outcome.violations.map(({ invariant }) => invariant).join(', ')}`);
  const small = await shrink(outcome, (runs, left) => progress.update(seed - from + 1, `making seed ${seed} small: run ${runs}, ${left} faults`));
  console.log(small.violations.map((violation) => tell(violation, small.story)).join('\n'));
  console.log(JSON.stringify({ why: '', seed, faults: small.faults, knobs: small.knobs }, null, 2));
  if (!values.keep) break;
}
progress.end();

const missed = faults.filter((name) => !hit.has(name));
console.log({ seeds: ran, from, failed, events: steps, faultsMet: `${hit.size} of ${faults.length}`, seedsToMeetAll });
if ((values.coverage || count >= gateFactor * faults.length) && missed.length > 0) {
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
