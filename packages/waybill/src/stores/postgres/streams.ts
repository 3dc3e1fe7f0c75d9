/**
 * The event store. In go events, in the caller's transaction, under the lock of their stream; out they come by stream,
 * and across streams by saved snapshots (`log.ts`). A crash leaves all events of a transaction or none.
 *
 * Appending costs two statements for any number of events (the second must see what the one before us committed); a page
 * of a stream one, of the log one or two; moving a projection two in the transaction of its writes.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { StoreTransaction } from '../../contract/store.ts';
import type { NewEvent, ProjectionFailure, ProjectionLease, ProjectionState, StreamsPort } from '../../contract/streams.ts';
import { type EventColumns, behindOf, endOf, eventOf, eventText, readCursor, scanLog, writeCursor } from './log.ts';
import type { Access } from './port.ts';
import { few, measured } from './reading.ts';
import { plainText, wallMs } from './wire.ts';

/** What lies before a projection is counted to here. */
const behindMax = 10_001;

interface ProjectionColumns {
  readonly name: string;
  readonly epoch: string;
  readonly cursor: string | null;
  readonly moved: string | null;
  readonly code: string | null;
  readonly message: string | null;
  readonly stream: string | null;
  readonly version: string | null;
  readonly attempts: string;
}

const projectionText = `p.name, p.epoch::text, p.cursor, p.moved::text, p.error_code as code, p.error_message as message,
  p.error_stream as stream, p.error_version::text as version, p.attempts::text`;

export function createStreamsPort(access: Access): StreamsPort {
  const { schema: s, service, sql, in: within } = access;
  const lock = `select '' as locked from pg_advisory_xact_lock(hashtextextended($1::text, 0))`;
  // By the unique index, its last entry. Positions are taken in the order of the rows, after the lock: so they rise within
  // a stream. `on conflict`: under REPEATABLE READ the version that was seen may be old; then the server asks for another run.
  const insert = `with now as (select coalesce((select max(version) from ${s}.event where stream = $1::text), 0) as version),
    added as (insert into ${s}.event (stream, version, id, type, time, correlation, causation, headers, body)
      select $1::text, now.version + m.n, m.id, m.type, m.time, m.correlation, m.causation, m.headers, m.body
      from now, json_to_recordset($3::text::json) as m(n int, id text, type text, time bigint, correlation text, causation text, headers text, body text)
      where ($2::text is null or now.version = $2::text::int) and exists (select 1 from ${s}.identity where service = $4::text)
      order by m.n on conflict do nothing returning pos)
    select (select version::text from now) as version, (select count(*)::text from added) as count,
      (select string_agg(pos::text, ' ' order by pos) from added) as positions, pg_current_xact_id()::text as xid,
      (exists (select 1 from ${s}.identity where service = $4::text))::text as ours`;
  // search by the unique index, in its order
  const ofStream = `select ${eventText('d')} from ${measured(`select * from ${s}.event where stream = $1::text and version > $2::text::int
    order by version limit $3::text::int`, 'version')} d where ${few} order by d.version`;
  const look = `select (p.owner is null or p.owner = $2::text or p.expires_at < clock_timestamp())::text as free from ${s}.projection p where p.name = $1::text`;
  const take = `insert into ${s}.projection as p (name, owner, epoch, expires_at) values ($1::text, $2::text, 1, ${until('$3')})
    on conflict (name) do update set owner = $2::text, epoch = p.epoch + 1, expires_at = ${until('$3')}
    where p.owner is null or p.owner = $2::text or p.expires_at < clock_timestamp() returning ${projectionText}`;
  const reset = `insert into ${s}.projection as p (name, owner, epoch, expires_at) values ($1::text, null, 1, clock_timestamp())
    on conflict (name) do update set owner = null, epoch = p.epoch + 1, expires_at = clock_timestamp(), cursor = null, error_code = null, attempts = 0`;

  return {
    async append(tx, stream, expected, events) {
      const statements = within(tx);
      await statements.query(lock, [`waybill stream ${s} ${stream}`]);
      const [row] = await statements.query<Record<'version' | 'count' | 'positions' | 'xid' | 'ours', string>>(insert, [
        stream,
        expected ?? null,
        JSON.stringify(events.map(eventJson)),
        service,
      ]);
      if (row!.ours !== 'true') throw new WaybillError('NOT_A_TRANSACTION', `This transaction is one of a database that is not ${service}'s: pass one on the bus's own.`);
      const version = Number(row!.version);
      if (Number(row!.count) !== events.length) return { appended: false, version, stored: [] };
      statements.told(row!.xid);
      const positions = row!.positions.split(' ').map(Number);
      const stored = events.map((event, i) => ({ ...event, stream, version: version + i + 1, position: positions[i]! }));
      return { appended: true, version: version + events.length, stored };
    },

    async read(stream, version, max, tx) {
      const rows = await (tx === undefined ? sql : within(tx)).query<EventColumns>(ofStream, [stream, version, max]);
      return rows.map(eventOf);
    },

    scan: (cursor, max) => scanLog(sql, s, cursor, max),

    async acquire(projection, owner, leaseMs) {
      const [seen] = await sql.query<{ free: string }>(look, [projection, owner]);
      if (seen?.free === 'false') return undefined;
      const [row] = await sql.query<ProjectionColumns>(take, [projection, owner, leaseMs]);
      return row && new Lease(access, { row, owner, leaseMs });
    },

    reset: async (tx, projection) => void (await within(tx).query(reset, [projection])),

    async progress(upTo) {
      const now = await endOf(sql);
      const end = upTo === undefined ? now.base : readCursor(upTo).base;
      const rows = await sql.query<ProjectionColumns>(`select ${projectionText} from ${s}.projection p order by p.name`);
      const projections: ProjectionState[] = [];
      for (const row of rows) {
        const cursor = row.cursor ?? undefined;
        const behind = await behindOf(sql, s, cursor, { end, max: behindMax });
        projections.push({ name: row.name, cursor, behind, movedMs: row.moved === null ? undefined : Number(row.moved), failure: failureOf(row) });
      }
      return { end: writeCursor(now), projections };
    },
  };
}

