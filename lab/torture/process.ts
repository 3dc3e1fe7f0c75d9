/**
 * One process under torture, written from the public API alone; its role comes as JSON in argv, its history leaves by
 * standard output. A publisher raises counters and publishes their new values in the same transaction, sometimes undone,
 * submits orders, and sends reminders for later, half of which it takes back. The shop writes one effect row per message, the saga and its works see to the orders.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createBus, Reject, WaybillError } from 'waybill';
import { operations } from 'waybill/operations';
import { AuthorizePayment, Counted, OrderSubmitted, ReleaseStock, Reminded, ReserveStock, StockConfirmed, StockRejected, VoidPayment } from './contracts.ts';
import { createRecorder, monotonicMs } from './history.ts';
import { orderProcess } from './order-process.ts';
import { delayMaxMs, fateOf, keys, poisonOf, poisonRetry, reminders, type Role, type SubscriptionName, subscriptions } from './role.ts';
import { tablesOf } from './tables.ts';

const role = JSON.parse(process.argv[2]!) as Role;
const record = createRecorder(role.by);
const chance = (share: number): boolean => Math.random() < share;
const onPostgres = role.store.startsWith('postgres');
const mishap = (): void => {
  if (chance(role.selfKill)) process.kill(process.pid, 'SIGKILL');
  if (chance(role.throws)) throw new Error('now and then');
};
process.on('disconnect', () => process.exit()); // whoever looks after it has gone

const bus = createBus({
  service: role.service,
  store: role.store,
  transport: role.transport,
  relay: role.relay,
  requireTransaction: false,
  logger: { debug() {}, info() {}, warn() {}, error: (details, text) => record({ what: 'trouble', text: `${text} ${JSON.stringify(details)}`.slice(0, 400) }) },
});
bus.on('applied', ({ id, subscription, attempt }) => record({ what: 'applied', id, sub: subscription, attempt }));
bus.on('duplicate', ({ id, subscription }) => record({ what: 'duplicate', id, sub: subscription }));
bus.on('retrying', ({ id, subscription, attempt, error }) => record({ what: 'retrying', id, sub: subscription, attempt, text: String(error).slice(0, 120) }));
bus.on('lost', ({ subscription, count, firstId }) => record({ what: 'lost', sub: subscription, n: count, id: firstId }));
bus.on('failed', ({ id, subscription, attempts, error }) => record({ what: 'failed', id, sub: subscription, attempt: attempts, text: String(error).slice(0, 120) }));

/** The store or the broker may be away just now. */
async function insist<R>(work: () => Promise<R>): Promise<R> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!WaybillError.is(error) || !['STORE_UNREACHABLE', 'STORE_BUSY', 'TRANSPORT_UNREACHABLE', 'STORE_FULL', 'COMMIT_UNKNOWN'].includes(error.code)) throw error;
      record({ what: 'trouble', text: `starting: ${error.code} ${error.message}`.slice(0, 200) });
      await sleep(200);
    }
  }
}

/** On PostgreSQL they are made beforehand: two that make one at once get in each other's way. */
if (!onPostgres) {
  for (const sql of tablesOf(role.service, 'sqlite')) await insist(() => bus.transaction(async (tx) => void (await tx.query(sql))));
}

function shop(): void {
  const usual = { immediate: 1, delayed: 60, delayMs: 20, delayMaxMs: 300 };
  const from = role.transport.startsWith('sqlite') ? 'beginning' : 'now';
  const insert = 'insert into effect (subscription, id, source, key, n) values ($1, $2, $3, $4, $5)';
  for (const name of Object.keys(subscriptions) as SubscriptionName[]) {
    const options = { ...subscriptions[name], name, from, retry: name === 'poison' ? poisonRetry : usual } as const;
    if (name === 'manual') {
      bus.subscribe(Counted, { ...options, transaction: 'manual' }, async ({ key, n }, { message, attempt, transaction }) => {
        record({ what: 'run', id: message.id, sub: `shop.${name}`, attempt });
        mishap();
        await transaction(async (tx) => void (await tx.query(insert, [name, message.id, message.source, key, n])));
      });
      continue;
    }
    const { transaction = 'shared' as const, ...rest } = options as typeof options & { transaction?: 'own' };
    bus.subscribe(Counted, { ...rest, transaction }, async ({ key, n }, { message, attempt, tx }) => {
      record({ what: 'run', id: message.id, sub: `shop.${name}`, attempt });
      const poison = name === 'poison' ? poisonOf(n) : undefined;
      if (poison === 'refused') throw new Reject('not to be had', { code: 'POISON' });
      await tx.query(insert, [name, message.id, message.source, key, n]);
      if (poison === 'throws') throw new Error('never');
      if (name === 'poison') return void (chance(role.selfKill) && process.kill(process.pid, 'SIGKILL')); // few attempts: it does not throw by accident
      mishap();
    });
  }
  bus.subscribe(Reminded, { name: reminders, from, retry: usual }, async ({ key, n }, { message, attempt, tx }) => {
    record({ what: 'run', id: message.id, sub: `shop.${reminders}`, attempt });
    await tx.query(insert, [reminders, message.id, message.source, key, n]);
    mishap();
  });
}

