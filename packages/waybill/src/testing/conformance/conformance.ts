/**
 * Conformance suites as data. A case is one promise of a port, as a sentence and a function; a driver's test hands it a
 * fresh world. No test runner is named here, and nothing is retried or de-duplicated: what a case sees, the driver did.
 *
 * A driver that cannot do something declares it in `lacks`, with the reason; that is the only way a case is skipped.
 * What it lacks it must refuse: such cases run on those drivers `without` the ability.
 */
export interface Case<World, Ability extends string> {
  /** A sentence: what a driver does. */
  readonly name: string;
  /** Abilities of which the case makes use. */
  readonly needs?: readonly Ability[];
  /** Runs only where the driver lacks all of these. */
  readonly without?: readonly Ability[];
  run(world: World): Promise<void>;
}

export interface Driver<World, Ability extends string> {
  readonly name: string;
  /** What it cannot do, and why. */
  readonly lacks: Partial<Readonly<Record<Ability, string>>>;
  /** A fresh, empty one. */
  open(): Promise<World>;
}

export interface Closable {
  close(): Promise<void>;
}

/** Why the case does not apply to this driver, as the driver declares it; undefined when it does. */
export function skipReason<World, Ability extends string>(
  { needs = [], without = [] }: Case<World, Ability>,
  { lacks }: Driver<World, Ability>,
): string | undefined {
  for (const ability of needs) if (lacks[ability] !== undefined) return `${ability}: ${lacks[ability]}`;
  for (const ability of without) if (lacks[ability] === undefined) return `only for drivers without ${ability}`;
  return undefined;
}

/**
 * Runs one case on a fresh world, and closes it.
 * @returns why it was skipped, or undefined when it passed
 * @throws what the case found: an `AssertionError` where the driver breaks its promise
 */
export async function runCase<World extends Closable, Ability extends string>(
  subject: Case<World, Ability>,
  driver: Driver<World, Ability>,
): Promise<string | undefined> {
  const reason = skipReason(subject, driver);
  if (reason !== undefined) return reason;
  const world = await driver.open();
  try {
    await subject.run(world);
  } catch (error) {
    await world.close().catch(() => {}); // what the case found matters more
    throw error;
  }
  await world.close();
  return undefined;
}
