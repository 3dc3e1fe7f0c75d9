/** A lease that is lost and won again while handlers of the first time still run. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Renamed } from '../support/contracts.ts';
import { embedded, folder, signal } from './support.ts';

for (const transaction of ['own', 'shared', 'manual'] as const) {
  it(`keeps order and loses nothing, ${transaction}`, async (t) => {
    const directory = folder(t);
    const bus = embedded(t, 'desk', directory);
    await bus.transaction((tx) => tx.query('create table effect (at integer primary key, key text, name text)'));
    const [running, gate, all] = [signal(), signal(), signal()];
    let runs = 0;
    const write = (tx: any, key: string, name: string): Promise<unknown> => tx.query('insert into effect (key, name) values ($1, $2)', [key, name]);
    bus.subscribe(Renamed, { transaction, order: 'by-key', concurrency: 2 } as never, async ({ id, name }: any, ctx: any) => {
      if (++runs === 1) {
        running.give();
        if (transaction !== 'shared') await gate.come;
      }
      if (transaction === 'manual') await ctx.transaction((tx: unknown) => write(tx, id, name));
      else await write(ctx.tx, id, name);
    });
    const count = 12;
    let applied = 0;
    let again = 0;
    const takeover = signal();
    bus.on('takeover', () => ++again === 2 && takeover.give());
    bus.on('applied', () => ++applied === count && all.give());
    await bus.start();
    const publish = (from: number, to: number): Promise<unknown> =>
      bus.publishAll(Array.from({ length: to - from }, (_, i) => Renamed.of({ id: i % 2 === 0 ? 'a' : 'b', name: String(from + i) })));
    await publish(0, 4);
    await running.come;
    // Another instance takes the lease over and dies.
    await bus.transaction((tx) => tx.query(`update waybill_lease set owner = 'another', epoch = epoch + 1, expires = 0 where subscription = $1`, ['desk.catalog.renamed']));
    await publish(4, 8);
    await takeover.come;
    gate.give();
    await publish(8, 12);
    await all.come;
    const { rows } = await bus.transaction((tx) => tx.query<{ key: string; name: string }>('select key, name from effect order by at'));
    for (const key of ['a', 'b']) {
      const names = rows.filter((row) => row.key === key).map(({ name }) => Number(name));
      assert.deepEqual(names, Array.from({ length: count / 2 }, (_, i) => 2 * i + (key === 'a' ? 0 : 1)));
    }
  });
}
