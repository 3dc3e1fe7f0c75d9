/**
 * The event store. In go events, in the caller's transaction; out they come by stream, and across streams in position
 * order, which is commit order: SQLite has one writer, so no event commits behind a position that somebody has read.
 * A crash leaves all events of a transaction or none.
 *
 * Appending costs one search and one insert per event, no fsync of its own; a page two statements; moving a projection two
 * in the transaction of its writes. No read is kept open.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { Host } from '../../contract/store.ts';
import type { NewEvent, ProjectionFailure, ProjectionLease, ProjectionState, StoredEvent, StreamsPort } from '../../contract/streams.ts';
import { endOf } from './end-of.ts';
import { isFree, readLease, releaseLease, renewLease, takeLease } from './lease.ts';
import type { Hold } from './lease.ts';
import { sqliteTransaction } from './port.ts';
import type { SqliteDatabase, Statements } from './port.ts';
import { wallMs } from './wire.ts';

/** What lies before a projection is counted to here. */
const behindMax = 10_001;

const columns = 'stream, version, id, type, time, correlation, causation, headers, body';
const insert = `insert into waybill_event (${columns}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
// search by the unique index on (stream, version), its last entry
const lastVersion = 'select max(version) as version from waybill_event where stream = ?';
// search by the unique index, in its order; no body is read for its size
const sizesOfStream = 'select version, octet_length(body) from waybill_event where stream = ? and version > ? order by version limit ?';
const ofStream = `select position, ${columns} from waybill_event where stream = ? and version > ? and version <= ? order by version`;
// search by integer primary key, in its order
const sizesOfLog = 'select position, octet_length(body) from waybill_event where position > ? order by position limit ?';
const ofLog = `select position, ${columns} from waybill_event where position > ? and position <= ? order by position`;

interface EventRow {
  readonly position: number;
  readonly stream: string;
  readonly version: number;
  readonly id: string;
  readonly type: string;
  readonly time: number;
  readonly correlation: string;
  readonly causation: string | null;
  readonly headers: string;
  readonly body: string;
}

interface ProjectionRow {
  readonly name: string;
  readonly position: number;
  readonly moved: number | null;
  readonly error_code: string | null;
  readonly error_message: string | null;
  readonly error_stream: string | null;
  readonly error_version: number | null;
  readonly attempts: number;
}

export function createStreamsPort(database: SqliteDatabase, { clock }: Host): StreamsPort {
  const append = (statements: Statements, stream: string, expected: number | undefined, events: readonly NewEvent[]) => {
    const version = statements.get<{ version: number | null }>(lastVersion, stream)?.version ?? 0;
    if (expected !== undefined && expected !== version) return { appended: false, version, stored: [] };
    const stored = events.map((event, i): StoredEvent => {
      const { id, type, timeMs, correlationId, causationId, headers, body } = event;
      const values = [id, type, wallMs(timeMs), correlationId, causationId ?? null, JSON.stringify(headers), body];
      const { lastInsertRowid } = statements.run(insert, stream, version + i + 1, ...values);
      return { ...event, stream, version: version + i + 1, position: lastInsertRowid };
    });
    return { appended: true, version: version + events.length, stored };
  };

  const readStream = (stream: string, version: number, max: number) => (statements: Statements) => {
    const end = endOf(statements.tuples<[number, number]>(sizesOfStream, stream, version, max));
    return end === undefined ? [] : statements.all<EventRow>(ofStream, stream, version, end).map(eventOf);
  };

  return {
    append: (tx, stream, expected, events) =>
      sqliteTransaction(tx, database).writing((statements) => append(statements, stream, expected, events)),

    read: (stream, version, max, tx) =>
      tx === undefined
        ? database.read(readStream(stream, version, max))
        : sqliteTransaction(tx, database).writing(readStream(stream, version, max)),

    async scan(cursor, max) {
      const after = positionOf(cursor);
      return database.read((statements) => {
        const sizes = statements.tuples<[number, number]>(sizesOfLog, after, max + 1);
        const end = endOf(sizes.slice(0, max));
        if (end === undefined) return { events: [], next: cursor, more: false };
        return { events: statements.all<EventRow>(ofLog, after, end).map(eventOf), next: String(end), more: sizes.at(-1)![0] > end };
      });
    },

    async acquire(projection, owner, leaseMs) {
      const nowMs = clock.now();
      const name = leaseName(projection);
      const seen = await database.read((statements) => readLease(statements, name));
      if (seen?.owner !== owner && !isFree(seen, { nowMs, leaseMs })) return undefined;
      const taken = await database.write(({ statements }) => {
        const lease = takeLease(statements, { name, owner, seen, expiresMs: nowMs + leaseMs });
        if (lease === undefined) return undefined;
        statements.run('insert into waybill_projection (name, position) values (?, 0) on conflict do nothing', projection);
        return { hold: lease.hold, row: statements.get<ProjectionRow>(oneProjection, projection)! };
      });
      return taken && new Lease(database, { ...taken, leaseMs, now: () => clock.now() });
    },

    reset: (tx, projection) =>
      sqliteTransaction(tx, database).writing((statements) => {
        // search by primary key in both; the epoch tells whoever holds the lease that it is lost
        statements.run(
          `insert into waybill_lease (subscription, owner, epoch, expires, clean) values (?, null, 1, 0, 1)
           on conflict (subscription) do update set owner = null, epoch = epoch + 1, expires = 0, clean = 1`,
          leaseName(projection),
        );
        statements.run(
          `insert into waybill_projection (name, position) values (?, 0) on conflict (name) do update set position = 0,
           error_code = null, error_message = null, error_stream = null, error_version = null, attempts = 0`,
          projection,
        );
      }),

    progress: (upTo) =>
      database.read((statements) => {
        // the last entry of the integer primary key; positions have no gaps: what was rolled back is given out again
        const last = statements.get<{ position: number | null }>('select max(position) as position from waybill_event')?.position ?? 0;
        const end = upTo === undefined ? last : Math.min(positionOf(upTo), last);
        const rows = statements.all<ProjectionRow>('select * from waybill_projection order by name');
        return { end: String(last), projections: rows.map((row) => stateOf(row, end)) };
      }),
  };
}

// search by primary key
const oneProjection = 'select * from waybill_projection where name = ?';

class Lease implements ProjectionLease {
  readonly cursor: string | undefined;
  readonly failure: ProjectionFailure | undefined;
  readonly #database: SqliteDatabase;
  readonly #hold: Hold;
  readonly #projection: string;
  readonly #leaseMs: number;
  readonly #now: () => number;

  constructor(database: SqliteDatabase, how: { hold: Hold; row: ProjectionRow; leaseMs: number; now: () => number }) {
    this.#database = database;
    this.#hold = how.hold;
    this.#projection = how.row.name;
    this.#leaseMs = how.leaseMs;
    this.#now = how.now;
    this.cursor = how.row.position === 0 ? undefined : String(how.row.position);
    this.failure = failureOf(how.row);
  }

  settleIn(tx: Parameters<ProjectionLease['settleIn']>[0], cursor?: string): void | Promise<void> {
    return sqliteTransaction(tx, this.#database).writing((statements) => {
      this.#fence(statements);
      if (cursor === undefined) return;
      // search by primary key
      statements.run(
        `update waybill_projection set position = ?, moved = ?, error_code = null, error_message = null, error_stream = null,
         error_version = null, attempts = 0 where name = ?`,
        positionOf(cursor),
        wallMs(this.#now()),
        this.#projection,
      );
    });
  }

  #fence(statements: Statements): void {
    if (renewLease(statements, this.#hold, this.#now() + this.#leaseMs)) return;
    throw new WaybillError('LEASE_LOST', `Another instance moves the projection ${this.#projection} now, or it was rebuilt: this one stands by.`);
  }

  renew(failure: ProjectionFailure | undefined): Promise<boolean> {
    return this.#database.write(({ statements }) => {
      if (!renewLease(statements, this.#hold, this.#now() + this.#leaseMs)) return false;
      // search by primary key
      statements.run(
        `update waybill_projection set error_code = ?, error_message = ?, error_stream = ?, error_version = ?, attempts = ? where name = ?`,
        failure?.code ?? null,
        failure?.message ?? null,
        failure?.stream ?? null,
        failure?.version ?? null,
        failure?.attempts ?? 0,
        this.#projection,
      );
      return true;
    });
  }

  async release(): Promise<void> {
    await this.#database.write(({ statements }) => releaseLease(statements, this.#hold));
  }
}

