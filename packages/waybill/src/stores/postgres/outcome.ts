/**
 * What became of a transaction whose COMMIT was not answered. In goes its id, or that of a message that nobody else has
 * published, and how long it has been; out comes whether it committed, asked over another connection, or undefined when
 * that cannot be told.
 *
 * "Not committed" is always to be trusted. "Committed" is not, once the server has crashed or failed over: it hands out
 * the same transaction ids again (design of the ledger, L1), so the answer may be another transaction's. A crash ends in
 * a checkpoint before anybody is let in, a failover begins a new timeline: both are excluded, or nothing is said.
 */
import type { Clock } from '../../contract/clock.ts';
import { sleep } from '../../contract/clock.ts';
import { sqlStateOf } from '../../clients/client/sql-state.ts';
import type { Statements } from './port.ts';

/** As long as the server may be away, or the old connection's process still at its work. */
const askMs = 10_000;
const pauseMs = 50;
/** The server keeps the time of a checkpoint in seconds. */
const coarseMs = 1_000;

/** The timeline that is written to. `pg_control_checkpoint()` would still name the old one right after a promotion. */
export const timelineSql = 'substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)';

export async function didCommit(
  sql: Statements,
  clock: Clock,
  { xid, beganMs, timeline }: { xid: string; beganMs: number; timeline: string | undefined },
): Promise<boolean | undefined> {
  for (const endMs = clock.monotonic() + askMs; clock.monotonic() < endMs; await sleep(clock, pauseMs)) {
    const sinceMs = clock.monotonic() - beganMs + coarseMs;
    try {
      const [row] = await sql.query<{ status: string | null; same: string; timeline: string }>(
        `select pg_xact_status($1::text::xid8) as status, ${timelineSql} as timeline,
           (greatest(pg_postmaster_start_time(), (select checkpoint_time from pg_control_checkpoint()))
             < clock_timestamp() - $2::text::float8 * interval '1 ms')::text as same`,
        [xid, sinceMs],
      );
      if (row!.status === 'aborted') return false;
      if (row!.status === 'committed') return row!.same === 'true' && row!.timeline === timeline ? true : undefined;
      if (row!.status === null) return undefined; // too long ago
    } catch (error) {
      if (sqlStateOf(error) === '22023') return false; // an id of the future: this server never came as far
    }
  }
  return undefined;
}

/** Rows this much older than the transaction are not looked at. */
const olderMs = 60_000;

/**
 * Whether the transaction that published `message` committed: its row is in the ledger. It is not there, and will not be,
 * once nobody is at work any more who began when it did: a server process may not have read yet what it was sent. A crash
 * or a failover changes nothing here: the row is there or not.
 */
export async function isThere(
  sql: Statements,
  clock: Clock,
  { message, beganMs, schema: s }: { message: string; beganMs: number; schema: string },
): Promise<boolean | undefined> {
  // backwards by the primary key, as far as rows are young
  const look = async (): Promise<boolean> => {
    const [row] = await sql.query<{ there: string }>(
      `select exists (select 1 from ${s}.ledger where id = $1::text and pos > coalesce((select pos from ${s}.ledger
         where created_at < clock_timestamp() - $2::text::float8 * interval '1 ms' order by pos desc limit 1), 0))::text as there`,
      [message, clock.monotonic() - beganMs + olderMs],
    );
    return row!.there === 'true';
  };
  const lostMs = clock.monotonic();
  for (const endMs = lostMs + askMs; clock.monotonic() < endMs; await sleep(clock, pauseMs)) {
    try {
      if (await look()) return true;
      // By another statement than the look that follows: what ends between the two is seen by that. Where the server does
      // not tell what runs (`track_activities`), not even of this very statement, nothing is known.
      const [row] = await sql.query<{ told: string; open: string }>(
        `select bool_or(pid = pg_backend_pid() and xact_start is not null)::text as told,
           count(*) filter (where pid <> pg_backend_pid() and xact_start between clock_timestamp() - $1::text::float8 * interval '1 ms'
             and clock_timestamp() - $2::text::float8 * interval '1 ms')::text as open
         from pg_stat_activity where datname = current_database() and usename = session_user`,
        [clock.monotonic() - beganMs + coarseMs, clock.monotonic() - lostMs - coarseMs],
      );
      if (row!.told !== 'true') return undefined;
      if (row!.open === '0') return await look();
    } catch {
      // it is away; asked again
    }
  }
  return undefined;
}
