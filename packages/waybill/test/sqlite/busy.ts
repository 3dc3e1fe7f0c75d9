/**
 * Writes without pause until its input ends: about 1 ms of work to a transaction, counted in the table `busy`.
 * `polite`: through the store. Otherwise as a program would that asks SQLite again and again.
 */
import { DatabaseSync } from 'node:sqlite';
import { sqlite } from '../../src/stores/sqlite/index.ts';
import { setImmediate as turn } from 'node:timers/promises';
import { testHost } from './support.ts';

const { file, polite } = JSON.parse(process.argv[2]!) as { file: string; polite: boolean };
let stopped = false;
process.stdin.on('end', () => (stopped = true)).resume();
const sql = 'update busy set n = n + 1';
const hold = (): void => {
  const until = performance.now() + 1;
  while (performance.now() < until);
};

if (polite) {
  const store = await sqlite(file).open(testHost());
  console.log('"ready"');
  while (!stopped) {
    await store.transaction(async (tx) => {
      await tx.native.query(sql);
      hold();
    });
  }
  await store.close();
} else {
  const user = new DatabaseSync(file, { timeout: 5_000 });
  console.log('"ready"');
  for (let n = 0; !stopped; n++) {
    user.exec('begin immediate');
    user.exec(sql);
    hold();
    user.exec('commit');
    if (n % 50 === 0) await turn(); // or it would never learn that it shall stop
  }
  user.close();
}
