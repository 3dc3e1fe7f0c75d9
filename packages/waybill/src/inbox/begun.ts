import type { Clock } from '../contract/clock.ts';
import type { StoreSession, StoreTransaction } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';

/** When a subscription was first created, and from where it was to begin: what its code says later changes nothing. */
export interface Begun {
  readonly from: 'now' | 'beginning' | number;
  /** Wall time. What was published well before is not for a subscription from now on. */
  readonly atMs: number;
}

/** Since when a subscription gets what is published; 0: from the beginning, or not known. */
export function beganMsOf(begun: Begun | undefined): number {
  if (begun === undefined || begun.from === 'beginning') return 0;
  return begun.from === 'now' ? begun.atMs : begun.from;
}

/** Kept beside first results, and never trimmed: a user's scope has no control characters. */
const scope = '\u0001subscription';
const joinedScope = '\u0001joined';

/** The first call writes it down, every other finds it: also in another process, or under the subscription's new name. */
export function begun(store: StoreSession, clock: Clock, of: { name: string; formerly: readonly string[]; from: Begun['from'] }): Promise<Begun> {
  const { once } = store.ports;
  const find = async (tx: StoreTransaction, name: string): Promise<Begun | undefined> => {
    const found = await once.find(tx, scope, name);
    return found && ((JSON.parse(found.result) as Begun | null) ?? undefined);
  };
  return transact(store, clock, async (tx) => {
    const known = await find(tx, of.name);
    if (known) return known;
    for (const old of of.formerly) {
      const carried = await find(tx, old);
      if (carried) return write(store, tx, of.name, carried);
    }
    return write(store, tx, of.name, { from: of.from, atMs: clock.now() });
  });
}

/** Sources whose history a late subscription has taken: then its live flow may pass. */
export function joins(store: StoreSession, clock: Clock, name: string): { isJoined(source: string): Promise<boolean>; joined(source: string): Promise<void> } {
  const key = (source: string): string => JSON.stringify([name, source]);
  const { once } = store.ports;
  return {
    isJoined: (source) => transact(store, clock, async (tx) => (await once.find(tx, joinedScope, key(source))) !== undefined),
    joined: (source) => transact(store, clock, (tx) => save(store, tx, key(source), { scope: joinedScope, what: true })),
  };
}

/** It was removed: the next of its name is a new one. */
export async function forget(store: StoreSession, clock: Clock, name: string): Promise<void> {
  await transact(store, clock, (tx) => save(store, tx, name, { scope, what: null }));
}

async function write(store: StoreSession, tx: StoreTransaction, name: string, what: Begun): Promise<Begun> {
  await save(store, tx, name, { scope, what });
  return what;
}

async function save(store: StoreSession, tx: StoreTransaction, key: string, of: { scope: string; what: Begun | true | null }): Promise<void> {
  await store.ports.once.save(tx, { scope: of.scope, key, result: JSON.stringify(of.what), fingerprint: undefined });
}
