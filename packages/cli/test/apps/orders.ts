/** A service's bus as its own module exports it, in each way that the command line takes. */
import { createBus, defineCommand, defineEvent } from 'waybill';
import * as z from 'zod';

const Priced = defineEvent('catalog.priced', { schema: z.object({ id: z.string() }), key: (event) => event.id });
const Ship = defineCommand('orders.ship', { schema: z.object({ id: z.string() }) });

/** A new one each time that it is asked for. */
export function make() {
  const made = createBus({ service: 'orders', store: process.env['WAYBILL_STORE'] ?? 'sqlite::memory:' });
  made.subscribe(Priced, { name: 'prices', order: 'by-key' }, async () => {});
  made.handle(Ship, async () => {});
  return made;
}

export const bus = make();
export const madeLater = async () => make();
export const nothing = { subscribe: 1 };
export const fails = () => {
  throw new Error('no connection to postgres://app:hunter2@db/orders, nor with Endpoint=sb://x;SharedAccessKey=hunter2=;More=1');
};
