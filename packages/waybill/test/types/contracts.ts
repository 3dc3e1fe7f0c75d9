import { type } from 'arktype';
import * as v from 'valibot';
import { defineCommand, defineEvent, type EventContract, type EventOf, type InputOf, type ReplyOf } from 'waybill';
import * as z from 'zod';
import { same } from './equal.ts';

// zod: input and output of transforms and defaults, asynchronous schemas
const Moved = defineEvent('shop.moved', {
  schema: z.object({ at: z.iso.datetime().transform((text) => new Date(text)), currency: z.string().default('EUR') }),
  key: (event) => event.currency,
});
same<EventOf<typeof Moved>, { at: Date; currency: string }>(true);
same<InputOf<typeof Moved>, { at: string; currency?: string | undefined }>(true);
const Async = defineEvent('shop.async', { schema: z.object({ id: z.string().refine(async () => true) }) });
same<EventOf<typeof Async>, { id: string }>(true);

// valibot
const Counted = defineEvent('shop.counted', {
  schema: v.object({ id: v.string(), n: v.pipe(v.string(), v.transform(Number)) }),
  key: (event) => event.n.toFixed(),
});
same<EventOf<typeof Counted>, { id: string; n: number }>(true);
same<InputOf<typeof Counted>, { id: string; n: string }>(true);
const Checked = defineEvent('shop.checked', { schema: v.pipeAsync(v.object({ id: v.string() }), v.checkAsync(async () => true)) });
same<EventOf<typeof Checked>, { id: string }>(true);

// arktype
const Weighed = defineEvent('shop.weighed', { schema: type({ id: 'string', n: 'string.numeric.parse' }), key: (event) => event.id });
same<EventOf<typeof Weighed>, { id: string; n: number }>(true);
same<InputOf<typeof Weighed>, { id: string; n: string }>(true);

// what a contract remembers about itself
const Price = defineEvent('catalog.price', {
  version: 1,
  description: 'The price changed.',
  schema: z.object({ id: z.string(), revision: z.number() }),
  key: (event) => event.id,
  sequence: (event) => event.revision,
});
const price: EventContract<'catalog.price', { id: string; revision: number }, { id: string; revision: number }, 'key' | 'sequence'> = Price;
same<(typeof price)['name'], 'catalog.price'>(true);
const byBigint = defineEvent('catalog.big', { schema: z.object({ id: z.string() }), key: (event) => event.id, sequence: () => 1n });
const withBigint: EventContract<string, { id: string }, { id: string }, 'key' | 'sequence'> = byBigint;
const Plain = defineEvent('shop.plain', { schema: z.object({ id: z.string() }) });
const unmarked: EventContract<string, { id: string }, { id: string }, never> = Plain;
// @ts-expect-error a contract with a key is not one without marks
const marked: EventContract<string, { id: string }, { id: string }, never> = byBigint;

// @ts-expect-error a key is a string
defineEvent('shop.number-key', { schema: z.object({ n: z.number() }), key: (event) => event.n });
// @ts-expect-error a key may not be missing
defineEvent('shop.optional-key', { schema: z.object({ n: z.string().optional() }), key: (event) => event.n });
// @ts-expect-error key is given the schema's output, which has no such field
defineEvent('shop.unknown-key', { schema: z.object({ n: z.string() }), key: (event) => event.m });
// @ts-expect-error a sequence is a number or a bigint
defineEvent('shop.text-sequence', { schema: z.object({ n: z.string() }), sequence: (event) => event.n });
// @ts-expect-error without a schema there is no contract
defineEvent('shop.no-schema', { key: () => '' });

// commands
const Create = defineCommand('ordering.create-order', {
  schema: z.object({ lines: z.array(z.string()) }),
  reply: z.object({ orderId: z.string(), at: z.string().transform((text) => new Date(text)) }),
  to: 'ordering',
});
same<ReplyOf<typeof Create>, { orderId: string; at: Date }>(true);
same<EventOf<typeof Create>, { lines: string[] }>(true);
same<InputOf<typeof Create>, { lines: string[] }>(true);
const Cancel = defineCommand('ordering.cancel', { schema: z.object({ id: z.string() }) });
same<ReplyOf<typeof Cancel>, void>(true);

// drafts
Price.of({ id: 'p1', revision: 1 }, { delayMs: 10 });
// @ts-expect-error a field is missing
Price.of({ id: 'p1' });
// @ts-expect-error key and sequence belong to the contract, never to a call
Price.of({ id: 'p1', revision: 1 }, { key: 'p1' });
