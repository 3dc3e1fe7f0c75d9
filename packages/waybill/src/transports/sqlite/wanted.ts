/** What a subscription takes, as of a revision of its declaration, prepared for reading. */
import { heartbeatType } from '../../contract/control.ts';
import { droppedGraceMs, type DeclaredType } from './subscriptions.ts';

export interface Wanted {
  readonly subscription: string;
  readonly recipient: string;
  readonly names: readonly string[];
  /** Of these, what counts as waiting: there is always a heartbeat on its way. */
  readonly counted: readonly string[];
  readonly types: ReadonlyMap<string, DeclaredType>;
  /** When the subscription began: a ledger that appears later is read from then on. 0: from its beginning. */
  readonly begunMs: number;
  /** Wall time at which a dropped type is not taken any more, so that this is out of date. */
  readonly untilMs: number;
}

export function wantedOf(subscription: string, recipient: string, declared: readonly DeclaredType[], nowMs: number): Wanted {
  const taken = declared.filter(({ dropped }) => dropped === null || dropped > nowMs - droppedGraceMs);
  const names = taken.map(({ type }) => type);
  return {
    subscription,
    recipient,
    names,
    counted: names.filter((type) => type !== heartbeatType),
    types: new Map(taken.map((row) => [row.type, row])),
    begunMs: Math.min(...declared.map(({ started }) => started)),
    untilMs: Math.min(...taken.map(({ dropped }) => (dropped === null ? Infinity : dropped + droppedGraceMs))),
  };
}

/** Whether `now` takes rows that one reading for `before` has stepped over. */
export function isMore(now: Wanted, before: Wanted): boolean {
  return now.names.some((type) => before.types.get(type)?.started !== now.types.get(type)?.started);
}

export function isWanted(
  { types, begunMs }: Wanted,
  row: { readonly type: string; readonly kind: string; readonly appended: number },
): boolean {
  const declared = types.get(row.type);
  if (declared === undefined || declared.kind !== row.kind) return false;
  // A type of the first declaration begins at a position, one that was added later at its time.
  if (declared.started > begunMs && row.appended < declared.started) return false;
  return declared.stopped === null || row.appended <= declared.stopped;
}
