import { Reject, RetryLater, WaybillError } from '../contract/errors.ts';
import type { Plan, Verdict } from '../contract/handling.ts';

/** Errors that another run cannot mend. */
const hopeless: ReadonlySet<string> = new Set([
  'CONTRACT_VIOLATION',
  'SCHEMA_NOT_JSON',
  'INVALID_CONTRACT',
  'MESSAGE_UNDECODABLE',
  'MESSAGE_TOO_LARGE',
  'SEQUENCE_MISSING',
  'HANDLER_CRASHED',
  'HOP_LIMIT',
]);

/** Runs at most, all told. */
export function attemptsOf(retry: Plan['retry']): number {
  return 1 + retry.immediate + retry.delayed;
}

/**
 * What follows a run that threw. The first runs follow at once (`immediate`), then there are `delayed` ones, each twice
 * as long after the last, jittered by half so that a thousand failures do not come back in one moment.
 *
 * @param attempt the number of the run that threw, from 1
 */
export function verdict(error: unknown, attempt: number, retry: Plan['retry'], random: () => number): Verdict {
  const delayMs = (nth: number): number => Math.min(retry.delayMs * 2 ** Math.min(nth, 30), retry.delayMaxMs) * (1 + random() / 2);
  if (WaybillError.is(error, 'SAGA_ENDED')) return { kind: 'fail', aside: true };
  if (WaybillError.is(error, 'SAGA_NOT_FOUND')) {
    // What would start the saga may be behind it: it must not be kept waiting.
    return attempt >= attemptsOf(retry) ? { kind: 'fail', aside: true } : { kind: 'later', delayMs: delayMs(attempt - 1), aside: true };
  }
  if (Reject.is(error)) return { kind: 'fail' };
  if (WaybillError.is(error) && hopeless.has(error.code)) return { kind: 'fail' };
  if (attempt >= attemptsOf(retry)) return { kind: 'fail' };
  if (RetryLater.is(error)) return { kind: 'later', delayMs: delayOf(error) };
  if (attempt <= retry.immediate) return { kind: 'again' };
  return { kind: 'later', delayMs: delayMs(attempt - retry.immediate - 1) };
}

/** Longest that a handler may put off one run: a year. */
const laterMaxMs = 365 * 86_400_000;

function delayOf(error: RetryLater): number {
  return Number.isFinite(error.delayMs) ? Math.min(Math.max(0, error.delayMs), laterMaxMs) : 1_000;
}
