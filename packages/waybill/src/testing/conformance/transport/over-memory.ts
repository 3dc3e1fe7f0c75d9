import { systemClock } from '../../../contract/clock.ts';
import { memory as memoryStore } from '../../../stores/memory/index.ts';
import { memory } from '../../../transports/memory/index.ts';
import { recordingHost } from '../host.ts';
import type { Peer, TransportDriver } from './world.ts';

/** The reference: the transport in memory, with a store in memory for each service. */
export function overMemory(): TransportDriver {
  return {
    name: 'memory',
    lacks: {
      history: 'nothing is kept of what was sent before a queue was there',
      topology: 'nothing stands outside the process',
      commit: 'messages are handed to a broker by the relay',
    },
    async open() {
      const clock = systemClock();
      const transport = memory();
      const stores = new Map<string, ReturnType<typeof memoryStore>>();
      const peers = new Set<Peer>();
      const refused = new Set<string>();
      transport.faults.set({ refuse: ({ id }) => (refused.has(id) ? 'the test says so' : undefined) });

      return {
        clock,
        // It delivers within `send`, so a timer that fires at all fires after that.
        patienceMs: 20,
        quietMs: 0,
        async start(service) {
          if (!stores.has(service)) stores.set(service, memoryStore());
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
        away: async () => transport.faults.set({ away: true }),
        back: async () => transport.faults.set({ away: false }),
        refused: (message) => {
          refused.add(message.id);
          return message;
        },
        // What a closed session had not settled looks to the broker as if its process had died.
        kill: (peer) => peer.session.close(),
        async close() {
          transport.faults.clear();
          for (const peer of peers) await peer.stop();
        },
      };
    },
  };
}
