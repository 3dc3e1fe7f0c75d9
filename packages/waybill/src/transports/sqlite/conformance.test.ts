import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { StoreSession } from '../../contract/store.ts';
import { sqlite as store } from '../../stores/sqlite/index.ts';
import { runCase } from '../../testing/conformance/conformance.ts';
import { hastenedClock } from '../../testing/conformance/hastened-clock.ts';
import { recordingHost } from '../../testing/conformance/host.ts';
import { transportCases } from '../../testing/conformance/transport/cases.ts';
import type { Peer, TransportDriver } from '../../testing/conformance/transport/world.ts';
import { sqlite } from './index.ts';

/** The store is the ledger, or lies elsewhere. */
function overSqlite(where: 'own' | 'elsewhere'): TransportDriver {
  return {
    name: where === 'own' ? 'sqlite' : 'sqlite, with another store',
    lacks: {
      shares: 'one instance at a time works on a subscription',
      away: 'files are not away',
      refusal: 'a ledger takes every message',
      ...(where === 'elsewhere' && {
        commit: 'messages are handed to the transport by the relay',
        kill: 'the file of the lease cannot be taken away within this process: takeover.test.ts',
      }),
    },
    async open() {
      const folder = mkdtempSync(join(tmpdir(), 'waybill-transport-'));
      const clock = hastenedClock();
      const peers = new Set<Peer>();
      return {
        clock,
        patienceMs: 10_000,
        quietMs: 50,
        async start(service) {
          const host = recordingHost(service, clock);
          const file = where === 'own' ? join(folder, 'bus', `${service}.db`) : join(folder, 'stores', `${service}.db`);
          const opened: StoreSession = await store(file).open(host);
          const session = await sqlite(join(folder, 'bus')).connect({ ...host, store: opened });
          const peer: Peer = {
            service,
            store: opened,
            session,
            async stop() {
              peers.delete(peer);
              await session.close();
              await opened.close();
            },
          };
          peers.add(peer);
          return peer;
        },
        // This process goes on, so what it held is free only when its lease has run out.
        async kill(peer) {
          peers.delete(peer);
          const { store } = peer;
          await store.close();
          clock.pass(4_000);
          await peer.session.close();
        },
        async close() {
          for (const peer of peers) await peer.stop();
          rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
        },
      };
    },
  };
}

for (const driver of [overSqlite('own'), overSqlite('elsewhere')]) {
  describe(`transport conformance: ${driver.name}`, () => {
    for (const subject of transportCases) {
      it(subject.name, async (t) => {
        const skipped = await runCase(subject, driver);
        if (skipped !== undefined) t.skip(skipped);
      });
    }
  });
}
