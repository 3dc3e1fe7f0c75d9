import type { Store } from '../../src/contract/store.ts';
import type { SqlTransaction } from '../../src/contract/transaction.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import { hastenedClock } from '../../src/testing/conformance/hastened-clock.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import type { StoreDriver } from '../../src/testing/conformance/store/world.ts';
import type { Library } from '../clients/library.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { overLog, until } from './log-session.ts';

/** Of a user's pool. */
const connections = 10;

/**
 * The PostgreSQL store, by URL or through a user's library, in a fresh schema for each world. Its leases and ages are by the server's clock, which
 * nobody can set forward: time goes by in that what is stored moves into the past.
 */
export function overPostgres(server: () => PostgresServer, library?: Library, mode: 'ledger' | 'log' = 'ledger'): StoreDriver {
  let worlds = 0;
  return {
    name: mode === 'log' ? 'postgres, relay mode log' : library === undefined ? 'postgres' : `postgres over ${library.name}`,
    lacks: {
      hurry: 'it waits for connections and locks by the machine’s clock, for 10 s',
      ...(library !== undefined && { lazy: 'the library hands a transaction out when it has begun', 'own-sql': `users have the transaction of ${library.name}` }),
    },
    async open() {
      const one = server();
      // a name that must be quoted, in every statement
      const schema = `Wörld "${++worlds}" o'clock`;
      const s = `"${schema.replaceAll('"', '""')}"`;
      // as the other databases call it
      if (worlds === 1) await one.query('do $$ begin create domain blob as bytea; exception when duplicate_object then null; end $$');
      const clock = hastenedClock();
      const user = await library?.open(one.url(), connections);
      const store: Store = user === undefined ? postgres(one.url(), { schema }) : postgres<any>(user.root, { schema });
      const reports: { name: string; detail: unknown }[] = [];
      const sessions = new Set<Awaited<ReturnType<typeof store.open>>>();
      return {
        clock,
        patienceMs: 10_000,
        reports,
        async open({ service = 'basket', migrate = 'auto' } = {}) {
          const session = await store.open(recordingHost(service, clock, reports, migrate));
          sessions.add(session);
          if (mode === 'ledger') return session;
          const inLog = overLog(session, one);
          if (sessions.size === 1) await (await inLog.ports.outbox.acquire('makes the slot', 60_000))!.release();
          return inLog;
        },
        async pass(ms) {
          const past = `interval '${ms} ms'`;
          await one.query(
            `update ${s}.position set expires_at = expires_at - ${past};
             update ${s}.ledger set created_at = created_at - ${past};
             update ${s}.waiting set claimed = claimed - ${past};
             update ${s}.inbox set time = time - ${past};
             update ${s}.once set expires = expires - ${ms};
             update ${s}.projection set expires_at = expires_at - ${past}`,
          );
        },
        query: async (native, text, values = []) =>
          user === undefined ? (await (native as SqlTransaction).query(text, values)).rows : user.rows(native, text, values),
        async close() {
          for (const session of sessions) await session.close();
          await user?.close();
          if (mode === 'log') await dropSlots(one);
          await one.query(`drop schema if exists ${s} cascade; drop table if exists product`);
        },
      };
    },
  };
}

async function dropSlots(server: PostgresServer): Promise<void> {
  const left = async (active: string): Promise<number> => (await server.query(`select from pg_replication_slots where ${active}`)).rowCount!;
  await until(async () => (await left('active')) === 0, 'nobody reads a slot');
  await server.query('select pg_drop_replication_slot(slot_name) from pg_replication_slots');
}
