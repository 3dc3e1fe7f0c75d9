/**
 * The ledger of what this service sent. In go messages, in the caller's transaction; out they come in position order,
 * which is commit order, since SQLite has one writer. A row is never updated: what has been sent is told by a position
 * (this file's, for a relay; the readers' own, where they read the ledger themselves). A crash leaves a row or none.
 *
 * Appending costs one insert per 32 messages, held until COMMIT or a savepoint, and no fsync of its own; settling one transaction of 2 statements per window;
 * trimming one transaction of 2 statements per 500 rows (4–5 ms).
 */
import type { FailureRow, Host, MaybePromise, OutboxLease, OutboxPort, OutboxRow } from '../../contract/store.ts';
import type { HistoryPage, HistoryQuery } from '../../contract/history.ts';
import type { WireMessage } from '../../contract/message.ts';
import { WaybillError } from '../../contract/errors.ts';
import { endOf } from './end-of.ts';
import { addFailure } from './failures.ts';
import { isFree, readLease, releaseLease, renewLease, takeLease } from './lease.ts';
import type { Hold } from './lease.ts';
import { sqliteTransaction } from './port.ts';
import type { RowWriter, SqliteDatabase, SqlValue, Statements } from './port.ts';
import { isCommonEvent, messageColumns, messageOf, messageValues, wallMs } from './wire.ts';
import type { MessageRow } from './wire.ts';

/** Under this subscription name stands how far the relay has come; no subscription can be called so. */
export const relayName = '$relay';
/** Rows to one deleting transaction: 4–5 ms, so that nobody waits long for the file. */
const trimPiece = 500;

/** Rows to one statement; each costs a third less than alone. */
const insertMax = 32;
/** By the number of rows. */
const insertsOf = (row: string): readonly string[] =>
  Array.from({ length: insertMax + 1 }, (_, count) => `insert into waybill_ledger (position, ${messageColumns}, appended) values ${Array.from({ length: count }, () => row).join(', ')}`);

// the end of the integer primary key, and a table of one row: 2 µs
const end = 'select (select max(position) from waybill_ledger) as last, trimmed_to as trimmed from waybill_identity';

// search by integer primary key, in its order; 4 µs when nothing is new. A body's length stands before it: it is not read
const sizes = 'select position, length(body) from waybill_ledger where position > ? order by position limit ?';
const next = `select position, ${messageColumns} from waybill_ledger where position > ? and position <= ? order by position`;

/** A message in the hands of its transaction. */
interface Appended {
  readonly message: WireMessage;
  /** An event of this service with the common headers: half of its columns need not be bound. */
  readonly usual: boolean;
  /** Known once it is written. */
  position: number;
}

