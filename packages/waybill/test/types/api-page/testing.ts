/** API page, "Testing". */
import { defineCommand, defineEvent } from 'waybill';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { ProductPriceChanged } from './contracts.ts';

const BasketRepriced = defineEvent('basket.repriced', { schema: z.object({ userId: z.string() }) });
const ClearBasket = defineCommand('basket.clear', { schema: z.object({ userId: z.string() }) });
const data = { productId: 'p1', newPrice: 9.5, oldPrice: 12, revision: 2 };

await using bus = createTestBus({ service: 'basket' }); // SQLite in memory, virtual clock
const { id } = await bus.publish(ProductPriceChanged, data);
await bus.settled(); // no sleeps: nothing is in flight, nothing is due
bus.published(BasketRepriced)[0]?.userId.trim(); // typed data; sent(Command), failures()
bus.sent(ClearBasket)[0]?.userId.trim();
await bus.failures();
await bus.redeliver(id);
await bus.advance(60_000);
bus.crashAfter('outbox.commit');
bus.history().length.toFixed();
// @ts-expect-error crash points have names
bus.crashAfter('nowhere');

const transport = memory();
await using one = createTestBus({ service: 'one', transport });
await using two = createTestBus({ service: 'two', transport }); // they talk to each other on one clock
await using twice = createTestBus({ rerun: true });
console.log(one.service, two.service, twice.service);
