/**
 * The replication slot and the publication of a ledger: found or made, over a connection in replication mode. A slot is
 * disposable: what it holds is where the log is kept from, never what has been published. So one that is gone, spoilt or
 * in another's hands is replaced, and the ledger is read once more.
 */
import { createHash } from 'node:crypto';
import { WaybillError } from '../../../contract/errors.ts';
import { sqlStateOf } from '../../../clients/client/sql-state.ts';
import { identifier, literal, type ReplicationConnection } from './connection.ts';

const nameMax = 63;
/** A slot's last reader was told to end: it has so long. */
const freeMs = 5_000;
const freeStepMs = 20;

/** Of a database cluster's slots: unique by database and schema. */
export function slotName(database: string, schema: string): string {
  return nameOf(`waybill_${database}_${schema}`);
}

export function publicationName(schema: string): string {
  return nameOf(schema === 'waybill' ? schema : `waybill_${schema}`);
}

/** Lower-case letters, digits and underscores, as slots want it; what had to be changed is told apart by a hash. */
function nameOf(text: string): string {
  const plain = text.toLowerCase().replaceAll(/[^a-z0-9_]/g, '_');
  if (plain === text && plain.length <= nameMax) return plain;
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 8);
  return `${plain.slice(0, nameMax - 9)}_${hash}`;
}

interface SlotRow {
  readonly active: string | null;
  readonly status: string | null;
}

/** Statements without parameters: a walsender knows no others. */
type Sql = Pick<ReplicationConnection, 'query'>;

/** @throws WaybillError `CAPABILITY_MISSING` when it is another table's, or says nothing of inserts */
export async function ensurePublication(sql: Sql, { name, schema }: { readonly name: string; readonly schema: string }): Promise<void> {
  const look = async (): Promise<{ ours: boolean } | undefined> =>
    (
      await sql.query<{ ours: boolean }>(
        `select p.pubinsert and exists (select 1 from pg_publication_tables t
           where t.pubname = p.pubname and t.schemaname = ${literal(schema)} and t.tablename = 'ledger') as ours
         from pg_publication p where p.pubname = ${literal(name)}`,
      )
    )[0];
  let found = await look();
  if (found === undefined) {
    await sql.query(publicationSql(name, schema)).catch((error: unknown) => {
      if (sqlStateOf(error) !== '42710') throw error; // another instance was first
    });
    found = await look();
  }
  if (found?.ours === true) return;
  throw new WaybillError('CAPABILITY_MISSING', `The publication ${name} does not tell of inserts into ${schema}.ledger: drop it, and it is made anew.`);
}

export function publicationSql(name: string, schema: string): string {
  return `create publication ${identifier(name)} for table ${identifier(schema)}.ledger with (publish = 'insert')`;
}

/**
 * Makes it ready to be read by this connection.
 * @param options `spoilt`: it is to be replaced, whatever it says; `mayTake`: asked before another reader is ended
 * @returns what was done
 */
export async function ensureSlot(
  sql: Sql,
  name: string,
  { spoilt, mayTake }: { readonly spoilt: boolean; readonly mayTake: () => Promise<boolean> },
): Promise<'found' | 'created' | 'replaced'> {
  let found = await freed(sql, name, mayTake);
  const lost = found !== undefined && (spoilt || found.status === 'lost');
  if (lost) {
    await sql.query(`select pg_drop_replication_slot(${literal(name)})`);
    found = undefined;
  }
  if (found !== undefined) return 'found';
  // Waits until every transaction has ended that is writing now.
  await sql.query(`select pg_create_logical_replication_slot(${literal(name)}, 'pgoutput')`);
  return lost ? 'replaced' : 'created';
}

/** Removes a slot that nobody reads any more. */
export async function dropSlot(sql: Sql, name: string, mayTake: () => Promise<boolean>): Promise<boolean> {
  if ((await freed(sql, name, mayTake)) === undefined) return false;
  await sql.query(`select pg_drop_replication_slot(${literal(name)})`);
  return true;
}

/** Ends whoever reads it: the lease is ours. */
async function freed(sql: Sql, name: string, mayTake: () => Promise<boolean>): Promise<SlotRow | undefined> {
  for (const endMs = performance.now() + freeMs; ; ) {
    const [row] = await sql.query<SlotRow>(
      `select active_pid::text as active, wal_status as status from pg_replication_slots where slot_name = ${literal(name)}`,
    );
    if (row === undefined || row.active === null) return row;
    if (performance.now() > endMs) throw new WaybillError('STORE_BUSY', `The replication slot ${name} is read by the process ${row.active}, which does not end.`);
    if (!(await mayTake())) throw new WaybillError('LEASE_LOST', 'another instance sends now');
    await sql.query(`select pg_terminate_backend(${row.active})`);
    await new Promise((resolve) => setTimeout(resolve, freeStepMs));
  }
}
