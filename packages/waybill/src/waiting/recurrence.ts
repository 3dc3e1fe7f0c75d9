/** When a schedule is due next. */
import { WaybillError } from '../contract/errors.ts';

export type Recurrence = { everyMs: number; cron?: never; timeZone?: never } | { cron: string; timeZone?: string; everyMs?: never };

/** The first moment after `afterMs`; undefined when there is none any more. Wall time in milliseconds. */
export type NextDue = (afterMs: number, anchorMs: number) => number | undefined;

const everyMinMs = 100;
const everyMaxMs = 366 * 86_400_000;
const known: ReadonlySet<string> = new Set(['everyMs', 'cron', 'timeZone']);

/**
 * Reads what `schedule` was given. For `cron` the package croner is loaded.
 * @throws WaybillError `INVALID_OPTION`, `DRIVER_MISSING`
 */
export async function recurrenceOf(name: string, given: unknown): Promise<{ readonly spec: string; readonly next: NextDue }> {
  const refuse = (why: string): never => {
    throw new WaybillError('INVALID_OPTION', `schedule ${name}: ${why}`);
  };
  if (typeof given !== 'object' || given === null) refuse('say when: { everyMs } or { cron, timeZone }');
  const how = given as { everyMs?: unknown; cron?: unknown; timeZone?: unknown };
  for (const word of Object.keys(how)) if (!known.has(word)) refuse(`${word} is not known`);
  const { everyMs, cron, timeZone = 'UTC' } = how;
  if ((everyMs === undefined) === (cron === undefined)) refuse('say either everyMs or cron');
  if (everyMs !== undefined) {
    if (how.timeZone !== undefined) refuse('timeZone goes with cron');
    if (!Number.isSafeInteger(everyMs) || (everyMs as number) < everyMinMs || (everyMs as number) > everyMaxMs) {
      refuse(`everyMs must be a whole number of milliseconds from ${everyMinMs} to ${everyMaxMs}, not ${String(everyMs)}`);
    }
    return { spec: JSON.stringify({ everyMs }), next: every(everyMs as number) };
  }
  if (typeof cron !== 'string' || typeof timeZone !== 'string') return refuse('cron and timeZone are texts');
  return { spec: JSON.stringify({ cron, timeZone }), next: await byCron(cron, timeZone, refuse) };
}

/** On the grid of the first time, so that a late run does not shift the ones after it. */
function every(everyMs: number): NextDue {
  return (afterMs, anchorMs) => anchorMs + Math.max(0, Math.floor((afterMs - anchorMs) / everyMs) + 1) * everyMs;
}

async function byCron(pattern: string, timezone: string, refuse: (why: string) => never): Promise<NextDue> {
  let croner: { Cron: new (pattern: string, options: object) => { nextRun(after: Date): Date | null } };
  try {
    croner = (await import('croner')) as never;
  } catch (cause) {
    throw new WaybillError('DRIVER_MISSING', 'schedule by cron needs the package croner: npm install croner; or say everyMs', { cause });
  }
  try {
    const cron = new croner.Cron(pattern, { timezone, paused: true });
    cron.nextRun(new Date(0)); // a time zone that is none shows here
    return (afterMs) => cron.nextRun(new Date(afterMs))?.getTime();
  } catch (cause) {
    return refuse(`the cron pattern ${JSON.stringify(pattern)} in time zone ${JSON.stringify(timezone)} is not understood: ${(cause as Error).message}`);
  }
}
