import { createBus, defineCommand, defineEvent, type Handler } from 'waybill';
import * as z from 'zod';
import { same } from './equal.ts';

const Create = defineCommand('ordering.create-order', {
  schema: z.object({ lines: z.array(z.string()) }),
  reply: z.object({ orderId: z.string(), at: z.string().transform((text) => new Date(text)) }),
});
const Cancel = defineCommand('ordering.cancel', { schema: z.object({ id: z.string() }) });
const Plain = defineEvent('ordering.plain', { schema: z.object({ id: z.string() }) });

const bus = createBus({ service: 'ordering' });

// the handler's return is the reply, in its wire form
bus.handle(Create, async (command) => ({ orderId: command.lines.join(), at: '2026-01-01' }));
bus.handle(Create, { concurrency: 2, transaction: 'own' }, async (command, ctx) => {
  await ctx.tx.query('select 1');
  return { orderId: command.lines.join(), at: '' };
});
bus.handle(Cancel, async (command) => void command.id.trim());
bus.handle(Cancel, () => {});
const handler: Handler<typeof bus, typeof Create> = async (command) => ({ orderId: command.lines.join(), at: '' });
bus.handle(Create, handler);
// @ts-expect-error the reply misses a field
bus.handle(Create, async (command) => ({ orderId: command.lines.join() }));
// @ts-expect-error the reply is the schema's input: a string on the wire
bus.handle(Create, async () => ({ orderId: '', at: new Date() }));
// @ts-expect-error no reply at all
bus.handle(Create, async () => {});
// @ts-expect-error a command without reply returns nothing
bus.handle(Cancel, async (command) => ({ orderId: command.id }));
// @ts-expect-error an event is no command
bus.handle(Plain, async () => {});

export async function ask(signal: AbortSignal): Promise<void> {
  const reply = await bus.request(Create, { lines: [] }, { timeoutMs: 5_000, signal });
  same<typeof reply, { orderId: string; at: Date }>(true);
  const nothing = await bus.request(Cancel, { id: '1' }, { timeoutMs: 5_000 });
  same<typeof nothing, void>(true);
  // @ts-expect-error a request has an end: timeoutMs
  await bus.request(Create, { lines: [] }, {});
  // @ts-expect-error a request cannot wait inside a transaction, so it takes none
  await bus.request(Create, { lines: [] }, { timeoutMs: 1, tx: 'own' });
  // @ts-expect-error wrong data
  await bus.request(Create, { lines: [1] }, { timeoutMs: 1 });
  // @ts-expect-error an event is not asked
  await bus.request(Plain, { id: '1' }, { timeoutMs: 1 });

  const { id, token } = await bus.send(Create, { lines: [] }, { tx: 'own', id: 'r1', ttlMs: 1_000 });
  same<[typeof id, typeof token], [string, string]>(true);
  // @ts-expect-error an event cannot be sent
  await bus.send(Plain, { id: '1' });
  // @ts-expect-error a command cannot be published
  await bus.publish(Create, { lines: [] });
}
