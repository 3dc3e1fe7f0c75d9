/**
 * Publishes in one of the client libraries: moves accounts and tells of it in the same transaction, half of the time one that the
 * bus opened, half of the time one that the library did. Another process relays.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createBus, WaybillError } from 'waybill';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { Moved, Note } from './contracts.ts';
import { openLibrary } from './libraries/index.ts';
import { chance, live, logger, record, role } from './life.ts';
import { accounts } from './role.ts';

class Undo extends Error {}

const library = await openLibrary(role.library!, role.store);
const bus = createBus({ service: 'bank', store: library.store, transport: rabbitmq(role.transport), relay: 'off', logger });

await live(bus, async () => {
  let ids: string[] = [];
  let mayHaveCommitted = false;
  const chosen = new Set(Array.from({ length: 1 + Math.floor(Math.random() * 3) }, () => `a${1 + Math.floor(Math.random() * accounts)}`));
  const work = async (tx: any): Promise<void> => {
    if (ids.length > 0) record({ what: 'undone', ids }); // the block runs again
    ids = [];
    const tried = (id: string, key?: string, n?: number): void => {
      ids.push(id);
      record({ what: 'tried', id, ...(key !== undefined && { key, n: n! }) });
    };
    for (const account of [...chosen].sort()) {
      const amount = Math.floor(Math.random() * 200) - 100;
      const version = await library.move(tx, account, amount);
      tried((await bus.publish(Moved, { account, version, amount }, { tx })).id, account, version);
      if (chance(0.2)) tried((await bus.send(Note, { account, version }, { tx })).id);
      if (chance(0.03)) await sleep(20);
    }
    if (chance(0.08)) throw new Undo();
    mayHaveCommitted = true;
  };
  const byBus = chance(0.5);
  try {
    await (byBus ? bus.transaction(work) : library.transaction(work));
    record({ what: 'committed', ids });
  } catch (error) {
    // Of a transaction of the library's own nobody can say whether COMMIT was reached.
    const isUnknown = byBus ? WaybillError.is(error, 'COMMIT_UNKNOWN') : mayHaveCommitted;
    if (ids.length > 0) record({ what: isUnknown ? 'unknown' : 'undone', ids, text: `${byBus ? 'bus' : 'own'} ${String(error).slice(0, 120)}` });
    if (!(error instanceof Undo)) await sleep(100);
  }
  await sleep(role.pauseMs * 2 * Math.random());
});
