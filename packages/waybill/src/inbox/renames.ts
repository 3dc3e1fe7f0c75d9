/**
 * The names that a subscription has had.
 *
 * In: the names that its code gives as former ones. Out: these, and those that the store knows to have led to them or on
 * from them, wherever a deployment before this one renamed it again. So its code may name the last one, or the first, or
 * all: what was applied under any of them is not applied again, and an old instance that comes back under any of them
 * meets the same inbox. Written down with the rename itself, in one transaction. Cost: at a start with `formerly`, a read
 * for each name.
 */
import type { Clock } from '../contract/clock.ts';
import type { StoreSession, StoreTransaction } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';

/** Kept beside first results, and never trimmed: a user's scope has no control characters. */
const scope = '\u0001names';
/** Names that are followed: a subscription that was renamed more often has long left the first ones behind. */
const namesMax = 16;

interface Known {
  readonly had: readonly string[];
  readonly became?: string;
}

/** @param isAnother whether a name is that of another subscription of this code: then it is not this one's */
export function namesBefore(
  store: StoreSession,
  clock: Clock,
  { name, formerly }: { readonly name: string; readonly formerly: readonly string[] },
  isAnother: (name: string) => boolean,
): Promise<readonly string[]> {
  if (formerly.length === 0) return Promise.resolve([]);
  return transact(store, clock, async (tx) => {
    const found = new Set<string>();
    const open = [...formerly];
    for (let next = open.shift(); next !== undefined && found.size < namesMax; next = open.shift()) {
      if (next === name || found.has(next)) continue;
      if (!formerly.includes(next) && isAnother(next)) continue;
      found.add(next);
      const { had, became } = await find(store, tx, next);
      open.push(...had, ...(became === undefined ? [] : [became]));
    }
    return [...found];
  });
}

/** In the transaction that carries over what they had. */
export async function writeNames(store: StoreSession, tx: StoreTransaction, name: string, before: readonly string[]): Promise<void> {
  const { had } = await find(store, tx, name);
  await save(store, tx, name, { had: [...new Set([...before, ...had])].filter((one) => one !== name).slice(0, namesMax) });
  for (const old of before) await save(store, tx, old, { ...(await find(store, tx, old)), became: name });
}

async function find(store: StoreSession, tx: StoreTransaction, name: string): Promise<Known> {
  const found = await store.ports.once.find(tx, scope, name);
  return found ? (JSON.parse(found.result) as Known) : { had: [] };
}

async function save(store: StoreSession, tx: StoreTransaction, name: string, known: Known): Promise<void> {
  await store.ports.once.save(tx, { scope, key: name, result: JSON.stringify(known), fingerprint: undefined });
}
