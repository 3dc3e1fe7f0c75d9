import { memory } from '../../../stores/memory/index.ts';
import { hastenedClock } from '../hastened-clock.ts';
import { recordingHost } from '../host.ts';
import type { StoreDriver } from './world.ts';

/** The reference: the store in memory. */
export function overMemory(): StoreDriver {
  return {
    name: 'memory',
    lacks: {
      sql: 'it keeps no tables of users',
      migrations: 'it has no tables at all',
    },
    async open() {
      const clock = hastenedClock();
      const store = memory();
      const reports: { name: string; detail: unknown }[] = [];
      const sessions = new Set<Awaited<ReturnType<typeof store.open>>>();
      return {
        clock,
        patienceMs: 20, // nothing here waits for anything outside this process
        reports,
        async open({ service = 'basket', migrate = 'auto' } = {}) {
          const session = await store.open(recordingHost(service, clock, reports, migrate));
          sessions.add(session);
          return session;
        },
        pass: async (ms) => clock.pass(ms),
        async close() {
          for (const session of sessions) await session.close();
        },
      };
    },
  };
}
