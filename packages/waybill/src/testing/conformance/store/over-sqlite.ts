import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SqlTransaction } from '../../../contract/transaction.ts';
import { sqlite } from '../../../stores/sqlite/index.ts';
import { hastenedClock } from '../hastened-clock.ts';
import { recordingHost } from '../host.ts';
import type { StoreDriver } from './world.ts';

/** The SQLite store: on a file of its own, or in memory. */
export function overSqlite(where: 'file' | ':memory:'): StoreDriver {
  const alone = 'a database in memory is seen by its one session alone';
  return {
    name: `sqlite, ${where}`,
    lacks: {
      hurry: "it waits for its file's lock by the machine's clock, for 10 s",
      ...(where === ':memory:' && { sessions: alone, restart: alone, migrations: 'what it checks it would have to make first' }),
    },
    async open() {
      const clock = hastenedClock();
      const folder = where === 'file' ? await mkdtemp(join(tmpdir(), 'waybill-store-')) : undefined;
      const store = sqlite(folder === undefined ? where : join(folder, 'basket.db'));
      const reports: { name: string; detail: unknown }[] = [];
      const sessions = new Set<Awaited<ReturnType<typeof store.open>>>();
      return {
        clock,
        patienceMs: 10_000,
        reports,
        async open({ service = 'basket', migrate = 'auto' } = {}) {
          const session = await store.open(recordingHost(service, clock, reports, migrate));
          sessions.add(session);
          return session;
        },
        pass: async (ms) => clock.pass(ms),
        query: async (native, text, values = []) => (await (native as SqlTransaction).query(text, values)).rows,
        async close() {
          for (const session of sessions) await session.close();
          if (folder !== undefined) await rm(folder, { recursive: true, force: true });
        },
      };
    },
  };
}