/** No subscription can be called so. */
function leaseName(projection: string): string {
  return `$projection ${projection}`;
}

function positionOf(cursor: string | undefined): number {
  const position = Number(cursor ?? 0);
  if (Number.isSafeInteger(position) && position >= 0) return position;
  throw new WaybillError('INVALID_OPTION', `${JSON.stringify(cursor)} is no cursor of this store: pass what a page of it said`);
}

function eventOf(row: EventRow): StoredEvent {
  const { position, stream, version, id, type, time, correlation, causation, headers, body } = row;
  return {
    ...{ position, stream, version, id, type, body },
    timeMs: time,
    correlationId: correlation,
    causationId: causation ?? undefined,
    headers: JSON.parse(headers) as Record<string, string>,
  };
}

function failureOf(row: ProjectionRow): ProjectionFailure | undefined {
  if (row.error_code === null) return undefined;
  return {
    code: row.error_code,
    message: row.error_message ?? '',
    stream: row.error_stream ?? '',
    version: row.error_version ?? 0,
    attempts: row.attempts,
  };
}

function stateOf(row: ProjectionRow, end: number): ProjectionState {
  return {
    name: row.name,
    cursor: row.position === 0 ? undefined : String(row.position),
    behind: Math.min(Math.max(0, end - row.position), behindMax),
    movedMs: row.moved ?? undefined,
    failure: failureOf(row),
  };
}
