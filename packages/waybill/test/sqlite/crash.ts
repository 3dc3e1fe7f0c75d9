/**
 * Writes pairs until it is killed: a row and the message that tells of it, in one transaction, and says each number
 * once its commit has returned. Many pages to a transaction, so that a kill often falls inside one.
 */
import { writeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { sqlite } from '../../src/stores/sqlite/index.ts';
import { testHost, wire } from './support.ts';

const { file } = JSON.parse(process.argv[2]!) as { file: string };
const store = await sqlite(file).open(testHost());
await store.transaction((tx) => tx.native.query('create table if not exists item (n integer primary key, filler blob)'));
for (;;) {
  const n = await store.transaction(async (tx) => {
    const { rows } = await tx.native.query<{ n: number }>(
      'insert into item select coalesce(max(n), 0) + 1, randomblob(20000) from item returning n',
    );
    await tx.savepoint(() => store.ports.outbox.append(tx, [wire({ id: `item-${rows[0]!.n}` })]));
    await turn();
    await store.ports.inbox.insert(tx, 'catalog.items', [{ source: 'catalog', id: `item-${rows[0]!.n}` }]);
    return rows[0]!.n;
  });
  writeSync(1, `${n}\n`);
}