/** Each write names owner and epoch; moving names the cursor it comes from, too: what a crash took back must not be stepped over. */
class Lease implements ProjectionLease {
  readonly cursor: string | undefined;
  readonly failure: ProjectionFailure | undefined;
  readonly #access: Access;
  readonly #name: string;
  readonly #epoch: string;
  readonly #owner: string;
  readonly #leaseMs: number;
  /** The last that was committed. */
  #from: string | undefined;

  constructor(access: Access, { row, owner, leaseMs }: { row: ProjectionColumns; owner: string; leaseMs: number }) {
    this.#access = access;
    this.#name = row.name;
    this.#epoch = row.epoch;
    this.#owner = owner;
    this.#leaseMs = leaseMs;
    this.cursor = row.cursor ?? undefined;
    this.#from = this.cursor;
    this.failure = failureOf(row);
  }

  // search by primary key
  get #where(): string {
    return 'where name = $1::text and owner = $2::text and epoch = $3::text::bigint';
  }

  async settleIn(tx: StoreTransaction, cursor?: string): Promise<void> {
    const { schema: s, clock, in: within } = this.#access;
    const held = [this.#name, this.#owner, this.#epoch, this.#leaseMs, this.#from ?? null];
    const moved = cursor === undefined ? '' : ', cursor = $6::text, moved = $7::text::bigint, error_code = null, attempts = 0';
    const rows = await within(tx).query(
      `update ${s}.projection set expires_at = ${until('$4')}${moved} ${this.#where} and cursor is not distinct from $5::text returning '' as held`,
      cursor === undefined ? held : [...held, cursor, wallMs(clock.now())],
    );
    if (rows.length === 0) {
      throw new WaybillError('LEASE_LOST', `Another instance moves the projection ${this.#name} now, or it was rebuilt: this one stands by.`);
    }
    if (cursor !== undefined) tx.afterCommit(() => (this.#from = cursor));
  }

  async renew(failure: ProjectionFailure | undefined): Promise<boolean> {
    const { schema: s, sql } = this.#access;
    const rows = await sql.query(
      `update ${s}.projection set expires_at = ${until('$4')}, error_code = $5::text, error_message = $6::text, error_stream = $7::text,
       error_version = $8::text::int, attempts = $9::text::int ${this.#where} returning '' as held`,
      [
        this.#name, this.#owner, this.#epoch, this.#leaseMs, failure?.code ?? null, failure === undefined ? null : plainText(failure.message),
        failure?.stream ?? null, failure?.version ?? null, failure?.attempts ?? 0,
      ], // prettier-ignore
    );
    return rows.length > 0;
  }

  async release(): Promise<void> {
    const { schema: s, sql } = this.#access;
    await sql.query(`update ${s}.projection set owner = null ${this.#where}`, [this.#name, this.#owner, this.#epoch]);
  }
}

/** By the database's clock. */
function until(leaseMs: string): string {
  return `clock_timestamp() + ${leaseMs}::text::float8 * interval '1 ms'`;
}

function eventJson(event: NewEvent, i: number): object {
  const { id, type, timeMs, correlationId, causationId, headers, body } = event;
  return {
    ...{ n: i + 1, id, type, body },
    time: wallMs(timeMs),
    correlation: correlationId,
    causation: causationId ?? null,
    headers: JSON.stringify(headers),
  };
}

function failureOf(row: ProjectionColumns): ProjectionFailure | undefined {
  if (row.code === null) return undefined;
  return {
    code: row.code,
    message: row.message ?? '',
    stream: row.stream ?? '',
    version: Number(row.version ?? 0),
    attempts: Number(row.attempts),
  };
}
