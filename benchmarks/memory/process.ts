/** A service that commits messages at a pace, and its relay. Tells how many have been committed and sent. */
import { getHeapSpaceStatistics } from 'node:v8';
import { createBus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { Counted, payload, silent } from '../rabbitmq/contract.ts';

export interface Told {
  readonly published: number;
  readonly sent: number;
  /** What its heap holds that is not young, and what lies beside the heap. */
  readonly heldBytes: number;
}

const tickMs = 10;

const [, , database, broker, perSecond] = process.argv as unknown as [string, string, string, string, string];
const perTick = (Number(perSecond) * tickMs) / 1_000;
const bus = createBus({ service: 'bench', store: postgres(database, { schema: 'bench' }), transport: rabbitmq(broker), logger: silent });
let [published, sent] = [0, 0];
let enough = false;
bus.on('sent', ({ type }) => type === Counted.type && sent++);
process.on('message', (word) => {
  if (word === 'enough') enough = true;
  else void bus.stop({ drainMs: 0 }).then(() => process.exit(0));
});
await bus.start();
const tell = (): void => {
  const held = getHeapSpaceStatistics().filter(({ space_name }) => !space_name.startsWith('new_'));
  const heldBytes = held.reduce((sum, { space_used_size }) => sum + space_used_size, process.memoryUsage().external);
  process.send!({ published, sent, heldBytes } satisfies Told);
};
setInterval(tell, 100);
for (let next = performance.now(); !enough; next += tickMs) {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
  await bus.publishAll(Array.from({ length: perTick }, (_, i) => Counted.of(payload(published + i))));
  published += perTick;
}
tell();
