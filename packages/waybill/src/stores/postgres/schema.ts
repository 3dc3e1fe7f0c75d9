/**
 * Waybill's own tables, as numbered migrations that are never edited. Each is a list of statements that run in one
 * transaction; its number is its place, from 1. They stand in a schema of their own, so that no name meets a user's.
 *
 * Keys are compared byte by byte (`collate "C"`), whatever the database's collation: two ids that a language thinks equal
 * are two messages.
 */
import { WaybillError } from '../../contract/errors.ts';
import { literal } from './literal.ts';

/** What every message is stored as, wherever it stands. Bytes stay bytes: no jsonb (A13). */
const message = `kind text not null, id text collate "C" not null, source text collate "C" not null, type text collate "C" not null,
  recipient text, key text collate "C", headers text not null, body bytea not null`;

const migrations: readonly ((schema: string) => readonly string[])[] = [
  (s) => [
    `create table ${s}.identity (one boolean primary key default true check (one), service text not null, format integer not null)`,

    // xid: of the top-level transaction, also inside savepoints. pos: taken after the key's lock; cache 1, or another
    // session's numbers would be lower than what it has seen.
    `create table ${s}.ledger (xid xid8 not null default pg_current_xact_id(),
  pos bigint not null generated always as identity (cache 1), time bigint not null,
  created_at timestamptz not null default clock_timestamp(), ${message}, primary key (pos))`,
    `create index ledger_xid on ${s}.ledger (xid, pos)`,

    // The relay's decisions, appended: position, lease and fence in one. The row with the highest number is the truth.
    // base: all that is visible in it is published. targets: being published now, one batch each, in this order.
    // after: of the first target's rows, published up to here. high: highest position published.
    // era_floor: positions of an earlier cluster end here. resume_*: while an earlier cluster's rows are published.
    `create table ${s}.position (no bigint primary key, epoch bigint not null, owner text not null, expires_at timestamptz not null,
  system text not null, base pg_snapshot not null, targets pg_snapshot[] not null default '{}', after bigint not null default 0,
  high bigint not null default 0, era_floor bigint not null default 0,
  resume_to bigint, resume_at pg_snapshot, resumed bigint not null default 0,
  at timestamptz not null default clock_timestamp())`,

    `create table ${s}.inbox (subscription text collate "C" not null, source text collate "C" not null, id text collate "C" not null,
  time timestamptz not null default clock_timestamp(), primary key (subscription, source, id))`,
    `create index inbox_time on ${s}.inbox (time)`,

    `create table ${s}.watermark (subscription text collate "C" not null, source text collate "C" not null, event text collate "C" not null,
  key text collate "C" not null, sequence bigint not null, primary key (subscription, source, event, key)) with (fillfactor = 80)`,

    // subscription '': to be sent. head: false while an older in-order row of its key, or a failure that holds the key,
    // stands before it; kept by every write, so that a million rows in line cost the reader nothing.
    // front: a failure that was retried: it is older than whatever waits for its key.
    `create table ${s}.waiting (row bigint primary key generated always as identity, subscription text collate "C" not null,
  time bigint not null, due bigint not null, created bigint not null, first_failed bigint,
  attempt integer not null, attempts integer not null, starts integer not null,
  in_order boolean not null, front boolean not null, head boolean not null,
  reason text not null, error_code text, error_message text, error_stack text, ${message})`,
    `create index waiting_due on ${s}.waiting (subscription, due, row) where head`,
    `create index waiting_head on ${s}.waiting (subscription, key) where in_order and head`,
    `create index waiting_line on ${s}.waiting (subscription, key, front desc, row) where in_order`,
    `create index waiting_id on ${s}.waiting (id)`,
    // what came before the saga that it is for
    `create index waiting_unknown on ${s}.waiting (subscription, key) where error_code = 'SAGA_NOT_FOUND'`,
    // a schedule is there once, however many instances ask for it
    `create unique index waiting_schedule on ${s}.waiting (id) where reason = 'schedule'`,

    // position: of what could not be sent.
    `create table ${s}.failures (row bigint primary key generated always as identity, position bigint, subscription text collate "C" not null,
  time bigint not null, first_failed bigint not null, last_failed bigint not null, attempts integer not null, holds boolean not null,
  fingerprint text not null, error_code text not null, error_message text not null, error_stack text, ${message})`,
    `create index failures_hold on ${s}.failures (subscription, key) where holds`,
    `create index failures_id on ${s}.failures (id)`,
    `create index failures_group on ${s}.failures (fingerprint, row)`,
    `create index failures_position on ${s}.failures (position) where position is not null`,

    `create table ${s}.once (scope text collate "C" not null, key text collate "C" not null, result text not null, fingerprint text,
  expires bigint not null, primary key (scope, key))`,
    `create index once_expires on ${s}.once (expires)`,

    `create table ${s}.saga (row bigint primary key generated always as identity, saga text collate "C" not null, key text collate "C" not null,
  version integer not null, revision bigint not null, status text not null, state text not null, ledger text not null,
  started bigint not null, changed bigint not null, unique (saga, key)) with (fillfactor = 80)`,
    `create index saga_status on ${s}.saga (status, row)`,
    `create index saga_ended on ${s}.saga (changed) where status in ('completed', 'compensated')`,
  ],

  (s) => [
    // The event store. xid and pos as in the ledger: the log is read by saved snapshots. Never changed, never removed.
    `create table ${s}.event (xid xid8 not null default pg_current_xact_id(),
  pos bigint not null generated always as identity (cache 1), stream text collate "C" not null, version integer not null,
  id text collate "C" not null, type text collate "C" not null, time bigint not null, correlation text not null, causation text,
  headers text not null, body text not null, primary key (pos), unique (stream, version))`,
    `create index event_xid on ${s}.event (xid, pos)`,

    // How far projections have come (null: at the beginning), and who may move each.
    `create table ${s}.projection (name text collate "C" primary key, owner text, epoch bigint not null, expires_at timestamptz not null,
  cursor text, moved bigint, error_code text, error_message text, error_stream text, error_version integer,
  attempts integer not null default 0) with (fillfactor = 50)`,
  ],

  (s) => [
    // who runs it, and until when nobody else may; left there when it has run out
    `alter table ${s}.waiting add column owner text, add column claimed timestamptz not null default '-infinity'`,
  ],

  // A large body costs the server 7 ms a megabyte instead of 17 to 28 with pglz, and hardly more room. Where the server is older
  // than 14, or was built without, it stays as it was.
  (s) => ['ledger', 'waiting', 'failures', 'event'].map((table) => {
    const alter = `alter table ${s}.${table} alter column body set compression lz4`;
    return `do ${literal(`begin execute ${literal(alter)}; exception when syntax_error or feature_not_supported then null; end`)}`;
  }),

  // The relay's write: a function keeps its plan for as long as the server's session lives, also behind a pooler, where a statement has
  // none of its own. Planning it was two thirds of what it cost (507 us in the server, 180 so).
  //
  // A position is trusted only once it is durable: after a crash the server hands out the same transaction ids again. `local` and
  // more are durable on this server. Snapshots that speak of ids to come are of before such a crash.
  (s) => [
    `create function ${s}.move(its_no bigint, its_epoch bigint, its_owner text, its_ms float8, its_base pg_snapshot, its_targets pg_snapshot[],
  its_after bigint, its_high bigint, its_floor bigint, its_resume_to bigint, its_resume_at pg_snapshot, its_resumed bigint)
returns bigint language plpgsql as ${literal(`declare moved bigint;
begin
  if current_setting('synchronous_commit') = 'off' then perform set_config('synchronous_commit', 'on', true); end if;
  if its_resume_at is null and exists (select 1 from unnest(array_append(its_targets, its_base)) t where pg_snapshot_xmax(t) > pg_current_xact_id()) then
    return null;
  end if;
  insert into ${s}.position (no, epoch, owner, expires_at, system, base, targets, after, high, era_floor, resume_to, resume_at, resumed)
    select p.no + 1, p.epoch, its_owner, clock_timestamp() + its_ms * interval '1 ms', p.system, its_base, its_targets, its_after, its_high, its_floor,
      its_resume_to, its_resume_at, its_resumed
    from ${s}.position p where p.no = its_no and p.epoch = its_epoch on conflict do nothing returning no into moved;
  return moved;
end`)}`,
  ],
];

/** The format that this version of Waybill reads and writes. */
export const formatNow: number = migrations.length;

/** The statements that bring a schema (quoted) from `format` to this version's. */
export function statementsFrom(schema: string, format: number): readonly string[] {
  return migrations.slice(format).flatMap((migration) => migration(schema));
}

/** An identifier as SQL writes it. @throws WaybillError `INVALID_OPTION` */
export function quoted(schema: string): string {
  // 63 bytes: the server cuts longer names in silence, and two schemas could become one
  if (typeof schema !== 'string' || schema === '' || schema.includes('\0') || !schema.isWellFormed() || Buffer.byteLength(schema) > 63) {
    throw new WaybillError('INVALID_OPTION', 'postgres: schema must be a name of 1 to 63 bytes.');
  }
  if (/^pg_|^information_schema$/.test(schema)) {
    throw new WaybillError('INVALID_OPTION', `postgres: the schema ${schema} is PostgreSQL's own; name another.`);
  }
  return `"${schema.replaceAll('"', '""')}"`;
}
