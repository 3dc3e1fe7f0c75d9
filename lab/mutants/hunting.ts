import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Mutant } from './list.ts';

export interface Caught {
  /** The first seed that noticed, or the file of what is kept of it; undefined when none did. */
  readonly by?: string;
  readonly invariants?: readonly string[];
  readonly what?: string;
}

/** A run of a process of its own: the mutant is planted while the library is loaded. */
export async function hunt(mutant: Mutant, { from, seeds, timeoutMs }: { from: number; seeds: number; timeoutMs: number }): Promise<Caught> {
  const run = promisify(execFile);
  const args = ['--import', join(import.meta.dirname, 'plant.ts'), join(import.meta.dirname, 'hunt.ts'), String(from), String(seeds)];
  const { stdout } = await run(process.execPath, args, {
    env: { ...process.env, WAYBILL_MUTANT: mutant.name },
    timeout: timeoutMs,
    maxBuffer: 1 << 24,
  });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Caught;
}
