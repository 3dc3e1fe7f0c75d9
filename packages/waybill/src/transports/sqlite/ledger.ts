/**
 * One ledger, opened for reading: this service's own or another's. It is never written to through here, and no read
 * stays open: an unfinished one would pin the file's write-ahead log and let it grow.
 *
 * Cost: 4 µs to see that nothing is new; 0.1 ms for a window of 2,000 positions without a match.
 */
import { closeSync, fsyncSync, openSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { WaybillError } from '../../contract/errors.ts';
import { isBusy, resultCode } from '../../stores/sqlite/errors.ts';
import type { SqlValue, Statements } from '../../stores/sqlite/port.ts';
import { formatNow } from '../../stores/sqlite/schema.ts';
import { usualHeaders } from '../../stores/sqlite/wire.ts';
import { statementsOf } from '../../stores/sqlite/statements.ts';

/** Positions that one statement looks at: bounds how long it holds the event loop and the file's log. */
export const windowPositions: number = 2_000;
/** Rows that one statement returns. */
export const windowRows: number = 500;

/** How often its end moved, kept for those who have nothing to read there. */
const stepsMax = 64;
/** The first to ask read for themselves, which is cheaper for a few. */
const readersMin = 3;

/** A place in a ledger: everything up to it has been read. The id of the row that stands there is the anchor. */
export interface Place {
  readonly position: number;
  /** Null where no row stands: before the first one. */
  readonly anchor: string | null;
}

export interface LedgerRow {
  readonly position: number;
  readonly id: string;
  readonly kind: string;
  readonly source: string;
  readonly type: string;
  readonly recipient: string | null;
  readonly key: string | null;
  readonly time: number;
  /** When it was written: a delayed message's `time` lies long before. */
  readonly appended: number;
  readonly headers: string;
  /** Null on the row at the cursor: it was read before. */
  readonly body: Uint8Array | null;
}

/** In the order of `window`'s columns: null where a row has what nearly all have, since each value costs to be made. */
type LedgerTuple = readonly [
  position: number,
  id: string,
  kind: string | null,
  source: string | null,
  type: string,
  recipient: string | null,
  key: string | null,
  time: number,
  appended: number | null,
  headers: string | null,
  body: Uint8Array | null,
];

/** By index: to take it apart would call its iterator for each value. */
function ledgerRow(tuple: LedgerTuple, service: string): LedgerRow {
  return {
    position: tuple[0],
    id: tuple[1],
    kind: tuple[2] ?? 'event',
    source: tuple[3] ?? service,
    type: tuple[4],
    recipient: tuple[5],
    key: tuple[6],
    time: tuple[7],
    appended: tuple[8] ?? tuple[7],
    headers: tuple[9] ?? usualHeaders,
    body: tuple[10],
  };
}

export interface Ledger {
  readonly service: string;
  readonly file: string;
  /** Made with the file: one that was deleted and made again has another. */
  readonly incarnation: string;
  /** The last row, as of the last `look`. */
  readonly head: Place;
  /** Wall time of the last `look`: `head` was the end then. */
  readonly lookedMs: number;
  /** Sees how far it goes now; true when that has changed. */
  look(nowMs: number): boolean;
  /**
   * The end, for who has read up to `place` and wants these types, if nothing behind it is of any of them. Undefined where
   * that is not known without reading: the place is none of the last ends, or few have asked.
   */
  past(place: Place, types: readonly string[]): Place | undefined;
  /** Whether another file stands there now, or none: a reader would follow the deleted one for ever. */
  replaced(): boolean;
  /** Rows up to here were removed by retention. */
  trimmedTo(): number;
  /** The last row at or before a position. */
  placeAt(position: number): Place;
  /** Rows from `from` itself (its anchor) to `to` that are of these types and for this service or everybody. */
  window(from: number, to: number, recipient: string, types: readonly string[], rowsMax: number): LedgerRow[];
  /** Rows after `from` up to `to` that are for this reply address. */
  replies(from: number, to: number, address: string): LedgerRow[];
  /** The first row after `from` up to `to` that was written at or after a time. */
  firstSince(from: number, to: number, timeMs: number): number | undefined;
  /** Rows after `from` of these types, counted up to `max`. */
  count(from: number, recipient: string, types: readonly string[], max: number): number;
  /** Events after `from` up to `to` of these types, whoever they are for. */
  history(from: number, to: number, types: readonly string[], rowsMax: number): LedgerRow[];
  /** When the last row at or before a position was written. */
  timeAt(position: number): number | undefined;
  /** Whether this service takes messages of this type, or did until after `droppedAfterMs`. */
  takes(kind: 'event' | 'command', type: string, droppedAfterMs: number): boolean;
  close(): void;
}

/** Why a file is not read. */
export interface Refusal {
  readonly error: WaybillError;
  /** Perhaps only for the moment: nothing is said yet. */
  readonly waiting: boolean;
  /** It is the service's ledger, or may be: somebody may read there what is sent to it. */
  readonly isLedger: boolean;
}

interface Identity {
  readonly service: string;
  readonly incarnation: string;
  readonly format: number;
}

/** Opens `file`, which by its name is the ledger of `service`. Undefined when there is no such file. */
export function openLedger(file: string, service: string, nowMs: number): Ledger | Refusal | undefined {
  let connection: DatabaseSync | undefined;
  try {
    // Before opening: a file put there in between is then noticed at the next look at the inode.
    const stat = statSync(file, { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    const stranger = refuseStranger(file, service, stat);
    if (stranger !== undefined) return stranger;
    connection = new DatabaseSync(file, { readOnly: true, timeout: 0 });
    const statements = statementsOf(connection, file);
    const refusal = identify(statements, file, service);
    if ('error' in refusal) {
      connection.close();
      return refusal;
    }
    syncLog(file);
    return createLedger({ service, file, incarnation: refusal.incarnation, inode: stat.ino, connection, statements, nowMs });
  } catch (error) {
    connection?.close();
    return refusalOf(error, file, service);
  }
}

/** What an error while reading means: to be tried again, or a ledger that cannot be read. */
export function refusalOf(error: unknown, file: string, service: string): Refusal {
  const cause = WaybillError.is(error) ? error.cause : error;
  if (isBusy(cause) || WaybillError.is(error, 'STORE_BUSY')) {
    return { waiting: true, isLedger: true, error: new WaybillError('STORE_BUSY', `${file} is locked; it is tried again`, { cause: error }) };
  }
  const code = resultCode(cause);
  if (code === 11 || code === 26) {
    const text = `${file}, the ledger of '${service}', is damaged or no database: nothing of it is read, nothing is skipped, others go on. Stop '${service}', keep a copy, restore a backup (remove its -wal and -shm first)`;
    return { waiting: false, isLedger: true, error: new WaybillError('STORE_CORRUPT', text, { cause: error }) };
  }
  const text = `${file}, the ledger of '${service}', cannot be read (${(error as Error).message}): give this process the right to read it and to write its -shm, or see that the file is whole; it is tried again`;
  return { waiting: false, isLedger: true, error: new WaybillError('STORE_UNREACHABLE', text, { cause: error }) };
}

function identify(statements: Statements, file: string, service: string): Identity | Refusal {
  const skipped = (why: string, waiting = false): Refusal => ({
    waiting,
    isLedger: false,
    error: new WaybillError('LEDGER_SKIPPED', `${file} is not read: ${why}`),
  });
  // A file that is being made has no tables yet; one that never gets them is somebody else's.
  const notYet = 'it is a SQLite file but no ledger of Waybill; keep other databases in another directory';
  const made = statements.get("select 1 from sqlite_schema where type = 'table' and name = 'waybill_identity'");
  const identity = made && statements.get<Identity>('select service, incarnation, format from waybill_identity');
  if (identity === undefined) return skipped(notYet, true);
  if (identity.service !== service) {
    return skipped(
      `by its name it is the ledger of '${service}', but it was made for '${identity.service}': a copy or a renamed file. Remove it, or give it back its name`,
    );
  }
  if (identity.format > formatNow) {
    const text = `${file}, the ledger of '${service}', has format ${identity.format}, and this Waybill reads up to ${formatNow}: upgrade Waybill here. Its messages wait`;
    return { waiting: false, isLedger: true, error: new WaybillError('STORE_NEWER', text) };
  }
  return identity;
}

/**
 * A reader makes the missing `-shm` and `-wal` with itself as owner, and may thereby lock the publisher out of its own
 * file. So a file of another user is opened only where its group shares it; SQLite then gives the side files its mode.
 */
function refuseStranger(
  file: string,
  service: string,
  { uid, gid, mode }: { readonly uid: bigint; readonly gid: bigint; readonly mode: bigint },
): Refusal | undefined {
  const user = process.geteuid?.();
  if (user === undefined || user === 0 || uid === BigInt(user)) return undefined; // SQLite gives root's side files away
  const shared = (mode & 0o060n) === 0o060n && (process.getgroups?.() ?? []).some((group) => BigInt(group) === gid);
  if (shared) return undefined;
  const text = `${file}, the ledger of '${service}', belongs to another user (${uid}): reading it could lock its owner out. Run all services as one user, or as one group with umask 007 and the directory setgid (mode 2770)`;
  return { waiting: false, isLedger: true, error: new WaybillError('LEDGER_SKIPPED', text) };
}

/**
 * After every process that had the file open has died, the first one to open it brings back commits from the log that
 * no disk has yet. What a subscriber has taken on must not vanish with the next power cut.
 */
function syncLog(file: string): void {
  let handle: number | undefined;
  try {
    handle = openSync(`${file}-wal`, 'r');
    fsyncSync(handle);
  } catch {
    // None there, or (on Windows) not to be synced by a reader.
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

/** The end moved. */
interface Step {
  readonly from: Place;
  readonly to: Place;
  asked: number;
  /** Of its rows; undefined while nobody wanted to know, or where they cannot be told. */
  types: ReadonlySet<string> | undefined;
}

const takenBy = (types: number): string =>
  `(recipient is null or recipient = ?) and type in (${Array.from({ length: types }, () => '?').join(', ')})`;

/** One text per number of types, so that the prepared statement is found by it. */
function perCount(text: (types: number) => string): (types: number) => string {
  const made = new Map<number, string>();
  return (types) => {
    const known = made.get(types);
    if (known !== undefined) return known;
    const fresh = text(types);
    made.set(types, fresh);
    return fresh;
  };
}

const columns = 'position, id, kind, source, type, recipient, key, time, appended';

// By primary key throughout: no index on type or time, so that appending stays one b-tree.
const sql = {
  head: 'select position, id as anchor from waybill_ledger order by position desc limit 1',
  at: 'select position, id as anchor from waybill_ledger where position <= ? order by position desc limit 1',
  anchor: 'select id from waybill_ledger where position = ?',
  types: 'select distinct type from waybill_ledger where position > ? and position <= ?',
  trimmed: 'select trimmed_to from waybill_identity',
  history: `select ${columns}, headers, body from waybill_ledger
     where position > ? and position <= ? and kind = 'event' and type in (select value from json_each(?)) order by position limit ?`,
  timeAt: 'select appended from waybill_ledger where position <= ? order by position desc limit 1',
  window: perCount(
    (types) =>
      `select position, id, nullif(kind, 'event'), nullif(source, ?), type, recipient, key, time, nullif(appended, time),
       nullif(headers, '${usualHeaders}'), iif(position = ?, null, body) from waybill_ledger where position >= ? and position <= ? and (position = ? or ${takenBy(types)}) order by position limit ?`,
  ),
  replies: `select ${columns}, headers, body from waybill_ledger
     where position > ? and position <= ? and recipient = ? and kind = 'reply' order by position limit ${windowRows}`,
  since: 'select position from waybill_ledger where position > ? and position <= ? and appended >= ? order by position limit 1',
  count: perCount(
    (types) => `select count(*) as n from (select 1 from waybill_ledger where position > ? and ${takenBy(types)} limit ?)`,
  ),
  takes: `select 1 from waybill_subscription
     where type = ? and kind = ? and stopped is null and (dropped is null or dropped > ?) limit 1`,
};

function createLedger(options: {
  readonly service: string;
  readonly file: string;
  readonly incarnation: string;
  readonly inode: bigint;
  readonly connection: DatabaseSync;
  readonly statements: Statements;
  readonly nowMs: number;
}): Ledger {
  const { service, file, incarnation, inode, connection, statements } = options;
  const trimmedTo = (): number => statements.get<{ trimmed_to: number }>(sql.trimmed)?.trimmed_to ?? 0;
  const end = (): Place => statements.get<Place>(sql.head) ?? { position: trimmedTo(), anchor: null };
  let head = end();
  const steps: Step[] = [];
  /** Only between two ends of one history: a file that was restored meanwhile is left to those who read. */
  const typesOf = ({ from, to }: Step): ReadonlySet<string> | undefined => {
    if (to.position - from.position > windowPositions) return undefined;
    try {
      if (from.anchor !== null && statements.get<{ id: string }>(sql.anchor, from.position)?.id !== from.anchor) return undefined;
      return new Set(statements.all<{ type: string }>(sql.types, from.position, to.position).map(({ type }) => type));
    } catch {
      return undefined; // whoever reads it tells
    }
  };
  let lookedMs = options.nowMs;

  return {
    service,
    file,
    incarnation,
    get head() {
      return head;
    },
    get lookedMs() {
      return lookedMs;
    },
    look(nowMs) {
      const now = end();
      lookedMs = nowMs;
      if (now.position === head.position && now.anchor === head.anchor) return false;
      if (now.position <= head.position) steps.length = 0;
      else if (steps.push({ from: head, to: now, asked: 0, types: undefined }) > stepsMax) steps.shift();
      head = now;
      return true;
    },
    past({ position, anchor }, types) {
      let at = steps.length - 1;
      while (at >= 0 && (steps[at]!.from.position !== position || steps[at]!.from.anchor !== anchor)) at--;
      if (at < 0) return undefined;
      for (; at < steps.length; at++) {
        const step = steps[at]!;
        if (step.asked++ === readersMin) step.types = typesOf(step);
        if (step.types === undefined || types.some((type) => step.types!.has(type))) return undefined;
      }
      return head;
    },
    replaced: () => statSync(file, { bigint: true, throwIfNoEntry: false })?.ino !== inode,
    trimmedTo,
    placeAt: (position) => statements.get<Place>(sql.at, position) ?? { position: trimmedTo(), anchor: null },
    window(from, to, recipient, types, rowsMax) {
      const values: SqlValue[] = [service, from, from, to, from, recipient, ...types, rowsMax]; // `?1` is a name to Node 22
      return statements.tuples<LedgerTuple>(sql.window(types.length), ...values).map((tuple) => ledgerRow(tuple, service));
    },
    replies: (from, to, address) => statements.all<LedgerRow>(sql.replies, from, to, address),
    firstSince: (from, to, timeMs) => statements.get<{ position: number }>(sql.since, from, to, timeMs)?.position,
    count: (from, recipient, types, max) =>
      statements.get<{ n: number }>(sql.count(types.length), from, recipient, ...types, max)?.n ?? 0,
    history: (from, to, types, rowsMax) =>
      statements.all<LedgerRow>(sql.history, from, to, JSON.stringify(types), rowsMax),
    timeAt: (position) => statements.get<{ appended: number }>(sql.timeAt, position)?.appended,
    takes: (kind, type, droppedAfterMs) => statements.get(sql.takes, type, kind, droppedAfterMs) !== undefined,
    close() {
      if (connection.isOpen) connection.close();
    },
  };
}
