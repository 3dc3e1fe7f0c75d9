import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/contract/clock.ts';
import { memory } from '../../src/stores/memory/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { Peer, TransportDriver } from '../../src/testing/conformance/transport/world.ts';
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts';
import type { Session } from '../../src/transports/rabbitmq/session.ts';
import type { FaultProxy } from '../support/fault-proxy.ts';
import type { RabbitServer } from '../support/rabbitmq-server.ts';

/** In rabbitmq.conf: smaller than what `refused` makes. */
export const messageBytesMax = 2_000_000;

let worlds = 0;

/** The RabbitMQ transport on a node behind a proxy. Worlds keep apart by the system's name. */
export function overRabbitmq(server: Pick<RabbitServer, 'ctl'>, proxy: FaultProxy, queues: 'quorum' | 'classic', patienceMs = 15_000): TransportDriver {
  return {
    name: `rabbitmq, ${queues} queues`,
    lacks: {
      history: 'a queue holds what was sent since it was made',
      commit: 'messages are handed to the broker by the relay',
      ...(queues === 'classic' && { counts: 'classic queues do not count deliveries' }),
    },
    async open() {
      const clock = systemClock();
      const system = `w${process.pid}-${worlds++}`;
      const stores = new Map<string, ReturnType<typeof memory>>();
      const peers = new Set<Peer>();
      const transport = rabbitmq(`amqp://guest:guest@127.0.0.1:${proxy.port}/`, { system, queues, settleMs: 0 });
      return {
        clock,
        patienceMs,
        quietMs: 250,
        async start(service) {
          if (!stores.has(service)) stores.set(service, memory());
          const host = recordingHost(service, clock);
          const store = await stores.get(service)!.open(host);
          const session = await transport.connect({ ...host, store });
          const peer: Peer = {
            service,
            store,
            session,
            async stop() {
              peers.delete(peer);
              await session.close();
              await store.close();
            },
          };
          peers.add(peer);
          return peer;
        },
        topology: {
          entities: (service, declarations) => transport.topology!.entities(service, declarations),
          look: (service, entities) => transport.topology!.look(entities, recordingHost(service, clock)),
          standing: () => standing(server, system),
        },
        async away() {
          proxy.mode = 'refuse';
          proxy.cut();
        },
        async back() {
          proxy.mode = 'pass';
          await sleep(2_000); // longer than the pause after a few failed attempts
        },
        refused: (message) => ({ ...message, body: new Uint8Array(messageBytesMax + 1) }),
        async kill(peer) {
          (peer.session as Session).cut();
        },
        async close() {
          proxy.mode = 'pass';
          for (const peer of peers) await peer.stop();
        },
      };
    },
  };
}

/** Of the definitions that the node exports: exchanges and queues of a system, and what binds them, by `KIND NAME`. */
export async function standing({ ctl }: Pick<RabbitServer, 'ctl'>, system: string): Promise<string[]> {
  const { exchanges, queues, bindings } = await definitions({ ctl }, system);
  const bound = bindings.map(({ source, destination }) => `bindings ${source} to ${destination}`);
  return [...exchanges.map(({ name }) => `exchange ${name}`), ...queues.map(({ name }) => `queue ${name}`), ...new Set(bound)];
}

export interface Definitions {
  readonly exchanges: readonly { readonly name: string; readonly type: string; readonly durable: boolean }[];
  readonly queues: readonly { readonly name: string; readonly durable: boolean; readonly arguments: Readonly<Record<string, unknown>> }[];
  readonly bindings: readonly { readonly source: string; readonly destination: string; readonly routing_key: string }[];
}

/** What outlives every connection. One call, as each takes seconds on a machine that is busy. */
export async function definitions({ ctl }: Pick<RabbitServer, 'ctl'>, system: string): Promise<Definitions> {
  const isOurs = (name: string): boolean => name === system || name.startsWith(`${system}.`);
  const { exchanges, queues, bindings } = JSON.parse(await ctl('export_definitions', '-')) as Definitions;
  const durable = new Set(queues.map(({ name }) => name)); // an instance's own queue is not exported, though its bindings may be
  return {
    exchanges: exchanges.filter(({ name }) => isOurs(name)),
    queues: queues.filter(({ name }) => isOurs(name)),
    bindings: bindings.filter(({ source, destination }) => isOurs(source) && durable.has(destination)),
  };
}
