import { WaybillError } from '../contract/errors.ts';

/**
 * The moments at which a process can die with something half done, by name. What a name stands for has just happened;
 * with `before ` it was just about to.
 */
export type Moment =
  /** A transaction that added to the ledger has committed; no hint was given yet. */
  | 'outbox.commit'
  /** The broker has answered; nothing is settled. */
  | 'relay.send'
  /** What was sent is settled. */
  | 'relay.settle'
  /** A transaction that took on a message, or finished one that had waited, has committed; it is not acknowledged. */
  | 'inbox.commit'
  /** It is acknowledged. */
  | 'inbox.settle'
  /** The start of a run is on record; the handler has not been called. */
  | 'waiting.start'
  /** A transaction that put something off (a delayed message, a retry) has committed. */
  | 'waiting.commit'
  /** A transaction that parked a message, or took one out of failures, has committed. */
  | 'failures.commit'
  /** A transaction that kept a result of `once` has committed. */
  | 'once.commit'
  /** A transaction that added to a stream has committed. */
  | 'stream.commit'
  /** A transaction that moved a projection has committed, the table's writes with it. */
  | 'projection.commit';

export type CrashPoint = Moment | `before ${Moment}`;

export const moments: readonly Moment[] = [
  'outbox.commit',
  'relay.send',
  'relay.settle',
  'inbox.commit',
  'inbox.settle',
  'waiting.start',
  'waiting.commit',
  'failures.commit',
  'once.commit',
];

/** Those beside the journey: of the event store. */
export const streamMoments: readonly Moment[] = ['stream.commit', 'projection.commit'];

/** Every crash point, in the order of a message's journey: for tests that try one after the other. */
export const crashPoints: readonly CrashPoint[] = moments.flatMap((moment): CrashPoint[] => [`before ${moment}`, moment]);

const known: ReadonlySet<unknown> = new Set([...moments, ...streamMoments].flatMap((moment) => [moment, `before ${moment}`]));

/** A misspelt point is never reached, and the test that names it would prove nothing. @throws WaybillError `INVALID_OPTION` */
export function checkCrashPoint(point: unknown, nth: unknown): void {
  if (!known.has(point)) {
    throw new WaybillError('INVALID_OPTION', `crashAfter: there is no point ${JSON.stringify(point)}; points are ${[...known].join(', ')}`);
  }
  if (!Number.isSafeInteger(nth) || (nth as number) < 1) throw new WaybillError('INVALID_OPTION', 'crashAfter: nth must be a whole number from 1 on');
}
