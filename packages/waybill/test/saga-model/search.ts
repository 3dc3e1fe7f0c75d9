/** Every state that a scenario can reach, and what must hold in each (I15, I16). */
import { type Sabotage, type Scenario, type World, createWorld, graceMs, startMs } from './model.ts';

export interface Findings {
  readonly states: number;
  readonly ends: Readonly<Record<string, number>>;
  /** The first one: what was chosen, and what broke. */
  readonly broken: { readonly path: readonly string[]; readonly why: string } | undefined;
}

/** States at most: past it a scenario is too large for this search, which is an error. */
const statesMax = 200_000;

export async function search(scenario: Scenario, sabotage?: Sabotage): Promise<Findings> {
  const seen = new Set<string>();
  const ends: Record<string, number> = {};
  const open: string[][] = [[]];
  // The shortest paths first: each is replayed.
  for (let next = 0; next < open.length; next++) {
    const path = open[next]!;
    const world = await replay(scenario, path, sabotage);
    const picture = await world.picture();
    if (seen.has(picture)) continue;
    seen.add(picture);
    if (seen.size > statesMax) throw new Error(`more than ${statesMax} states`);
    const choices = await world.choices();
    const why = (await broken(world)) ?? (choices.length === 0 ? await brokenEnd(world) : undefined);
    if (why !== undefined) return { states: seen.size, ends, broken: { path, why } };
    if (choices.length === 0) ends[(await world.status()) ?? 'none'] = (ends[(await world.status()) ?? 'none'] ?? 0) + 1;
    for (const choice of choices) open.push([...path, choice]);
  }
  return { states: seen.size, ends, broken: undefined };
}

async function replay(scenario: Scenario, path: readonly string[], sabotage: Sabotage | undefined): Promise<World> {
  const world = await createWorld(scenario, sabotage);
  for (const choice of path) await world.take(choice);
  return world;
}

/** What holds always. */
async function broken(world: World): Promise<string | undefined> {
  const steps = world.effects.map(({ step }) => step);
  const undone = steps.filter((step) => step.startsWith('undo ')).map((step) => step.slice('undo '.length));
  if (new Set(undone).size !== undone.length) return `undone twice: ${undone.join()}`;
  const order = (await world.steps()).map(({ step }) => step);
  const reversed = order.toReversed();
  if (undone.join() !== reversed.slice(0, undone.length).join()) return `undone as ${undone.join()}, done as ${order.join()}`;
  if (new Set(steps).size !== steps.length) return `a step took effect twice: ${steps.join()}`;
  const end = steps.findIndex((step) => step === 'paid true' || step === 'paid false' || step === 'refused' || step === 'grace' || step === 'payment failed');
  if (end >= 0 && steps.slice(end + 1).some((step) => !step.startsWith('undo '))) return `something began after the end: ${steps.join()}`;
  const grace = world.effects.find(({ step }) => step === 'grace');
  const set = world.effects.findLast(({ step, atMs }) => step === 'submitted' && atMs <= (grace?.atMs ?? 0))?.atMs ?? startMs;
  if (grace && grace.atMs < set + graceMs) return `the timeout came ${set + graceMs - grace.atMs} ms early`;
  return undefined;
}

/** What holds when nothing more can happen. */
async function brokenEnd(world: World): Promise<string | undefined> {
  const status = await world.status();
  const steps = world.effects.map(({ step }) => step);
  if (status === 'completed') return steps.includes('paid true') ? undefined : 'completed, and not paid';
  if (status !== 'compensated') return `it ends ${status}, with ${await world.failures()} failures`;
  return (await world.steps()).every(({ step, undone }) => undone && steps.includes(`undo ${step}`)) ? undefined : 'compensated, and something is left';
}

/** All combinations of what the others do. */
export function scenarios(of: Partial<Scenario> = {}): Scenario[] {
  const all: Scenario[] = [];
  for (const stock of ['done', 'early', 'refused', 'silent'] as const) {
    for (const payment of stock === 'done' || stock === 'early' ? (['approved', 'declined', 'failed', 'silent'] as const) : (['silent'] as const)) {
      all.push({ stock, payment, twice: [], submittedAgain: false, crashes: 1, failures: 1, ...of });
    }
  }
  return all;
}
