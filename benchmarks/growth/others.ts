/** So many services that are there, listen, and have nothing to say. */
import { join } from 'node:path';
import { createBus } from 'waybill';
import { silent } from '../rabbitmq/contract.ts';
import { flowEvent } from './flow.ts';

const [, , dir, count] = process.argv as unknown as [string, string, string, string];
for (let n = 0; n < Number(count); n++) {
  const service = `other-${n}`;
  const bus = createBus({ service, store: `sqlite:${join(dir, `${service}.db`)}`, transport: `sqlite:${dir}`, logger: silent });
  bus.subscribe(flowEvent(10_000 + n), { name: 'all' }, () => {});
  await bus.start();
}
process.send!('ready');
