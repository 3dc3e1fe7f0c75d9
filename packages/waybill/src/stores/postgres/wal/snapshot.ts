/**
 * Snapshots as values, reckoned with here: `xmin:xmax:xip`, as PostgreSQL writes them. A transaction is in one when its id
 * is below xmax and is none of xip.
 */
import type { Snapshot } from '../reading.ts';

export interface Ids {
  /** The first id that had not begun. */
  readonly xmax: bigint;
  /** Below it, and not in the snapshot. */
  readonly xip: ReadonlySet<bigint>;
}

export function idsOf(snapshot: Snapshot): Ids {
  const [, xmax = '1', xip = ''] = snapshot.split(':');
  return { xmax: BigInt(xmax), xip: new Set(xip === '' ? [] : xip.split(',').map(BigInt)) };
}

export function includes({ xmax, xip }: Ids, xid: bigint): boolean {
  return xid < xmax && !xip.has(xid);
}

/** The same snapshot with these transactions in it too. Ids between that never were in it are not in it now. */
export function withAlso(ids: Ids, xids: readonly bigint[]): Ids {
  const xmax = xids.reduce((most, xid) => (xid >= most ? xid + 1n : most), ids.xmax);
  const xip = new Set(ids.xip);
  for (let xid = ids.xmax; xid < xmax; xid++) xip.add(xid);
  for (const xid of xids) xip.delete(xid);
  return { xmax, xip };
}

/** What is in one of the two or in both. */
export function union(one: Ids, two: Ids): Ids {
  const [low, high] = one.xmax <= two.xmax ? [one, two] : [two, one];
  const xip = new Set<bigint>();
  for (const xid of high.xip) if (!includes(low, xid)) xip.add(xid);
  return { xmax: high.xmax, xip };
}

export function textOf({ xmax, xip }: Ids): Snapshot {
  const sorted = [...xip].sort((one, two) => (one < two ? -1 : one > two ? 1 : 0));
  return `${sorted[0] ?? xmax}:${xmax}:${sorted.join(',')}`;
}
