/** API page, "Operations in code". */
import { createBus } from 'waybill';
import { operations } from 'waybill/operations';

await using bus = createBus({ service: 'basket' });
const { failures, waiting, outbox } = operations(bus);
console.log(await failures.list(), await failures.groups(), await waiting.list(), await outbox.list());