/** One row per order: how often it was done and undone. What was undone first is never done. */
function works(): void {
  const retry = { immediate: 1, delayed: 60, delayMs: 20, delayMaxMs: 300 };
  const done = (what: string): string => `insert into work (what, id, done, undone) values ('${what}', $1, 1, 0)
    on conflict (what, id) do update set done = work.done + 1 where work.undone = 0`;
  const undone = (what: string): string => `insert into work (what, id, done, undone) values ('${what}', $1, 0, 1)
    on conflict (what, id) do update set undone = work.undone + 1`;
  bus.handle(ReserveStock, { retry }, async ({ orderId }, ctx) => {
    const { rowCount } = await ctx.tx.query(done('stock'), [orderId]);
    mishap();
    if (rowCount === 0 || fateOf(orderId) === 0) return; // released already; or nobody hears of it
    await ctx.publish(fateOf(orderId) === 1 ? StockRejected : StockConfirmed, { orderId });
  });
  bus.handle(ReleaseStock, { retry }, async ({ orderId }, ctx) => void (await ctx.tx.query(undone('stock'), [orderId])));
  bus.handle(AuthorizePayment, { retry }, async ({ orderId }, ctx) => {
    if (fateOf(orderId) === 2) throw new Reject('broke', { code: 'BROKE' });
    if (fateOf(orderId) === 3) return { approved: false };
    const { rowCount } = await ctx.tx.query(done('payment'), [orderId]);
    mishap();
    return { approved: rowCount !== 0 };
  });
  bus.handle(VoidPayment, { retry }, async ({ orderId }, ctx) => void (await ctx.tx.query(undone('payment'), [orderId])));
}

class Undo extends Error {}

async function publishOnce(): Promise<void> {
  let ids: string[] = [];
  let later: string[] = [];
  const tried = (id: string, key: string, more: { n?: number; dueMs?: number } = {}): void => {
    ids.push(id);
    record({ what: 'tried', id, key, ...more });
  };
  const chosen = Array.from({ length: 1 + Math.floor(Math.random() * 4) }, () => `k${Math.floor(Math.random() * keys)}`);
  const mine = chance(0.8) ? [...new Set(chosen)].sort() : [...new Set(chosen)]; // unsorted: two may wait for each other
  try {
    await bus.transaction(async (tx) => {
      if (ids.length > 0) record({ what: 'undone', ids }); // the block runs again
      ids = [];
      later = [];
      if (onPostgres && chance(0.2)) await tx.query('select pg_current_xact_id()'); // early, long before its first row
      for (const key of mine) {
        const { rows } = await tx.query<{ n: number }>('insert into counter (key, n) values ($1, 1) on conflict (key) do update set n = counter.n + 1 returning n', [key]);
        if (chance(role.selfKill)) process.kill(process.pid, 'SIGKILL');
        const { n } = rows[0]!;
        tried((await bus.publish(Counted, { key, n }, { tx })).id, key, { n });
        if (onPostgres && chance(0.05)) await sleep(20);
      }
      if (chance(0.25)) {
        const orderId = `${process.pid}-${Date.now()}-${Math.floor(Math.random() * 10)}`;
        await tx.query('insert into submitted (id) values ($1)', [orderId]);
        tried((await bus.publish(OrderSubmitted, { orderId }, { tx })).id, orderId);
      }
      if (chance(0.2)) {
        const [key, n, delayMs] = [`r${Math.floor(Math.random() * keys)}`, Math.floor(Math.random() * 1_000), 50 + Math.random() * (delayMaxMs - 50)];
        const dueMs = monotonicMs() + delayMs;
        const { id } = await bus.publish(Reminded, { key, n }, { tx, delayMs });
        tried(id, key, { n, dueMs });
        later.push(id);
      }
      if (chance(0.08)) throw new Undo();
    });
    record({ what: 'committed', ids });
    for (const id of later) if (chance(0.5)) void takeBack(id);
  } catch (error) {
    if (ids.length > 0) record({ what: WaybillError.is(error, 'COMMIT_UNKNOWN') ? 'unknown' : 'undone', ids, text: String(error).slice(0, 120) });
    if (!(error instanceof Undo)) await sleep(100);
  }
}

/** At some time before it is due or a little after; sometimes in a transaction that is undone. */
async function takeBack(id: string): Promise<void> {
  await sleep(Math.random() * delayMaxMs);
  const inTransaction = chance(0.5);
  record({ what: 'taking back', id });
  try {
    const taken = inTransaction
      ? await bus.transaction(async (tx) => {
          const found = await bus.cancel(id, { tx });
          if (chance(0.5)) throw new Undo();
          return found;
        })
      : await bus.cancel(id);
    record({ what: taken ? 'taken back' : 'not taken back', id });
  } catch (error) {
    if (error instanceof Undo) record({ what: 'not taken back', id });
    // else nobody knows
  }
}

if (role.service === 'shop') shop();
if (role.service === 'works') works();
if (role.service === 'ordering') bus.run(orderProcess(mishap), { retry: { immediate: 1, delayed: 60, delayMs: 20, delayMaxMs: 300 } });
await insist(() => bus.start());
record({ what: 'working' });
process.send?.('working');

process.on('message', () => {
  void audit()
    .catch((error: unknown) => record({ what: 'trouble', text: `auditing: ${String(error).slice(0, 200)}` }))
    .finally(() => record({ what: 'audited' })); // that is all
});

/** Of each subscription, over all sources. */
async function audit(): Promise<void> {
  const found = new Map<string, number>();
  for (const { subscription, lost } of await operations(bus).audit()) found.set(subscription, (found.get(subscription) ?? 0) + lost);
  for (const [sub, n] of found) record({ what: 'audited', sub, n });
}

let publishing = role.publishes;
process.on('SIGTERM', () => {
  publishing = false;
  record({ what: 'stopping' });
  void bus.stop().then(() => {
    record({ what: 'stopped' });
    process.exit(0);
  });
});
while (publishing) {
  await publishOnce();
  await sleep(role.pauseMs * 2 * Math.random());
}
