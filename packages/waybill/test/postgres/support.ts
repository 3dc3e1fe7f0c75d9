import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { needs } from '../../../../test/support/needs.ts';
import { systemClock } from '../../src/contract/clock.ts';
import type { WireMessage } from '../../src/contract/message.ts';
import type { OutboxLease, OutboxRow, StoreSession } from '../../src/contract/store.ts';
import { postgres } from '../../src/stores/postgres/index.ts';
import { recordingHost } from '../../src/testing/conformance/host.ts';
import { message } from '../../src/testing/conformance/message.ts';
import { startPostgres, type PostgresServer, type ServerOptions } from '../support/postgres-server.ts';

const program = needs('postgres');
/** Why tests with a server are skipped here; false where they are not. */
export const skip: string | false = program.skip;

/** A program of PostgreSQL's: they stand beside the server, which may be a link to it. */
export function programOf(name: string): string {
  return join(dirname(realpathSync(program.path!)), name);
}

export function server(options: Omit<ServerOptions, 'bin'> = {}): Promise<PostgresServer> {
  return startPostgres({ bin: dirname(programOf('postgres')), ...options });
}

/** A session of the service `basket`, as a process of it would open it. */
export function session(url: string, service = 'basket'): Promise<StoreSession<any>> {
  return postgres(url).open(recordingHost(service, systemClock()));
}

/** A connection of somebody else's, for transactions that stand open. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** A row of the ledger by hand, in whatever transaction the client has open. */
export async function insertRow(client: pg.Client, id: string, key?: string): Promise<void> {
  await client.query(
    `insert into waybill.ledger (kind, id, source, type, key, time, headers, body) values ('event', $1, 'basket', 'basket.x.v1', $2, 0, '{}', '')`,
    [id, key],
  );
}

export async function append(store: StoreSession, ...ids: string[]): Promise<void> {
  await store.transaction((tx) => store.ports.outbox.append(tx, ids.map((id) => named(id))));
}

export function named(id: string, of: Partial<WireMessage> = {}): WireMessage {
  return message(id, { id, source: 'basket', ...of });
}

export async function acquire(store: StoreSession, owner = 'one', leaseMs = 30_000): Promise<OutboxLease> {
  const lease = await store.ports.outbox.acquire(owner, leaseMs);
  if (lease === undefined) throw new Error(`${owner} was to get the lease`);
  return lease;
}

export function ids(rows: readonly OutboxRow[]): string[] {
  return rows.map(({ id }) => id);
}

/** Reads until there is nothing more, settling what it read. */
export async function drain(lease: OutboxLease, max = 500): Promise<string[]> {
  const all: string[] = [];
  for (;;) {
    const rows = await lease.read(max);
    if (rows.length === 0) return all;
    all.push(...ids(rows));
    await lease.settle(rows.at(-1)!.position, []);
  }
}
