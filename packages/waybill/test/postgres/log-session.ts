/** Sessions whose leases read the log, in step with the test: what is committed has come before `read` looks. */
import type { OutboxLease, StoreSession } from '../../src/contract/store.ts';
import type { Lease } from '../../src/stores/postgres/lease.ts';
import { lsnOf } from '../../src/stores/postgres/wal/pgoutput.ts';
import type { PostgresServer } from '../support/postgres-server.ts';

/** Only waited for when something is wrong. */
const patienceMs = 60_000;

/** The same session, in relay mode `log`. @param database where it is not `postgres` */
export function overLog(session: StoreSession<any>, server: PostgresServer, database?: string): StoreSession<any> {
  const { outbox } = session.ports;
  const acquire: typeof outbox.acquire = async (owner, leaseMs) => {
    const lease = await outbox.acquire(owner, leaseMs, { log: true });
    if (lease === undefined) return undefined;
    await streaming(lease);
    return inStep(lease, server, database);
  };
  return { ...session, ports: { ...session.ports, outbox: { ...outbox, acquire } } };
}

function inStep(lease: OutboxLease, server: PostgresServer, database?: string): OutboxLease {
  return {
    async read(max) {
      await come(lease, server, database);
      return lease.read(max);
    },
    settle: (position, parked) => lease.settle(position, parked),
    renew: () => lease.renew(),
    release: () => lease.release(),
  };
}

export function readerOf(lease: OutboxLease): NonNullable<Lease['mine']>['reader'] {
  return (lease as Lease).mine!.reader;
}

/** Resolves when the log is read. */
export async function streaming(lease: OutboxLease): Promise<void> {
  await until(() => readerOf(lease).stream !== undefined, 'the log is read');
}

/** Resolves when all that is committed now has come, if the lease is held still. */
export async function come(lease: OutboxLease, server: PostgresServer, database?: string): Promise<void> {
  const { rows } = await server.query('select pg_current_wal_insert_lsn()::text as lsn', undefined, database);
  const reader = readerOf(lease);
  await Promise.race([reader.reached(lsnOf(rows[0].lsn)), until(() => reader.stream === undefined, 'it has come').catch(() => {})]);
}

export async function until(met: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const endMs = performance.now() + patienceMs; !(await met()); ) {
    if (performance.now() > endMs) throw new Error(`it was to be that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
