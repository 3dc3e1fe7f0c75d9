/** A queue that takes everything that the benchmark's bus publishes, and a relay that runs until all of it is sent. */
import { createBus, type Bus } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { busOf, Counted, payload, purge, silent } from './contract.ts';
import { type Measured, measured, type Servers } from './servers.ts';

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

/**
 * The same by a relay that runs already, is connected and holds the lease, from the commit that makes a backlog visible to
 * the last confirm: what starting costs is another benchmark's.
 */
export async function drainRunning(servers: Servers, count: number, from: number): Promise<Measured> {
  const bus = busOf(servers, 'bench');
  await bus.start();
  const warm = sent(bus, 500);
  await bus.publishAll(Array.from({ length: 500 }, (_, n) => Counted.of(payload(n))));
  await warm;
  await purge(servers, sinkQueue);
  const [written, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const filling = bus.transaction(async (tx) => {
    for (let n = 0; n < count; n += 100) {
      const size = Math.min(100, count - n);
      await bus.publishAll(Array.from({ length: size }, (_, i) => Counted.of(payload(from + n + i))), { tx });
    }
    written.resolve();
    await go.promise;
  });
  await Promise.race([written.promise, filling]);
  const result = await measured(servers, count, async () => {
    const done = sent(bus, count);
    go.resolve();
    await filling;
    await done;
  });
  await bus.stop({ drainMs: 0 });
  return result;
}
