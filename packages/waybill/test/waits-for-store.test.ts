/** A handler's time is its own: what another one holds the file for is not charged to it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createBus, type HandlerContext } from 'waybill';
import { Noted } from './support/contracts.ts';

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
/** So much that a process which gets no processor for a while is not taken for a handler that hangs. */
const limitMs = 2_000;

for (const store of ['sqlite::memory:', 'memory:']) {
  describe(`a handler that waits for its transaction, ${store}`, { concurrency: true }, () => {
    for (const transaction of ['own', 'manual'] as const) {
      it(`(${transaction}) is not charged for what another holds`, async (t) => {
        const bus = createBus({ service: 'desk', store, transport: 'memory:', logger: quiet });
        t.after(() => bus.stop());
        const holds = Promise.withResolvers<void>();
        const waits = Promise.withResolvers<void>();
        const applied = new Map<string, number>();
        const both = Promise.withResolvers<void>();
        bus.on('applied', ({ subscription, attempt }) => applied.set(subscription, attempt) && applied.size === 2 && both.resolve());
        bus.on('failed', ({ error }) => both.reject(error));
        bus.subscribe(Noted, { name: 'holder', transaction: 'own' }, async (_event, ctx) => {
          await ctx.publish(Noted, { text: 'held' }, { ttlMs: 1 });
          holds.resolve();
          await waits.promise;
          await sleep(1.5 * limitMs); // longer than the other may take
        });
        const write = { transaction, timeoutMs: limitMs, retry: false } as const;
        const wait = async (text: string): Promise<boolean> => {
          if (text === 'held') return false;
          await holds.promise;
          waits.resolve();
          return true;
        };
        if (write.transaction === 'own') {
          bus.subscribe(Noted, { ...write, transaction: 'own', name: 'waiter' }, async ({ text }, ctx) => {
            if (await wait(text)) await ctx.publish(Noted, { text: 'held' }, { ttlMs: 1 });
          });
        } else {
          bus.subscribe(Noted, { ...write, transaction: 'manual', name: 'waiter' }, async ({ text }, ctx) => {
            if (await wait(text)) await ctx.transaction(() => sleep(limitMs / 100));
          });
        }
        await bus.start();
        await bus.publish(Noted, { text: 'go' }, { tx: 'own' });
        await both.promise;
        assert.deepEqual([...applied], [['desk.holder', 1], ['desk.waiter', 1]]);
      });

      it(`(${transaction}) is abandoned when it hangs in its transaction, or before it`, async (t) => {
        const bus = createBus({ service: 'desk', store, transport: 'memory:', logger: quiet });
        t.after(() => bus.stop({ drainMs: 0 }));
        const failed = new Map<string, string>();
        const all = Promise.withResolvers<void>();
        bus.on('failed', ({ subscription, error }) => failed.set(subscription!, (error as { code: string }).code) && failed.size === 2 && all.resolve());
        const hang = (): Promise<void> => new Promise(() => {});
        const how = { timeoutMs: limitMs, retry: false } as const;
        const begin = (ctx: HandlerContext): Promise<unknown> => ctx.publish(Noted, { text: 'late' }, { ttlMs: 1 });
        if (transaction === 'own') {
          bus.subscribe(Noted, { ...how, transaction: 'own', name: 'inside' }, async (_event, ctx) => {
            await begin(ctx);
            await hang();
          });
          bus.subscribe(Noted, { ...how, transaction: 'own', name: 'before' }, hang);
        } else {
          bus.subscribe(Noted, { ...how, transaction: 'manual', name: 'inside' }, (_event, ctx) => ctx.transaction(hang));
          bus.subscribe(Noted, { ...how, transaction: 'manual', name: 'before' }, hang);
        }
        await bus.start();
        await bus.publish(Noted, { text: 'go' }, { tx: 'own' });
        await all.promise;
        assert.deepEqual(Object.fromEntries(failed), { 'desk.inside': 'HANDLER_TIMEOUT', 'desk.before': 'HANDLER_TIMEOUT' });
      });
    }
  });
}
