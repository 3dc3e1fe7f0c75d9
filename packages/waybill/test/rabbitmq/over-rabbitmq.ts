import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/contract/clock.ts';
import { memory } from '../../src/stores/memory/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { Peer, TransportDriver } from '../../src/testing/conformance/transport/world.ts';
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts';
import type { Session } from '../../src/transports/rabbitmq/session.ts';
import type { FaultProxy } from '../support/fault-proxy.ts';

/** In rabbitmq.conf: smaller than what `refused` makes. */
export const messageBytesMax = 2_000_000;

let worlds = 0;

/** The RabbitMQ transport on a node behind a proxy. Worlds keep apart by the system's name. */
export function overRabbitmq(proxy: FaultProxy, queues: 'quorum' | 'classic', patienceMs = 15_000): TransportDriver {
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
      return {
        clock,
        patienceMs,
        quietMs: 250,
        async start(service) {
          if (!stores.has(service)) stores.set(service, memory());
          const host = recordingHost(service, clock);
          const store = await stores.get(service)!.open(host);
          const transport = rabbitmq(`amqp://guest:guest@127.0.0.1:${proxy.port}/`, { system, queues, settleMs: 0 });
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
