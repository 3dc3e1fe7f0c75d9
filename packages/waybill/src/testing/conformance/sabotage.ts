/**
 * Who tests the tests: for every case a driver that breaks the promise, which the case must notice. A case that no
 * sabotage names proves nothing.
 */
import { AssertionError } from 'node:assert';
import { runCase, skipReason, type Case, type Closable, type Driver } from './conformance.ts';

export interface Sabotage<World, Ability extends string> {
  /** What the sabotaged driver does wrong. */
  readonly name: string;
  /** The name of the case that must notice. */
  readonly breaks: string;
  wrap(driver: Driver<World, Ability>): Driver<World, Ability>;
}

/** Cases that no sabotage names, and sabotages that name no case: one sentence each. */
export function gaps<World, Ability extends string>(
  cases: readonly Case<World, Ability>[],
  sabotages: readonly Sabotage<World, Ability>[],
): string[] {
  const names = cases.map(({ name }) => name);
  return [
    ...names.filter((name, at) => names.indexOf(name) !== at).map((name) => `two cases are named: ${name}`),
    ...names.filter((name) => !sabotages.some(({ breaks }) => breaks === name)).map((name) => `nothing sabotages: ${name}`),
    ...sabotages
      .filter(({ breaks }) => !names.includes(breaks))
      .map(({ name, breaks }) => `the sabotage '${name}' breaks a case that is not there: ${breaks}`),
  ];
}

/**
 * Runs the case that the sabotage names on the sabotaged driver.
 * @returns what is wrong with the case or the sabotage; undefined when the case noticed
 */
export async function unnoticed<World extends Closable, Ability extends string>(
  sabotage: Sabotage<World, Ability>,
  cases: readonly Case<World, Ability>[],
  driver: Driver<World, Ability>,
): Promise<string | undefined> {
  const subject = cases.find(({ name }) => name === sabotage.breaks);
  if (subject === undefined) return `no case is named: ${sabotage.breaks}`;
  const reason = skipReason(subject, driver);
  if (reason !== undefined) return `the case does not run on ${driver.name}: ${reason}`;
  try {
    await runCase(subject, sabotage.wrap(driver));
  } catch (error) {
    if (error instanceof AssertionError) return undefined;
    return `the case ended by something other than its own assertion: ${error instanceof Error ? error.stack : String(error)}`;
  }
  return `the case passed on a driver that ${sabotage.name}`;
}

/** The same object but for some members. Methods of classes keep their own `this`. */
export function instead<T extends object>(honest: T, members: Partial<T>): T {
  return new Proxy(honest, {
    get(target, name) {
      if (Object.hasOwn(members, name)) return Reflect.get(members, name);
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
