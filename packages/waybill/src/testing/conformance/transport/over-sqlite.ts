import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Store } from '../../../contract/store.ts';
import { memory } from '../../../stores/memory/index.ts';
import { sqlite as store } from '../../../stores/sqlite/index.ts';
import { sqlite } from '../../../transports/sqlite/index.ts';
import { hastenedClock } from '../hastened-clock.ts';
import { recordingHost } from '../host.ts';
import type { Peer, TransportDriver } from './world.ts';

/** Longer than the transport's leases. */
const leaseMs = 10_000;

/**
 * The SQLite transport: `native`, where each service's store is its ledger in the directory and the commit is the
 * publish; `foreign`, where the store is another one and the transport keeps a ledger beside it.
 */
export function overSqlite(stores: 'native' | 'foreign', patienceMs = 10_000): TransportDriver {
  return {
    name: `sqlite, ${stores} store`,
    lacks: {
      counts: 'rows are read, not handed out',
      shares: 'one instance works on a subscription, the others stand by',
      away: 'there is no broker that could be away',
      refusal: 'whatever can be stored is taken',
      ...(stores === 'foreign' && {
        commit: 'messages are handed to the ledger by the relay',
        kill: 'within one process the ledger beside the store cannot be taken away from its session',
      }),
    },
    async open() {
      const clock = hastenedClock();
      const folder = await mkdtemp(join(tmpdir(), 'waybill-transport-'));
      const transport = sqlite(folder);
      const foreign = new Map<string, Store>();
      const peers = new Set<Peer>();
      const storeOf = (service: string): Store => {
        if (stores === 'native') return store(join(folder, `${service}.db`));
        if (!foreign.has(service)) foreign.set(service, memory());
        return foreign.get(service)!;
      };

      return {
        clock,
        patienceMs,
        quietMs: 100,
        async start(service) {
          const host = recordingHost(service, clock);
          const session = await storeOf(service).open(host);
          const connected = await transport.connect({ ...host, store: session });
          const peer: Peer = {
            service,
            store: session,
            session: connected,
            async stop() {
              peers.delete(peer);
              await connected.close();
              await session.close();
            },
          };
          peers.add(peer);
          return peer;
        },
        topology: {
          entities: (service, declarations) => transport.topology!.entities(service, declarations),
          look: (service, entities) => transport.topology!.look(entities, recordingHost(service, clock)),
          standing: async () => subscriptionsIn(folder),
        },
        // This process goes on, so what the dead one held is free only once its lease has run out.
        async kill(peer) {
          peers.delete(peer);
          await peer.store.close();
          clock.pass(leaseMs + 1);
          await peer.session.close();
        },
        async close() {
          for (const peer of peers) await peer.stop();
          await rm(folder, { recursive: true, force: true });
        },
      };
    },
  };
}

function subscriptionsIn(folder: string): string[] {
  return readdirSync(folder).filter((file) => file.endsWith('.db')).flatMap((file) => {
    const database = new DatabaseSync(join(folder, file), { readOnly: true });
    try {
      return database.prepare('select distinct name from waybill_subscription').all().map(({ name }) => `subscription ${name as string}`);
    } finally {
      database.close();
    }
  });
}
