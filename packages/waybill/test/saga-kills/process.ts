/**
 * One process of the saga kill test, written from the public API alone: an order is submitted, its stock reserved, its
 * payment authorized, and whatever was done taken back when something does not come in time. Kills itself now and then.
 */
import { createBus, defineCommand, defineEvent, defineSaga, Reject } from 'waybill';
import * as z from 'zod';
import { type Role, graceMs } from './role.ts';

const order = z.object({ orderId: z.string() });
const key = (event: { orderId: string }): string => event.orderId;
const OrderSubmitted = defineEvent('web.order-submitted', { schema: order, key });
const StockConfirmed = defineEvent('stock.confirmed', { schema: order, key });
const StockRejected = defineEvent('stock.rejected', { schema: order, key });
const ReserveStock = defineCommand('stock.reserve', { schema: order, key });
const ReleaseStock = defineCommand('stock.release', { schema: order, key });
const AuthorizePayment = defineCommand('payment.authorize', { schema: order, key, reply: z.object({ approved: z.boolean() }) });
const VoidPayment = defineCommand('payment.void', { schema: order, key });

const role = JSON.parse(process.argv[2]!) as Role;
const { service, dir } = role;
const mishap = (): void => {
  if (Math.random() < role.selfKill) process.kill(process.pid, 'SIGKILL');
};
/** What becomes of an order is written in its number. */
const fate = (orderId: string): number => Number(orderId.split('-').at(-1)) % 10;
const retry = { immediate: 1, delayed: 30, delayMs: 20, delayMaxMs: 200 };

await using bus = createBus({
  service,
  store: role.store,
  transport: `sqlite:${dir}`,
  requireTransaction: false,
  logger: { debug() {}, info() {}, warn() {}, error: (details, text) => process.stderr.write(`${text} ${JSON.stringify(details)}\n`) },
});

const table = (sql: string): Promise<void> => bus.transaction(async (tx) => void (await tx.query(sql)));

const State = z.object({ orderId: z.string(), setMs: z.number(), firedMs: z.number().nullable(), steps: z.array(z.string()) });
const OrderProcess = defineSaga('order-process', {
  state: State,
  initial: (orderId) => ({ orderId, setMs: 0, firedMs: null, steps: [] }),
  timeouts: { grace: graceMs },
  steps: ['stock', 'payment'],
})
  .startedBy(OrderSubmitted, key, async ({ orderId }, saga) => {
    saga.state.steps.push('submitted');
    saga.state.setMs = Date.now();
    saga.timeout('grace');
    saga.done('stock'); // it may be, from now on
    await saga.send(ReserveStock, { orderId });
    mishap();
  })
  .on(StockConfirmed, key, async ({ orderId }, saga) => {
    saga.state.steps.push('confirmed');
    saga.done('payment');
    await saga.send(AuthorizePayment, { orderId });
    mishap();
  })
  .on(StockRejected, key, (_, saga) => {
    saga.state.steps.push('rejected');
    saga.undo();
    mishap();
  })
  .onReply(
    AuthorizePayment,
    ({ approved }, saga) => {
      saga.state.steps.push(approved ? 'approved' : 'declined');
      mishap();
      if (approved) saga.complete();
      else saga.undo();
    },
    ({ code }, saga) => {
      saga.state.steps.push(code);
      saga.undo();
      mishap();
    },
  )
  .onTimeout('grace', (saga) => {
    saga.state.firedMs = Date.now();
    saga.undo();
    mishap();
  })
  .compensate('stock', async (saga) => {
    mishap();
    saga.state.steps.push('undo stock');
    await saga.send(ReleaseStock, { orderId: saga.key });
  })
  .compensate('payment', async (saga) => {
    saga.state.steps.push('undo payment');
    await saga.send(VoidPayment, { orderId: saga.key });
    mishap();
  });

/** One row per order: how often it was done and undone. What was undone first is never done. */
const done = `insert into work (id, done, undone) values ($1, 1, 0) on conflict (id) do update set done = work.done + 1 where work.undone = 0`;
const undone = `insert into work (id, done, undone) values ($1, 0, 1) on conflict (id) do update set undone = work.undone + 1`;

switch (service) {
  case 'ordering':
    bus.run(OrderProcess, { retry });
    break;
  case 'stock':
  case 'payment':
    await table('create table if not exists work (id text primary key, done integer not null, undone integer not null)');
    if (service === 'stock') {
      bus.handle(ReserveStock, { retry }, async ({ orderId }, ctx) => {
        const { rowCount } = await ctx.tx.query(done, [orderId]);
        mishap();
        if (rowCount === 0 || fate(orderId) === 0) return; // released already; or nobody hears of it
        await ctx.publish(fate(orderId) === 1 ? StockRejected : StockConfirmed, { orderId });
      });
      bus.handle(ReleaseStock, { retry }, async ({ orderId }, ctx) => void (await ctx.tx.query(undone, [orderId])));
    } else {
      bus.handle(AuthorizePayment, { retry }, async ({ orderId }, ctx) => {
        if (fate(orderId) === 2) throw new Reject('broke', { code: 'BROKE' });
        if (fate(orderId) === 3) return { approved: false };
        const { rowCount } = await ctx.tx.query(done, [orderId]);
        mishap();
        return { approved: rowCount !== 0 };
      });
      bus.handle(VoidPayment, { retry }, async ({ orderId }, ctx) => void (await ctx.tx.query(undone, [orderId])));
    }
    break;
  case 'web':
    await table('create table if not exists submitted (id text primary key)');
}

await bus.start();
process.send?.('working');
if (service === 'web' && !role.quiet) {
  for (;;) {
    const orderId = `${process.pid}-${Date.now()}-${Math.floor(Math.random() * 10)}`;
    await bus.transaction(async (tx) => {
      await tx.query('insert into submitted (id) values ($1) on conflict do nothing', [orderId]);
      await bus.publish(OrderSubmitted, { orderId }, { tx });
    });
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}
await new Promise(() => {});
