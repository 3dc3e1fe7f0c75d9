/** What the commands `torture` and `soak` have in common: options that are numbers, and a run that is shown while it goes on and told at its end. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createProgress } from './progress.ts';

/** Violations, and kinds of complaints, that are printed. */
const shownMax = 20;

export function numberOf(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  return text !== '' && value >= min && value <= max ? value : usage(`--${name} must be a number from ${min} to ${max}`);
}

export function usage(what: string): never {
  console.error(what);
  process.exit(2);
}

interface Report {
  readonly violations: readonly string[];
  readonly troubles: readonly (readonly [string, number])[];
}

/** Exits with 1 on a violation. History and state stay in the folder that it names. */
export async function show<R extends Report>(
  { name, seconds }: { readonly name: string; readonly seconds: number },
  run: (at: { readonly folder: string; readonly onProgress: (line: string) => void }) => Promise<R>,
  figuresOf: (report: R) => object,
): Promise<never> {
  const folder = await mkdtemp(join(tmpdir(), `waybill-${name}-`));
  const progress = createProgress(seconds, 'seconds');
  const beganMs = performance.now();
  const onProgress = (line: string): void => progress.update(Math.min(seconds - 1, Math.round((performance.now() - beganMs) / 1_000)), line);
  const report = await run({ folder, onProgress });
  progress.end();
  for (const violation of report.violations.slice(0, shownMax)) console.log(violation);
  for (const [text, count] of report.troubles.slice(0, shownMax)) console.log(`${count} × ${text}`);
  console.log({ ...figuresOf(report), violations: report.violations.length, folder });
  process.exit(report.violations.length === 0 ? 0 : 1);
}
