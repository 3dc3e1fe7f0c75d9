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
