/** API page, "Operations in code": what of it is there. */
import { createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { same } from '../equal.ts';

await using bus = createBus({ service: 'basket' });
const { failures, waiting, outbox, subscriptions, status } = operations(bus);

const [group] = await failures.groups();
if (group) await failures.retry({ group: group.group });
const [failure] = await failures.list({ type: 'catalog.product-price-changed.v1', limit: 10 });
if (failure) await failures.delete({ rows: [failure.row] });

const [later] = await waiting.list();
if (later) same<boolean, Awaited<ReturnType<typeof waiting.run>>>(true);
if (later && !(await waiting.run(later.row))) await waiting.cancel(later.row);

const [sent] = await outbox.list({ state: 'published' });
console.log(sent?.id, (await subscriptions.list())[0]?.name, (await status()).failed);
const [checked] = await operations(bus).audit({ from: new Date(0), subscription: 'prices' });
if (checked?.lost) await (await operations(bus).subscriptions.replay('prices', { from: checked.oldestGap!.time })).done;
same<number, Awaited<ReturnType<typeof outbox.republish>>>(true);
console.log((await operations(bus).topology()).takes.length);
// @ts-expect-error a state is ready, published or failed
await outbox.list({ state: 'lost' });
