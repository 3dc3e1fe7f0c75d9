/** Runs that once failed, and are kept: each names the bug that it was, to be planted again, and what that violates. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Scenario } from 'waybill/testing';

export interface Kept extends Scenario {
  readonly why: string;
  /** Its name in `list.ts`. */
  readonly mutant: string;
  readonly violates: readonly string[];
}

const folder = join(import.meta.dirname, '../../packages/waybill/test/simulation/scenarios');

export const kept: ReadonlyMap<string, Kept> = new Map(readdirSync(folder).map((name) => [name, JSON.parse(readFileSync(join(folder, name), 'utf8')) as Kept]));

/** Calls that an innocent change of the library may have put in or taken out. */
const shiftMax = 40;
/** Seeds in place of the list of faults, when shifting it did not help. */
const seedsMax = 300;

/** The run itself, then those next to it: whoever changes the library shifts its calls, and the faults with them. */
export function* near({ seed, faults = [], knobs }: Kept): Generator<Scenario> {
  yield { seed, faults, knobs };
  for (let by = 1; by <= shiftMax; by++) {
    for (const shift of [by, -by]) {
      for (let from = 0; from < faults.length; from++) yield { seed, knobs, faults: faults.map((fault, at) => (at < from ? fault : { ...fault, call: fault.call + shift })) };
    }
  }
  for (let other = 1; other <= seedsMax; other++) yield { seed: other, knobs };
}
