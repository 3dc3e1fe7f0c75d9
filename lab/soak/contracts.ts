import { defineCommand, defineEvent } from 'waybill';
import * as z from 'zod';

/** An account was moved by `amount`, and so came to `version`. */
export const Moved = defineEvent('bank.moved', {
  schema: z.object({ account: z.string(), version: z.number().int(), amount: z.number().int() }),
  key: (event) => event.account,
  sequence: (event) => event.version,
});

export const Note = defineCommand('books.note', { schema: z.object({ account: z.string(), version: z.number().int() }) });
