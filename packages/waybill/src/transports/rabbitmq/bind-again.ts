import { WaybillError } from '../../contract/errors.ts';
import type { Declaration, TransportHost } from '../../contract/transport.ts';
import type { QueueConsumer } from './consumer.ts';
import type { Instance } from './instance.ts';
import type { Publisher } from './publisher.ts';
import type { Topology } from './topology.ts';

/**
 * The exchange was deleted, and all bindings with it. What was published until now may have reached nobody: the subscriptions say that
 * they were cut off, from the moment up to which they had taken everything, and get what comes from now on. Never rejects.
 */
export async function bindAgain({ host, exchange, topology, instance, publisher, working, declared, declare }: BindAgainOptions): Promise<void> {
  const what = `RabbitMQ's exchange ${exchange} was deleted, and with it what binds the queues: what was published since then went nowhere`;
  const error = new WaybillError('TRANSPORT_UNREACHABLE', `${what}. All is bound again, and what publishers' ledgers hold is compared with what came: see the signal lost`);
  publisher.hold();
  for (const consumer of working) consumer.missed(error);
  await host.clock.turn(); // who asks has heard it
  try {
    await topology.with((channel) => topology.exchange(channel));
    await instance.rebind();
    for (const { name } of working) {
      const declaration = declared.get(name);
      if (declaration) await declare(declaration);
    }
    if (host.migrate === 'check') throw new WaybillError('TOPOLOGY_MISSING', `${what}. With migrate: 'check' none is bound again: run waybill topology apply for each service`);
    host.logger.warn({ exchange }, 'the exchange was gone from RabbitMQ, and with it what binds the queues: all is bound again');
  } catch (failed) {
    host.signals.emit('trouble', { where: `binding to the exchange ${exchange} again`, error: failed });
  }
}

export interface BindAgainOptions {
  readonly host: TransportHost;
  readonly exchange: string;
  readonly topology: Topology;
  readonly instance: Instance;
  readonly publisher: Publisher;
  /** What is consumed: what another instance removed is not made anew. */
  readonly working: readonly QueueConsumer[];
  readonly declared: ReadonlyMap<string, Declaration>;
  readonly declare: (declaration: Declaration) => Promise<void>;
}
