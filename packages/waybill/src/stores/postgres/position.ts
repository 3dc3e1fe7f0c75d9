/**
 * The log of the relay's decisions: position, lease and fence in one. The row with the highest number is the truth; every
 * change appends the next number, and the primary key is the compare-and-swap: whoever comes second appends nothing and
 * has lost the lease. No row is ever updated: under a snapshot that somebody holds open, updates slow down by the tens of
 * thousands, appends do not.
 */
import type { Clock } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { Statements } from './port.ts';
import { failureInsert } from './failures.ts';
import type { Snapshot } from './reading.ts';

/** Looks at the log while taking the lease, at most: one may find it empty, one may lose to a write under way. */
const acquireAttempts = 4;

/** What the newest row says of the ledger. */
export interface Position {
  /** Everything visible here is published. */
  readonly base: Snapshot;
  /** Batches that are being published, in this order: (base, first], (first, second], … */
  readonly targets: readonly Snapshot[];
  /** Of the first batch's rows, published up to here. */
  readonly after: number;
  /** The highest position that was published. */
  readonly high: number;
  /** Positions of an earlier cluster end here. */
  readonly floor: number;
  /** While an earlier cluster's rows are published: up to which position, what is the base then, and how far they are. */
  readonly resume: { readonly to: number; readonly at: Snapshot; readonly done: number } | undefined;
}

/** The right to append, until somebody else takes it. */
export interface Hold {
  readonly no: number;
  readonly epoch: number;
}

interface Columns {
  readonly no: string | null;
  readonly epoch: string;
  readonly owner: string;
  readonly system: string;
  readonly here: string;
  readonly expired: string;
  readonly base: string;
  readonly targets: string;
  readonly after: string;
  readonly high: string;
  readonly floor: string;
  readonly until: string | null;
  readonly then: string | null;
  readonly resumed: string;
}

const columns = `no::text, epoch::text, owner, system, base::text, array_to_string(targets, ' ') as targets, after::text, high::text,
  era_floor::text as floor, resume_to::text as until, resume_at::text as then, resumed::text`;

/** By primary key, backwards, one row. */
const lastSql = (s: string): string => `select p.*, i.system_identifier::text as here from pg_control_system() i left join lateral (
    select ${columns}, (expires_at < clock_timestamp())::text as expired from ${s}.position order by position.no desc limit 1) p on true`;

interface Last extends Hold, Position {
  readonly owner: string;
  readonly expired: boolean;
  /** The cluster that wrote it, and the one that was asked. */
  readonly system: string;
  readonly here: string;
}

async function last(sql: Statements, s: string): Promise<Last | undefined> {
  const [row] = await sql.query<Columns>(lastSql(s));
  if (row === undefined || row.no === null) return undefined;
  return { ...positionOf(row), ...holdOf(row), owner: row.owner, expired: row.expired === 'true', system: row.system, here: row.here };
}

/** The first row of all: nothing is published. Does nothing where there is one. */
async function begin(sql: Statements, s: string): Promise<void> {
  await sql.query(
    `insert into ${s}.position (no, epoch, owner, expires_at, system, base)
     select 0, 0, '', clock_timestamp(), system_identifier::text, '1:1:'::pg_snapshot from pg_control_system()
     where not exists (select 1 from ${s}.position) on conflict do nothing`,
  );
}

/**
 * Takes the lease if it is free, or this owner's own. Somebody may be faster: another owner, or a write of this owner's
 * earlier hold that was under way; so it looks again.
 */
export async function acquire(
  sql: Statements,
  s: string,
  { owner, leaseMs, clock }: { owner: string; leaseMs: number; clock: Clock },
): Promise<{ readonly taken: Hold & Position; readonly askedMs: number } | undefined> {
  for (let attempt = 1; attempt <= acquireAttempts; attempt++) {
    const askedMs = clock.monotonic();
    const seen = await last(sql, s);
    if (seen === undefined) {
      await begin(sql, s);
      continue;
    }
    if (seen.system !== seen.here) throw rewound('The ledger was written in another PostgreSQL cluster');
    if (!seen.expired && seen.owner !== owner) return undefined;
    const taken = await take(sql, s, { no: seen.no, owner, leaseMs });
    if (taken !== undefined) return { taken, askedMs };
  }
  return undefined;
}

