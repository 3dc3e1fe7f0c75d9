/**
 * One process of the fault runs, written from the public API alone; its role comes as JSON in argv. A publisher raises a
 * counter per key and publishes its new value in the same transaction, and relays. A subscriber writes one effect row per
 * message, and now and then throws, or kills itself in the middle.
 */
import { createBus, defineEvent } from 'waybill';
import * as z from 'zod';

export interface Role {
  readonly role: 'publisher' | 'relay' | 'subscriber';
  readonly service: string;
  readonly store: string;
  readonly transport: string;
  readonly selfKill: number;
  readonly throws: number;
}

const keys = 25;
/** Between two transactions. */
const pauseMs = 5;

const Counted = defineEvent('count.counted', {
  schema: z.object({ key: z.string(), n: z.number().int() }),
  key: (event) => event.key,
});

const role = JSON.parse(process.argv[2]!) as Role;
const die = (): never => {
  process.kill(process.pid, 'SIGKILL');
  throw new Error('dead');
};

const bus = createBus({
  service: role.service,
  store: role.store,
  transport: role.transport,
  logger: { debug() {}, info() {}, warn() {}, error: (details, text) => process.stderr.write(`${text} ${JSON.stringify(details)}\n`) },
});

if (role.role === 'subscriber') {
  const retry = { immediate: 1, delayed: 20, delayMs: 20, delayMaxMs: 200 };
  const subscriptions = [
    ['ordered', { name: 'ordered', order: 'by-key', retry }],
    ['any_order', { name: 'any', retry }],
  ] as const;
  for (const [table, options] of subscriptions) {
    bus.subscribe(Counted, options, async (event, ctx) => {
      await ctx.tx.query(`insert into ${table} (id, key, n) values ($1, $2, $3)`, [ctx.message.id, event.key, event.n]);
      if (Math.random() < role.selfKill) die();
      if (Math.random() < role.throws) throw new Error('now and then');
    });
  }
}
await bus.start();
process.on('SIGTERM', () => void bus.stop().then(() => process.exit(0)));
process.send?.('working');

while (role.role === 'publisher') {
  await bus.transaction(async (tx) => {
    for (let i = 1 + Math.floor(Math.random() * 5); i > 0; i--) {
      const key = `k${Math.floor(Math.random() * keys)}`;
      const { rows } = await tx.query<{ n: number }>('insert into counter values ($1, 1) on conflict (key) do update set n = counter.n + 1 returning n', [key]);
      await bus.publish(Counted, { key, n: rows[0]!.n }, { tx });
      if (Math.random() < role.selfKill) die();
    }
  }).catch((error: unknown) => process.stderr.write(`publishing: ${String(error)}\n`)); // the store is away: what was not committed does not count
  await new Promise((resolve) => setTimeout(resolve, pauseMs));
}
