/**
 * What PostgreSQL's errors mean, by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html), never by
 * their text. Errors of statements are thrown on as the client threw them: users know their library's.
 */
import { ConnectionLost } from '../../clients/client/port.ts';
import { isConnectionLost, sqlStateOf } from '../../clients/client/sql-state.ts';
import { WaybillError, type WaybillErrorCode } from '../../contract/errors.ts';

/** The transaction did not happen, through nobody's fault: run it again. */
const again: ReadonlySet<string> = new Set([
  '40001', // serialization_failure
  '40P01', // deadlock_detected
  '55P03', // lock_not_available
]);

/** The store cannot be used now. */
const away: Readonly<Record<string, { readonly code: WaybillErrorCode; readonly next: string }>> = {
  '25006': { code: 'STORE_READONLY', next: 'name the primary, or give the role the right to write' }, // read_only_sql_transaction
  '53100': { code: 'STORE_FULL', next: 'free space on its disk, and work goes on' }, // disk_full
  '53200': { code: 'STORE_UNREACHABLE', next: 'it is out of memory' }, // out_of_memory
  '53300': { code: 'STORE_UNREACHABLE', next: 'raise max_connections, or lower the size of the pools' }, // too_many_connections
  '57P03': { code: 'STORE_UNREACHABLE', next: 'it starts, stops or recovers' }, // cannot_connect_now
};

/** Trouble of the store as WaybillError; every other error (a constraint, a syntax error) as it was thrown. */
export function asStoreError(error: unknown): unknown {
  if (WaybillError.is(error)) return error;
  const meaning = away[sqlStateOf(error) ?? ''];
  if (meaning !== undefined) return storeError(meaning.code, `${textOf(error)}: ${meaning.next}`, error);
  // Lost before COMMIT: nothing of it is committed, so it may run again.
  if (error instanceof ConnectionLost && error.begun) {
    return storeError('STORE_BUSY', 'the connection was lost and with it the transaction, which may be run again', error);
  }
  if (!isConnectionLost(error)) return error;
  return storeError('STORE_UNREACHABLE', `${textOf(error)}: check that the server runs and takes connections`, error);
}

/** The same of a first connection: the server may not let this client in, or be none that this client trusts. */
export function asOpenError(error: unknown): unknown {
  if (!isUnwelcome(error)) return asStoreError(error);
  return storeError('STORE_UNREACHABLE', `${textOf(error)}: check user, password, database and certificates`, error);
}

function isUnwelcome(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (state !== undefined) return state.startsWith('28') || state === '3D000'; // invalid authorization; no such database
  const { code, message } = error as { code?: unknown; message?: unknown };
  return (typeof code === 'string' && tlsCodes.test(code)) || (typeof message === 'string' && message.startsWith('The server does not support SSL'));
}

/** https://nodejs.org/api/tls.html#x509-certificate-error-codes, and those of the handshake. */
const tlsCodes = /^(?:ERR_TLS_|ERR_SSL_|CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_CA|HOSTNAME_MISMATCH)/;

/** A statement of our own in an open transaction failed. */
export function asStatementError(error: unknown): unknown {
  if (WaybillError.is(error) || !isConnectionLost(error)) return error;
  return storeError('STORE_BUSY', 'the connection was lost and with it the transaction, which may be run again', error);
}

function storeError(code: WaybillErrorCode, text: string, cause: unknown): WaybillError {
  return new WaybillError(code, `PostgreSQL: ${text}.`, { cause });
}

/** The innermost text says it; libraries put their own around it. */
function textOf(error: unknown): string {
  const { message, cause } = error as { message?: unknown; cause?: unknown };
  const inner = (cause as { message?: unknown } | undefined)?.message;
  return [inner, message].find((text) => typeof text === 'string' && text !== '') as string | undefined ?? 'no connection';
}

/** A handler may wrap the store's error in its own, and that again. */
const causesMax = 8;

/**
 * `StoreSession.classify`: looks through what libraries and user code wrapped around the database's error. A connection
 * that broke counts only where a statement of this store told of it: a handler's own may be that of a web service.
 */
export function classify(error: unknown): 'retry' | 'down' | 'other' {
  for (let depth = 0, at = error; depth < causesMax && at != null; depth++, at = (at as { cause?: unknown }).cause) {
    if (at instanceof ConnectionLost) return at.begun ? 'retry' : 'down';
    if (!WaybillError.is(at)) continue;
    if (at.code === 'STORE_BUSY') return 'retry';
    if (down.has(at.code)) return 'down';
  }
  const state = sqlStateOf(error) ?? '';
  if (again.has(state)) return 'retry';
  if (away[state] !== undefined) return 'down';
  return state !== '' && isConnectionLost(error) ? 'retry' : 'other';
}

/** `COMMIT_UNKNOWN`: whoever has an inbox row finds out by trying again; nobody else may. */
const down: ReadonlySet<WaybillErrorCode> = new Set(['STORE_FULL', 'STORE_READONLY', 'STORE_UNREACHABLE', 'COMMIT_UNKNOWN']);

/** A transaction of the user's own may be one on any database. */
export function elsewhere(service: string): WaybillError {
  return new WaybillError('NOT_A_TRANSACTION', `This transaction is one of a database that is not ${service}'s: pass one on the bus's own.`);
}