export function createOutboxPort(database: SqliteDatabase, { clock, signals, service }: Host): OutboxPort {
  const inserts = insertsOf('(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const usualInserts = insertsOf(`(?, 'event', ?, '${service}', ?, null, ?, ?, '+', ?, ?)`); // a service's name has no quotes
  const ledger: RowWriter<Appended> = {
    rowsMax: insertMax,
    write(statements, rows) {
      const { last, trimmed } = statements.get<{ last: number | null; trimmed: number }>(end)!;
      const appended = Math.floor(clock.now());
      let position = Math.max(last ?? 0, trimmed); // what was trimmed is never given again
      const values: SqlValue[] = [];
      const usual = rows.every((row) => row.usual);
      for (const row of rows) {
        row.position = ++position;
        const { id, type, key = null, time, body } = row.message;
        if (usual) values.push(position, id, type, key, wallMs(time), body, appended);
        else values.push(position, ...messageValues(row.message), appended);
      }
      statements.run((usual ? usualInserts : inserts)[rows.length]!, ...values);
    },
  };

  return {
    append(tx, messages) {
      const transaction = sqliteTransaction(tx, database);
      const heard = signals.has('published');
      let held: MaybePromise<void> = undefined;
      for (const message of messages) {
        const row: Appended = { message, usual: message.source === service && isCommonEvent(message), position: 0 };
        held = transaction.hold(row, ledger); // in a lazy transaction all of them wait for the same BEGIN
        if (!heard) continue;
        const { id, source, type, key } = message;
        tx.afterCommit(() => signals.emit('published', { id, source, type, key, position: row.position }));
      }
      return held;
    },

    // One writer to a file: being in the transaction is having every key's lock.
    lockKey: (tx) => sqliteTransaction(tx, database).writing(() => undefined),

    async acquire(owner, leaseMs) {
      const nowMs = clock.now();
      const seen = await database.read((statements) => readLease(statements, relayName));
      if (seen?.owner !== owner && !isFree(seen, { nowMs, leaseMs })) return undefined;
      const taken = await database.write(({ statements }) => {
        const lease = takeLease(statements, { name: relayName, owner, seen, expiresMs: nowMs + leaseMs });
        if (lease === undefined) return undefined;
        moveTo(statements, database, 0); // from now on a row is sent by the relay, not by its commit
        return { hold: lease.hold, position: relayPosition(statements, service) ?? 0 };
      });
      return taken && new Lease(database, { ...taken, leaseMs, now: () => clock.now() });
    },

    async trim(beforeMs, max) {
      for (let removed = 0; ; ) {
        const piece = await trimSome(database, { service, beforeMs, max: Math.min(trimPiece, max - removed) });
        removed += piece;
        if (piece < trimPiece || removed >= max) return removed;
        await clock.turn();
      }
    },

    history: (query) => readHistory(database, service, query),
  };
}

/** Positions that one statement looks at: 0.1 ms for 2,000 of other types. */
const historyWindow = 2_000;
/** Windows to one page: a page may be empty although there is more. */
const historyWindows = 25;

/** Reads windows of the ledger, up to what has been sent, until there are enough. No read stays open. */
async function readHistory(database: SqliteDatabase, service: string, query: HistoryQuery): Promise<HistoryPage> {
  const { types, max, sinceMs = 0, untilMs = Number.MAX_SAFE_INTEGER } = query;
  const { end, trimmedTo } = await database.read((statements) => {
    const last = statements.get<{ position: number | null }>('select max(position) as position from waybill_ledger')?.position ?? 0;
    const { trimmed_to: trimmedTo } = statements.get<{ trimmed_to: number }>('select trimmed_to from waybill_identity')!;
    return { end: relayPosition(statements, service) ?? last, trimmedTo };
  });
  // search by integer primary key, in its order
  const sql = `select position, ${messageColumns} from waybill_ledger where position > ? and position <= ?
    and type in (select value from json_each(?)) and appended >= ? and appended < ? order by position limit ?`;
  const found: (MessageRow & { position: number })[] = [];
  let at = Math.max(Number(query.after ?? 0), trimmedTo);
  for (let windows = 0; at < end && found.length < max && windows < historyWindows; windows++) {
    const to = Math.min(at + historyWindow, end);
    const rows = await database.read((statements) =>
      statements.all<MessageRow & { position: number }>(sql, at, to, JSON.stringify(types), Math.floor(sinceMs), Math.floor(untilMs), max - found.length),
    );
    found.push(...rows);
    at = found.length >= max ? found.at(-1)!.position : to;
  }
  return { messages: found.map(messageOf), next: String(at), more: at < end, trimmed: trimmedTo > Number(query.after ?? 0) };
}

class Lease implements OutboxLease {
  readonly #database: SqliteDatabase;
  readonly #hold: Hold;
  readonly #leaseMs: number;
  readonly #now: () => number;
  /** The last row read under this lease. */
  #cursor: number;

  constructor(database: SqliteDatabase, how: { hold: Hold; position: number; leaseMs: number; now: () => number }) {
    this.#database = database;
    this.#hold = how.hold;
    this.#leaseMs = how.leaseMs;
    this.#now = how.now;
    this.#cursor = how.position;
  }

  async read(max: number): Promise<readonly OutboxRow[]> {
    const rows = await this.#database.read((statements) => {
      const end = endOf(statements.tuples<[number, number]>(sizes, this.#cursor, max));
      return end === undefined ? [] : statements.all<MessageRow & { position: number }>(next, this.#cursor, end);
    });
    this.#cursor = rows.at(-1)?.position ?? this.#cursor;
    return rows.map((row) => ({ ...messageOf(row), position: row.position }));
  }

  async settle(position: number, parked: readonly FailureRow[]): Promise<void> {
    await this.#database.write(({ statements }) => {
      if (!renewLease(statements, this.#hold, this.#expiresMs())) throw leaseLost(this.#database.service);
      for (const row of parked) addFailure(statements, row);
      moveTo(statements, this.#database, position);
    });
  }

  renew(): Promise<boolean> {
    return this.#database.write(({ statements }) => renewLease(statements, this.#hold, this.#expiresMs()));
  }

  async release(): Promise<void> {
    await this.#database.write(({ statements }) => releaseLease(statements, this.#hold));
  }

  #expiresMs(): number {
    return this.#now() + this.#leaseMs;
  }
}

// search by primary key in both tables; never backwards
const move = `insert into waybill_position (subscription, source, incarnation, position, anchor)
  values (?1, ?2, ?3, ?4, (select id from waybill_ledger where position = ?4))
  on conflict (subscription, source) do update
  set incarnation = excluded.incarnation, position = excluded.position, anchor = excluded.anchor
  where excluded.position > position`;

function moveTo(statements: Statements, { service, incarnation }: SqliteDatabase, position: number): void {
  statements.run(move, relayName, service, incarnation, position);
}

function leaseLost(service: string): WaybillError {
  return new WaybillError('LEASE_LOST', `Another instance of ${service} sends now: this one stands by.`);
}

/** How far the relay has come; undefined when there has never been one: then the commit is the publish. */
export function relayPosition(statements: Statements, service: string): number | undefined {
  // search by primary key
  const sql = 'select position from waybill_position where subscription = ? and source = ?';
  return statements.get<{ position: number }>(sql, relayName, service)?.position;
}

/** Removes the oldest rows as far as they are old enough and sent: always a prefix, so that `trimmed_to` says all. */
async function trimSome(
  database: SqliteDatabase,
  { service, beforeMs, max }: { service: string; beforeMs: number; max: number },
): Promise<number> {
  const end = await database.read((statements) => {
    const sent = relayPosition(statements, service) ?? Number.MAX_SAFE_INTEGER;
    // scan in the order of the integer primary key, ended by limit
    const sql = 'select position, appended from waybill_ledger where position <= ? order by position limit ?';
    const oldest = statements.all<{ position: number; appended: number }>(sql, sent, max);
    const young = oldest.findIndex((row) => row.appended >= beforeMs);
    return oldest[(young < 0 ? oldest.length : young) - 1]?.position;
  });
  if (end === undefined) return 0;
  return database.write(({ statements }) => {
    const upTo = Math.min(end, relayPosition(statements, service) ?? end); // the first relay may have come since
    // search by integer primary key
    const { changes } = statements.run('delete from waybill_ledger where position <= ?', upTo);
    statements.run('update waybill_identity set trimmed_to = max(trimmed_to, ?)', upTo);
    return changes;
  });
}
