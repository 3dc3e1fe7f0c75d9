/** Two services on a stand-in, with stores in SQLite: what was published, and what of it took effect. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { createBus, type Bus, type SqlTransaction } from 'waybill';
import { azureServiceBus } from 'waybill/transports/azure-service-bus';
import { Priced } from '../support/contracts.ts';
import type { StandIn } from './stand-in/index.ts';

export const quiet = { debug() {}, info() {}, warn() {}, error() {} };
/** Only waited for when something is wrong, or when the SDK stands still: a cut in the wrong moment costs it up to a minute. */
const patienceMs = 100_000;

/** A bus whose SDK gives up on a lost answer after `timeoutMs`. Stopped after the test. */
export function busOn(t: TestContext, standIn: Pick<StandIn, 'url'>, { service, store = 'sqlite::memory:', timeoutMs = 500 }: { service: string; store?: string; timeoutMs?: number }): Bus<SqlTransaction> {
  const bus = createBus({ service, store, transport: azureServiceBus(standIn.url, { lockMs: 5_000, timeoutMs }), logger: quiet });
  t.after(() => bus.stop({ drainMs: 0 }));
  return bus as Bus<SqlTransaction>;
}

export interface Effect {
  readonly subscription: string;
  readonly key: string;
  readonly revision: number;
}

/** By key: sessions. Any: competing links. */
export type Order = 'by-key' | 'any';
export const bothOrders: readonly Order[] = ['by-key', 'any'];

/** A basket that writes down each effect in the transaction of its inbox row: a subscription for each order. */
export async function basketOn(bus: Bus<SqlTransaction>, orders: readonly Order[] = bothOrders): Promise<{ effects(): Promise<Effect[]>; settled(count: number): Promise<void> }> {
  let applied = 0;
  let wake = (): void => {};
  await bus.transaction((tx) => tx.query('create table if not exists effect (at integer primary key, subscription text, key text, revision integer)'));
  for (const order of orders) {
    bus.subscribe(Priced, { name: order, order }, async ({ id, revision }, ctx) => {
      await ctx.tx.query('insert into effect (subscription, key, revision) values ($1, $2, $3)', [order, id, revision]);
    });
  }
  bus.on('applied', () => {
    applied++;
    wake();
  });
  await bus.start();
  return {
    async effects() {
      const { rows } = await bus.transaction((tx) => tx.query('select subscription, key, revision from effect order by at'));
      return rows as unknown as Effect[];
    },
    async settled(count) {
      const untilMs = Date.now() + patienceMs;
      while (applied < count) {
        assert.ok(Date.now() < untilMs, `${applied} of ${count} were applied`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 1_000);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
  };
}

/** Prices of several keys, each with rising revisions: a transaction for each revision, a few on their way at a time. */
export async function publishPrices(bus: Bus<SqlTransaction>, { keys, revisions }: { keys: number; revisions: number }): Promise<void> {
  let sent = 0;
  let next = (): void => {};
  bus.on('sent', () => {
    sent++;
    next();
  });
  for (let revision = 1; revision <= revisions; revision++) {
    while (sent < (revision - 2) * keys) await new Promise<void>((resolve) => (next = resolve));
    await bus.transaction(async (tx) => {
      await bus.publishAll(Array.from({ length: keys }, (_, key) => Priced.of({ id: `p${key}`, price: revision, revision })), { tx });
    });
  }
}

/** Each of them once in each subscription, and by key in order. */
export function check(effects: readonly Effect[], { keys, revisions }: { keys: number; revisions: number }, orders: readonly Order[] = bothOrders): void {
  for (const order of orders) {
    const of = effects.filter(({ subscription }) => subscription === order);
    const names = of.map(({ key, revision }) => `${key} ${revision}`);
    const expected = Array.from({ length: keys * revisions }, (_, n) => `p${n % keys} ${Math.floor(n / keys) + 1}`);
    assert.deepEqual(names.toSorted(), expected.toSorted(), `${order}: each once`);
    if (order !== 'by-key') continue;
    const last = new Map<string, number>();
    for (const { key, revision } of of) {
      assert.equal(revision, (last.get(key) ?? 0) + 1, `${key} in order`);
      last.set(key, revision);
    }
  }
}
