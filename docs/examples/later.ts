import { createBus, defineEvent } from 'waybill';
import { operations } from 'waybill/operations';
import * as z from 'zod';

const Reminder = defineEvent('desk.reminder', { schema: z.object({ text: z.string() }) });
const Heartbeat = defineEvent('desk.heartbeat', { schema: z.object({}) });

await using desk = createBus({ service: 'desk' });
const reminded = Promise.withResolvers<void>();
desk.subscribe(Reminder, ({ text }) => {
  console.log(text);
  reminded.resolve();
});
let beats = 0;
const beaten = Promise.withResolvers<void>();
desk.subscribe(Heartbeat, () => {
  if (++beats === 2) beaten.resolve();
});
await desk.start();

const { id } = await desk.publish(Reminder, { text: 'never' }, { deliverAt: new Date(Date.now() + 3_600_000) });
console.log('taken back:', await desk.cancel(id)); // false once it has left
await desk.publish(Reminder, { text: 'water the plants' }, { delayMs: 200 });

const { cancel } = await desk.schedule('heartbeat', { everyMs: 100 }, Heartbeat.of({}));
await Promise.all([reminded.promise, beaten.promise]);
await cancel();

for (const { id: waits, reason, due } of await operations(desk).waiting.list()) console.log(waits, reason, due);
