/** A queue that takes everything that the benchmark's bus publishes, and a relay that runs until all of it is sent. */
import { createBus, type Bus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { busOf, Counted, silent } from './contract.ts';
import type { Servers } from './servers.ts';

export const sinkQueue = 'waybill.sink.all';

/** Nobody reads it. */
export async function bindSink(servers: Servers): Promise<void> {
  const bus = createBus({ service: 'sink', store: postgres(servers.postgres, { schema: 'sink' }), transport: rabbitmq(servers.amqp), logger: silent });
  bus.subscribe(Counted, { name: 'all' }, () => {});
  await bus.start();
  await bus.stop();
}

/** Resolves when `bus` has sent so many more. */
export function sent(bus: Bus<any>, count: number): Promise<void> {
  let n = 0;
  return new Promise((resolve) => bus.on('sent', ({ type }) => type === Counted.type && ++n === count && resolve()));
}

export async function drain(servers: Servers, count: number, service = 'bench'): Promise<void> {
  const bus = busOf(servers, service);
  const done = sent(bus, count);
  await bus.start();
  await done;
  await bus.stop({ drainMs: 0 });
}
