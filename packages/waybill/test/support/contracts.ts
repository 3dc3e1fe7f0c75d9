/** Contracts that the tests share. */
import { defineCommand, defineEvent } from 'waybill';
import * as z from 'zod';

/** Has neither key nor sequence. */
export const Noted = defineEvent('desk.noted', { schema: z.object({ text: z.string() }) });

export const Priced = defineEvent('catalog.priced', {
  schema: z.object({ id: z.string(), price: z.number(), revision: z.number().int() }),
  key: (event) => event.id,
  sequence: (event) => event.revision,
});

export const Renamed = defineEvent('catalog.renamed', {
  schema: z.object({ id: z.string(), name: z.string() }),
  key: (event) => event.id,
});

/** What handlers publish in turn. */
export const Seen = defineEvent('desk.seen', { schema: z.object({ what: z.string() }) });

export const CreateOrder = defineCommand('orders.create', {
  schema: z.object({ product: z.string(), amount: z.number().int().positive() }),
  reply: z.object({ orderId: z.string() }),
});

/** Has no reply. */
export const Ship = defineCommand('orders.ship', { schema: z.object({ orderId: z.string() }) });
