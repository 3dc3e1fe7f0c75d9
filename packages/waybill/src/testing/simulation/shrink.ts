/** A failing run made small: fewer faults, then fewer operations and simpler services, as long as it still fails. */
import { type Outcome, type Scenario, simulate } from './simulation.ts';
import type { Knobs } from './workload.ts';

/** Runs that shrinking may take. */
const runsMax = 300;

const calmer: readonly Partial<Knobs>[] = [
  { outage: false },
  { restarts: false },
  { repeats: false },
  { renames: false },
  { poison: false },
  { accounts: false },
  { holds: false },
  { nights: false },
  { calm: false },
  { doomed: 0 },
  { throws: 0 },
  { slow: 0 },
  { shops: 1 },
  { baskets: 1 },
  { batch: 1 },
  { concurrency: 1 },
  { parallel: false, cheapSavepoints: true },
];

/** @param failed the outcome of a run with violations; the smaller run violates one of the same invariants */
export async function shrink(failed: Outcome, onRun: (runs: number, faults: number) => void = () => {}): Promise<Outcome> {
  const wanted = new Set(failed.violations.map(({ invariant }) => invariant));
  let best = failed;
  let runs = 0;
  /** Whether this one fails too, and is to be gone on with. */
  const fails = async (scenario: Scenario): Promise<boolean> => {
    if (runs >= runsMax) return false;
    onRun(++runs, scenario.faults?.length ?? 0);
    const outcome = await simulate(scenario);
    if (!outcome.violations.some(({ invariant }) => wanted.has(invariant))) return false;
    best = outcome;
    return true;
  };
  const { seed, loses } = failed.scenario;
  const { knobs } = failed;
  const of = (faults: Scenario['faults'], change: Partial<Knobs> = {}): Scenario => ({
    seed,
    knobs: { ...best.knobs, ...change },
    faults,
    ...(loses !== undefined && { loses }),
  });
  // The same faults as a list.
  if (!(await fails({ ...of(failed.faults), knobs }))) return failed;

  for (let size = Math.ceil(best.faults.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.faults.length; ) {
      const rest = [...best.faults.slice(0, at), ...best.faults.slice(at + size)];
      if (!(await fails(of(rest)))) at += size;
    }
  }
  for (const change of calmer) {
    if (Object.entries(change).some(([knob, value]) => best.knobs[knob as keyof Knobs] !== value)) await fails(of(best.faults, change));
  }
  for (const name of best.knobs.takes) await fails(of(best.faults, { takes: best.knobs.takes.filter((other) => other !== name) }));
  while (best.knobs.operations > 1 && (await fails(of(best.faults, { operations: best.knobs.operations >> 1 }))));
  return best;
}
