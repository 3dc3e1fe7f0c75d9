import type { SqlTransaction } from '../../src/contract/transaction.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import { hastenedClock } from '../../src/testing/conformance/hastened-clock.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { StoreDriver } from '../../src/testing/conformance/store/world.ts';
import type { PostgresServer } from '../support/postgres-server.ts';

/**
 * The PostgreSQL store by URL, in a fresh schema for each world. Its leases and ages are by the server's clock, which
 * nobody can set forward: time goes by in that what is stored moves into the past.
 */
export function overPostgres(server: () => PostgresServer): StoreDriver {
  let worlds = 0;
  return {
    name: 'postgres',
    lacks: { hurry: 'it waits for connections and locks by the machine’s clock, for 10 s' },
    async open() {
      const one = server();
      // a name that must be quoted, in every statement
      const schema = `Wörld "${++worlds}" o'clock`;
      const s = `"${schema.replaceAll('"', '""')}"`;
      if (worlds === 1) await one.query('create domain blob as bytea'); // as the other databases call it
      const clock = hastenedClock();
      const store = postgres(one.url(), { schema });
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
        async pass(ms) {
          const past = `interval '${ms} ms'`;
          await one.query(
            `update ${s}.position set expires_at = expires_at - ${past};
             update ${s}.ledger set created_at = created_at - ${past};
             update ${s}.waiting set claimed = claimed - ${past};
             update ${s}.inbox set time = time - ${past};
             update ${s}.projection set expires_at = expires_at - ${past}`,
          );
        },
        query: async (native, text, values = []) => (await (native as SqlTransaction).query(text, values)).rows,
        async close() {
          for (const session of sessions) await session.close();
          await one.query(`drop schema if exists ${s} cascade; drop table if exists product`);
        },
      };
    },
  };
}
