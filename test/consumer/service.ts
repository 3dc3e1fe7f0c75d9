/** A service of a user, compiled against the packed declarations by each TypeScript that is supported. */
import { createBus, WaybillError, type Bus, type EventOf, type Handler, type InputOf, type ReplyOf, type SqlTransaction } from 'waybill';
import { CreateOrder, PriceChanged } from './contracts.js';

const bus = createBus({ service: 'basket' });

const onPrice: Handler<typeof bus, typeof PriceChanged> = async (event, ctx) => {
  await ctx.tx.query<{ id: string }>('update basket_line set price = $1, at = $2', [event.price, event.at.toISOString()]);
};
bus.subscribe(PriceChanged, { order: 'by-key' }, onPrice);
bus.handle(CreateOrder, async (command, ctx) => ({ orderId: `${command.lines.length}-${ctx.message.id}` }));

export async function change(anyBus: Bus, data: InputOf<typeof PriceChanged>): Promise<string> {
  const { token } = await anyBus.publish(PriceChanged, data);
  return token;
}

export async function order(lines: string[], signal: AbortSignal): Promise<ReplyOf<typeof CreateOrder>> {
  try {
    return await bus.request(CreateOrder, { lines }, { timeoutMs: 5_000, signal });
  } catch (error) {
    if (WaybillError.is(error, 'REPLY_TIMEOUT')) return { orderId: '' };
    throw error;
  }
}

export async function inOne(event: EventOf<typeof PriceChanged>): Promise<void> {
  await using other = createBus({ service: 'other' });
  await other.transaction(async (tx: SqlTransaction) => {
    await tx.query('select 1');
    await other.publish(PriceChanged, { id: event.id, price: event.price, at: event.at.toISOString() }, { tx });
  });
}