/** Takes the lease that was seen; undefined when somebody was faster. */
async function take(sql: Statements, s: string, { no, owner, leaseMs }: { no: number; owner: string; leaseMs: number }): Promise<(Hold & Position) | undefined> {
  const [row] = await sql.query<Columns>(
    `with ${durable}
     insert into ${s}.position (no, epoch, owner, expires_at, system, base, targets, after, high, era_floor, resume_to, resume_at, resumed)
     select no + 1, epoch + 1, $2::text, clock_timestamp() + $3::text::float8 * interval '1 ms', system, base, targets, after, high, era_floor,
       resume_to, resume_at, resumed
     from ${s}.position, durable where no = $1::text::bigint and (expires_at < clock_timestamp() or owner = $2::text)
     on conflict do nothing returning ${columns}`,
    [no, owner, leaseMs],
  );
  return row && { ...positionOf(row), ...holdOf(row) };
}

/**
 * Takes the position on, with what is parked in the same commit; the new number, or undefined when the lease is lost, or
 * when the server has crashed since it gave these snapshots: it hands out lower ids than they speak of. See `move` in `schema.ts`.
 */
export async function write(
  sql: Statements,
  s: string,
  { hold, owner, leaseMs, position, parked }: { hold: Hold; owner: string; leaseMs: number; position: Position; parked: readonly object[] },
): Promise<number | undefined> {
  const { base, targets, after, high, floor, resume } = position;
  const moved = `select ${s}.move($1::text::bigint, $2::text::bigint, $3::text, $4::text::float8, $5::text::pg_snapshot,
    string_to_array($6::text, ' ')::pg_snapshot[], $7::text::bigint, $8::text::bigint, $9::text::bigint, $10::text::bigint,
    $11::text::pg_snapshot, $12::text::bigint)`;
  const values = [
    hold.no, hold.epoch, owner, leaseMs, base, targets.join(' '), after, high, floor, resume?.to ?? null, resume?.at ?? null, resume?.done ?? 0,
  ]; // prettier-ignore
  const [row] =
    parked.length === 0
      ? await sql.query<{ no: string | null }>(`${moved}::text as no`, values)
      : await sql.query<{ no: string | null }>(
          `with moved (no) as materialized (${moved}), parked as (${failureInsert(s, '$13')} where (select no from moved) is not null) select no::text from moved`,
          [...values, JSON.stringify(parked)],
        );
  return row!.no === null ? undefined : Number(row!.no);
}

/** Old numbers: nobody asks for them. */
export async function trimLog(sql: Statements, s: string, before: number): Promise<void> {
  await sql.query(`delete from ${s}.position where no < $1::text::bigint`, [before]);
}

/**
 * A position is trusted only once it is durable: after a crash the server hands out the same transaction ids again.
 * `local` and more are durable on this server.
 */
const durable = `durable as materialized (
  select case when current_setting('synchronous_commit') = 'off' then set_config('synchronous_commit', 'on', true) end as now)`;

function holdOf({ no, epoch }: Columns): Hold {
  return { no: Number(no), epoch: Number(epoch) };
}

function positionOf(row: Columns): Position {
  return {
    base: row.base,
    targets: row.targets === '' ? [] : row.targets.split(' '),
    after: Number(row.after),
    high: Number(row.high),
    floor: Number(row.floor),
    resume: row.until === null ? undefined : { to: Number(row.until), at: row.then!, done: Number(row.resumed) },
  };
}

/**
 * Whether a ledger row `l` is published, as the newest position row `p` says; `null` where there is none. Positions up to
 * `era_floor` are an earlier cluster's, all published. While an earlier cluster's are being published, its snapshots say
 * nothing of rows above `high`.
 */
export const isPublished = `(l.pos <= p.era_floor or l.pos <= p.resumed or ((p.resume_to is null or l.pos <= p.high) and (
  pg_visible_in_snapshot(l.xid, p.base)
  or (p.targets[1] is not null and l.pos <= p.after and pg_visible_in_snapshot(l.xid, p.targets[1])))))`;

export function rewound(why: string): WaybillError {
  return new WaybillError(
    'LEDGER_REWOUND',
    `${why}, so what it says of published messages cannot be trusted: run \`waybill resume --after-restore\` (\`resumeAfterRestore\`) once, with no relay running.`,
  );
}
