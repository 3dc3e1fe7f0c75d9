/**
 * One process of the kill test, written from the public API alone. Its role, service, and folder come as JSON in argv.
 *
 * A publisher raises a counter per key and publishes its new value in the same transaction. A subscriber writes one
 * effect row per message, and now and then throws, or kills itself in the middle.
 */
import { appendFileSync } from 'node:fs';
import { createBus, defineEvent } from 'waybill';
import * as z from 'zod';

export interface Role {
  readonly role: 'publisher' | 'subscriber';
  readonly service: string;
  readonly dir: string;
  /** Publishers: the first key number, so that two instances of one service share keys. */
  readonly keys: number;
  readonly selfKill: number;
  readonly throws: number;
  /** Publishers: pause between transactions. */
  readonly pauseMs: number;
}

export const Counted = defineEvent('count.counted', {
  schema: z.object({ key: z.string(), n: z.number().int() }),
  key: (event) => event.key,
  sequence: (event) => event.n,
});

const role = JSON.parse(process.argv[2]!) as Role;
const die = (): never => {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('dead');
};

const bus = createBus({
  service: role.service,
  store: `sqlite:${role.dir}/${role.service}.db`,
  transport: `sqlite:${role.dir}`,
  logger: { debug() {}, info() {}, warn() {}, error: (details, text) => process.stderr.write(`${text} ${JSON.stringify(details)}\n`) },
});

if (role.role === 'publisher') {
  await bus.start();
  await bus.transaction((tx) => tx.query('create table if not exists counter (key text primary key, n integer not null)'));
  for (;;) {
    const count = 1 + Math.floor(Math.random() * 5);
    const ids: string[] = [];
    await bus.transaction(async (tx) => {
      ids.length = 0; // the block may run again
      for (let i = 0; i < count; i++) {
        const key = `${role.service}-${Math.floor(Math.random() * role.keys)}`;
        const { rows } = await tx.query<{ n: number }>(
          'insert into counter values ($1, 1) on conflict (key) do update set n = counter.n + 1 returning n',
          [key],
        );
        if (Math.random() < role.selfKill) die();
        ids.push((await bus.publish(Counted, { key, n: rows[0]!.n }, { tx })).id);
      }
    });
    appendFileSync(`${role.dir}/${role.service}.acked`, ids.map((id) => `${id}\n`).join(''));
    process.send?.('working');
    await new Promise((resolve) => setTimeout(resolve, role.pauseMs));
  }
}

const effect = async (tx: { query(text: string, values?: readonly unknown[]): Promise<unknown> }, table: string, row: readonly unknown[]): Promise<void> => {
  await tx.query(`insert into ${table} (id, source, key, n) values ($1, $2, $3, $4)`, row);
};
const mishap = (): void => {
  if (Math.random() < role.selfKill) die();
  if (Math.random() < role.throws) throw new Error('now and then');
};

await (async () => {
  // Tables before the first message.
  const tables = ['ordered', 'latest', 'own', 'manual'];
  await bus.transaction(async (tx) => {
    for (const table of tables) {
      await tx.query(`create table if not exists ${table} (at integer primary key, id text not null, source text not null, key text not null, n integer not null)`);
    }
  });
})();
const retry = { immediate: 1, delayed: 20, delayMs: 20, delayMaxMs: 100 };
bus.subscribe(Counted, { name: 'ordered', order: 'by-key', retry, from: 'beginning' }, async (event, ctx) => {
  await effect(ctx.tx, 'ordered', [ctx.message.id, ctx.message.source, event.key, event.n]);
  mishap();
});
bus.subscribe(Counted, { name: 'latest', order: 'latest', retry, from: 'beginning' }, async (event, ctx) => {
  mishap();
  await effect(ctx.tx, 'latest', [ctx.message.id, ctx.message.source, event.key, event.n]);
});
bus.subscribe(Counted, { name: 'own', order: 'by-key', transaction: 'own', retry, from: 'beginning' }, async (event, ctx) => {
  await new Promise((resolve) => setImmediate(resolve)); // waits for something outside, holding nothing
  await effect(ctx.tx, 'own', [ctx.message.id, ctx.message.source, event.key, event.n]);
  mishap();
});
bus.subscribe(Counted, { name: 'manual', order: 'by-key', transaction: 'manual', retry, from: 'beginning' }, async (event, ctx) => {
  await new Promise((resolve) => setImmediate(resolve));
  mishap();
  await ctx.transaction((tx) => effect(tx, 'manual', [ctx.message.id, ctx.message.source, event.key, event.n]));
});
await bus.start();
process.on('SIGTERM', () => void bus.stop().then(() => process.exit(0)));
process.send?.('working');
