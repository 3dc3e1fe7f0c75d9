/** What a server, its settings and this role mean for Waybill's promises: one round trip, read-only. */
import type { Clock } from '../../contract/clock.ts';
import type { Finding } from '../../contract/doctor.ts';
import type { Statements } from './port.ts';

/** `pg_snapshot`, `xid8`. */
const versionMin = 13;
/** Due times are the server's; what a process stamps on its messages is its own. */
const skewMaxMs = 5_000;

interface Seen {
  readonly version: string;
  readonly fsync: string;
  readonly pages: string;
  readonly commits: string;
  readonly standby: string;
  readonly superuser: string;
  readonly now: string;
  readonly slots: string | null;
  readonly behind: string;
}

/** Sequences tell nobody their value who may not read them: then it is null, and not behind. */
const seenSql = (s: string): string => `select current_setting('server_version_num') as version, current_setting('fsync') as fsync,
  current_setting('full_page_writes') as pages, current_setting('synchronous_commit') as commits,
  pg_is_in_recovery()::text as standby, (select rolsuper from pg_roles where rolname = current_user)::text as superuser,
  (extract(epoch from clock_timestamp()) * 1000)::text as now,
  (select string_agg(slot_name::text, ', ' order by slot_name) from pg_replication_slots where not active) as slots,
  coalesce((select last_value from pg_sequences
      where (quote_ident(schemaname) || '.' || quote_ident(sequencename))::regclass = pg_get_serial_sequence('${s.replaceAll("'", "''")}.ledger', 'pos')::regclass)
    < greatest((select max(pos) from ${s}.ledger), (select high from ${s}.position order by no desc limit 1)), false)::text as behind`;

export async function examine(sql: Statements, schema: string, clock: Clock): Promise<Finding[]> {
  const beganMs = clock.now();
  const [seen] = await sql.query<Seen>(seenSql(schema));
  const offMs = Math.round(Number(seen!.now) - (beganMs + clock.now()) / 2);
  const { version, fsync, pages, commits, standby, superuser, slots, behind } = seen!;
  const major = Math.floor(Number(version) / 10_000);
  const findings: Finding[] = [];
  const found = (is: boolean, code: Finding['code'], severity: Finding['severity'], message: string, next: string): void => {
    if (is) findings.push({ code, severity, message, next });
  };
  found(fsync === 'off', 'POSTGRES_FSYNC_OFF', 'unsafe', 'fsync is off: a power cut can damage the database', 'Set fsync = on.');
  found(pages === 'off', 'POSTGRES_FULL_PAGE_WRITES_OFF', 'unsafe', 'full_page_writes is off: a power cut can tear pages', 'Set full_page_writes = on, unless the disk writes pages as a whole.');
  found(
    commits === 'off',
    'POSTGRES_COMMIT_ASYNC',
    'unsafe',
    'synchronous_commit is off: what was reported as committed, and seen by others, can be gone after a crash',
    'Set synchronous_commit = on for this role and database.',
  );
  found(standby === 'true', 'POSTGRES_STANDBY', 'unsafe', 'the server is a standby', 'Connect to the primary: a replica may show another order, and takes no writes.');
  found(major < versionMin, 'POSTGRES_TOO_OLD', 'unsafe', `the server is PostgreSQL ${major}`, `Use ${versionMin} or newer.`);
  found(
    behind === 'true',
    'POSTGRES_SEQUENCE_BEHIND',
    'unsafe',
    'the sequence of the ledger stands before its rows, as after a logical copy: messages would get positions that are taken',
    'Set it with setval, then run resumeAfterRestore.',
  );
  found(superuser === 'true', 'POSTGRES_SUPERUSER', 'warning', 'the role is a superuser', 'Give the service a role of its own: docs/postgres.md has its rights.');
  found(slots !== null, 'POSTGRES_SLOT_INACTIVE', 'warning', `replication slots that nobody reads keep the log: ${slots}`, 'Drop those that are not coming back, or set max_slot_wal_keep_size.');
  found(Math.abs(offMs) > skewMaxMs, 'CLOCK_SKEW', 'warning', `the server's clock is ${offMs} ms from this machine's`, 'Synchronize both: times of messages, and what is trimmed, are told by them.');
  return findings;
}
