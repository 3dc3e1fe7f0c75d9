/**
 * Waybill's own tables, as numbered migrations that are never edited. `format` in `waybill_identity` says which have
 * run; `user_version` and `application_id` belong to the user, whose tables stand in the same file.
 */

/** What every message is stored as, wherever it stands. */
const message = `
  kind text not null, id text not null, source text not null, type text not null, recipient text, key text,
  time integer not null, headers text not null, body blob not null`;

/** Runs in one transaction each; its number is its place, from 1. */
export const migrations: readonly string[] = [
  `
create table waybill_identity (one integer primary key check (one = 1), service text not null, incarnation text not null,
  format integer not null, trimmed_to integer not null default 0) strict;

-- Position order is commit order: SQLite has one writer. autoincrement: after all rows are deleted the next is still max + 1.
-- appended: when it was written, by which it is trimmed; a delayed message's time lies long before.
create table waybill_ledger (position integer primary key autoincrement, ${message}, appended integer not null) strict;

-- How far readers of ledgers have come. anchor = id of the row at position.
create table waybill_position (subscription text not null, source text not null, incarnation text not null,
  position integer not null, anchor text, primary key (subscription, source)) strict, without rowid;

create table waybill_lease (subscription text primary key, owner text, epoch integer not null, expires integer not null,
  clean integer not null, revision integer not null default 0) strict, without rowid;

create table waybill_subscription (name text not null, type text not null, kind text not null, started integer,
  stopped integer, dropped integer, primary key (name, type)) strict, without rowid;

-- time: when it was taken on, by which it is trimmed.
create table waybill_inbox (subscription text not null, source text not null, id text not null, time integer not null,
  primary key (subscription, source, id)) strict, without rowid;
create index waybill_inbox_time on waybill_inbox (time);

create table waybill_watermark (subscription text not null, source text not null, event text not null, key text not null,
  sequence integer not null, primary key (subscription, source, event, key)) strict, without rowid;

-- head: 0 while an older in-order row of its key, or a failure that holds the key, stands before it. Kept by every write,
-- so that a million rows in line cost the reader nothing.
-- front: 1 for a failure that was retried: it is older than whatever waits for its key.
create table waybill_waiting (row integer primary key autoincrement, subscription text, ${message},
  due integer not null, reason text not null, attempt integer not null, attempts integer not null, starts integer not null,
  first_failed integer, error_code text, error_message text, error_stack text,
  in_order integer not null, front integer not null, head integer not null, created integer not null) strict;
create index waybill_waiting_due on waybill_waiting (subscription, due) where head = 1;
create index waybill_waiting_head on waybill_waiting (subscription, key) where in_order = 1 and head = 1;
create index waybill_waiting_line on waybill_waiting (subscription, key, front desc, row) where in_order = 1;
create index waybill_waiting_id on waybill_waiting (id);

create table waybill_failures (row integer primary key autoincrement, subscription text, ${message},
  error_code text not null, error_message text not null, error_stack text, attempts integer not null,
  first_failed integer not null, last_failed integer not null, holds integer not null, fingerprint text not null) strict;
create index waybill_failures_hold on waybill_failures (subscription, key) where holds = 1;
create index waybill_failures_id on waybill_failures (id);
create index waybill_failures_group on waybill_failures (fingerprint, row, first_failed, last_failed);

create table waybill_once (scope text not null, key text not null, result text not null, fingerprint text,
  expires integer not null, primary key (scope, key)) strict, without rowid;
create index waybill_once_expires on waybill_once (expires);
`,
  `
create table waybill_saga (row integer primary key autoincrement, saga text not null, key text not null,
  version integer not null, revision integer not null, status text not null, state text not null, ledger text not null,
  started integer not null, changed integer not null) strict;
create unique index waybill_saga_key on waybill_saga (saga, key);
create index waybill_saga_of on waybill_saga (saga);
create index waybill_saga_status on waybill_saga (status);
create index waybill_saga_counts on waybill_saga (saga, version, status);
create index waybill_saga_ended on waybill_saga (changed) where status in ('completed', 'compensated');
-- what came before the saga that it is for
create index waybill_waiting_unknown on waybill_waiting (subscription, key) where error_code = 'SAGA_NOT_FOUND';
-- a schedule is there once, however many instances ask for it
create unique index waybill_waiting_schedule on waybill_waiting (id) where reason = 'schedule';
`,
  `
-- who runs it, and until when nobody else may; left there when it has run out
alter table waybill_waiting add column owner text;
alter table waybill_waiting add column claimed integer not null default 0;
`,
  `
-- The event store. Position order is commit order, as in the ledger; a row is never changed, never removed.
create table waybill_event (position integer primary key autoincrement, stream text not null, version integer not null,
  id text not null, type text not null, time integer not null, correlation text not null, causation text, headers text not null,
  body text not null, unique (stream, version)) strict;

-- How far projections have come; who moves one is told by the lease '$projection NAME'.
create table waybill_projection (name text primary key, position integer not null, moved integer, error_code text,
  error_message text, error_stream text, error_version integer, attempts integer not null default 0) strict, without rowid;
`,
  `
-- From here on headers may leave out what the columns say: see wire.ts. A reader that does not know it must not try.

-- The writer gives positions, and never one again: see outbox.ts. autoincrement wrote a page of its own with each commit.
create table waybill_ledger_new (position integer primary key, ${message}, appended integer not null) strict;
insert into waybill_ledger_new select position, kind, id, source, type, recipient, key, time, headers, body, appended from waybill_ledger;
update waybill_identity set trimmed_to = max(trimmed_to, coalesce((select seq from sqlite_sequence where name = 'waybill_ledger'), 0))
  where not exists (select 1 from waybill_ledger);
drop table waybill_ledger;
alter table waybill_ledger_new rename to waybill_ledger;
`,
];

/** The format that this version of Waybill reads and writes. */
export const formatNow: number = migrations.length;
