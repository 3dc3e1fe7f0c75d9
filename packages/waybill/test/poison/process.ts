/**
 * A subscriber of the poison test, as a process of its own on SQLite files. What a message says is done: it works, throws,
 * hangs, aborts the process, or takes memory until there is none.
 */
import { createBus, defineEvent } from 'waybill';
import * as z from 'zod';

export const Asked = defineEvent('poison.asked', {
  schema: z.object({ key: z.string(), n: z.number(), does: z.enum(['works', 'throws', 'hangs', 'aborts', 'allocates']) }),
  key: (event) => event.key,
});

if (process.argv[2] !== undefined) {
  const dir = process.argv[2];
  const bus = createBus({ service: 'drinker', store: `sqlite:${dir}/drinker.db`, transport: `sqlite:${dir}`, handleSignals: true, logger: quiet() });
  await bus.transaction((tx) => tx.query('create table if not exists effect (at integer primary key, name text, key text, n integer)'));
  // The time-out is longer than anybody waits for the file: that wait counts as the handler's time.
  const retry = { immediate: 0, delayed: 2, delayMs: 50, delayMaxMs: 100 };
  for (const [name, transaction] of [['shared', 'shared'], ['own', 'own'], ['manual', 'manual']] as const) {
    bus.subscribe(Asked, { name, order: 'by-key', transaction: transaction as 'shared', timeoutMs: 8_000, retry, from: 'beginning' }, async (event, ctx: any) => {
      const drink = async (tx: typeof ctx.tx): Promise<void> => {
        await tx.query('insert into effect (name, key, n) values ($1, $2, $3)', [name, event.key, event.n]);
        await act(event.does, ctx.signal);
      };
      await (transaction === 'manual' ? ctx.transaction(drink) : drink(ctx.tx));
    });
  }
  await bus.start();
  process.send?.('up');
}

async function act(does: string, signal: AbortSignal): Promise<void> {
  if (does === 'throws') throw new Error('it cannot be done');
  if (does === 'hangs') await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
  if (does === 'aborts') process.abort();
  if (does === 'allocates') for (const kept: unknown[] = []; ; ) kept.push(Array.from({ length: 1_000_000 }, () => kept.length));
}

function quiet(): { debug(): void; info(): void; warn(): void; error(): void } {
  return { debug() {}, info() {}, warn() {}, error() {} };
}
