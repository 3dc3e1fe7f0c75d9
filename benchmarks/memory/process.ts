/** A service that commits messages at a pace, and its relay. Tells how many have been committed and sent. */
import { constants, PerformanceObserver } from 'node:perf_hooks';
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
  /** The same right after the last full collection: the rest is what V8 has not collected yet. */
  readonly aliveBytes: number;
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
const held = (): number => {
  const old = getHeapSpaceStatistics().filter(({ space_name }) => !space_name.startsWith('new_'));
  return old.reduce((sum, { space_used_size }) => sum + space_used_size, process.memoryUsage().external);
};
let aliveBytes = 0;
new PerformanceObserver((list) => {
  if (list.getEntries().some((entry) => (entry as unknown as { detail: { kind: number } }).detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR)) aliveBytes = held();
}).observe({ entryTypes: ['gc'] });
const tell = (): void => void process.send!({ published, sent, heldBytes: held(), aliveBytes } satisfies Told);
setInterval(tell, 100);
for (let next = performance.now(); !enough; next += tickMs) {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
  await bus.publishAll(Array.from({ length: perTick }, (_, i) => Counted.of(payload(published + i))));
  published += perTick;
}
tell();
