/** Where a new subscription begins in the ledgers that are there. One that appears later is looked through when it does. */
import type { Clock } from '../../contract/clock.ts';
import type { Declaration } from '../../contract/transport.ts';
import type { Directory } from './directory.ts';
import { windowPositions, type Ledger, type Place } from './ledger.ts';
import type { StoredPlace } from './positions.ts';

/**
 * Looks through the ledgers as far as that can be done beforehand, and returns what is to be asked in the transaction
 * that declares. A ledger that cannot be read now is left out: it counts as one that appears later.
 */
export async function beginningOf(
  from: Declaration['from'],
  directory: Directory,
  clock: Clock,
): Promise<() => readonly StoredPlace[]> {
  const found = new Map<Ledger, Place>();
  if (typeof from === 'number') {
    directory.look(); // as far as they reach now: nobody may have followed them here
    for (const ledger of [...directory.ledgers.values()]) {
      await attempt(directory, ledger, async () => found.set(ledger, await firstSince(ledger, from, clock)));
    }
  }
  const placeIn = (ledger: Ledger): Place | undefined => {
    if (from === 'beginning') return { position: ledger.trimmedTo(), anchor: null };
    return from === 'now' ? ledger.head : found.get(ledger);
  };
  return () => {
    const places: StoredPlace[] = [];
    directory.look();
    for (const ledger of directory.ledgers.values()) {
      try {
        const place = placeIn(ledger);
        if (place !== undefined) places.push({ source: ledger.service, incarnation: ledger.incarnation, ...place });
      } catch (error) {
        directory.failed(ledger, error);
      }
    }
    return places;
  };
}

/** The place before the first row that was written at or after a time; the end, when there is none. */
async function firstSince(ledger: Ledger, sinceMs: number, clock: Clock): Promise<Place> {
  for (let from = ledger.trimmedTo(); ; from += windowPositions) {
    const { head } = ledger;
    if (from >= head.position) return head;
    const found = ledger.firstSince(from, Math.min(from + windowPositions, head.position), sinceMs);
    if (found !== undefined) return ledger.placeAt(found - 1);
    await clock.turn();
  }
}

async function attempt(directory: Directory, ledger: Ledger, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    directory.failed(ledger, error);
  }
}
