/**
 * What SQLite's errors mean. Only the primary result code counts (`errcode & 0xff`), never the text: extended codes are
 * refinements of it (https://sqlite.org/rescode.html).
 */
import { WaybillError } from '../../contract/errors.ts';
import type { WaybillErrorCode } from '../../contract/errors.ts';

/** Primary result codes that say something about the store, not about the statement. */
const trouble: Readonly<Record<number, { readonly code: WaybillErrorCode; readonly next: string }>> = {
  5: { code: 'STORE_BUSY', next: 'another connection holds its lock; the transaction may be run again' }, // BUSY
  8: { code: 'STORE_READONLY', next: 'give the process the right to write the file, its -wal and -shm, and its folder' }, // READONLY
  10: { code: 'STORE_UNREACHABLE', next: 'the disk refuses; see its log' }, // IOERR
  11: { code: 'STORE_CORRUPT', next: 'stop, keep a copy, and restore a backup' }, // CORRUPT
  13: { code: 'STORE_FULL', next: 'the disk is full; free space, and work goes on' }, // FULL
  14: { code: 'STORE_UNREACHABLE', next: 'check that its folder exists and may be written' }, // CANTOPEN
  15: { code: 'STORE_BUSY', next: 'another connection holds its lock; the transaction may be run again' }, // PROTOCOL: lost the race for the WAL's locks
  26: { code: 'STORE_CORRUPT', next: 'it is not a SQLite database; name another file' }, // NOTADB
};

/** The primary result code of an error of `node:sqlite`, else undefined. */
export function resultCode(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return undefined;
  return typeof error.errcode === 'number' ? error.errcode & 0xff : undefined;
}

export function isBusy(error: unknown): boolean {
  const code = resultCode(error);
  return code === 5 || code === 15;
}

/** Trouble of the store as WaybillError; every other error (a constraint, a syntax error) as it was thrown. */
export function asStoreError(error: unknown, file: string): unknown {
  const meaning = trouble[resultCode(error) ?? -1];
  if (meaning === undefined) return error;
  return new WaybillError(meaning.code, `${file}: ${(error as Error).message}: ${meaning.next}.`, { cause: error });
}

/** A failed call of `node:fs` on the way to the file. */
export function asFileError(error: unknown, file: string): unknown {
  const { code, message, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  const meaning: WaybillErrorCode =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'STORE_FULL'
      : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
        ? 'STORE_READONLY'
        : 'STORE_UNREACHABLE';
  const next = meaning === 'STORE_READONLY' ? 'give the process the right to write there' : 'check the path';
  return new WaybillError(meaning, `The store ${file} cannot be opened: ${message}; ${next}, or name another file.`, {
    cause: error,
  });
}

/** A handler may wrap the store's error in its own, and that again. */
const causesMax = 8;

/** `StoreSession.classify`: looks through what user code wrapped around the store's error. */
export function classify(error: unknown): 'retry' | 'down' | 'other' {
  for (let depth = 0, at = error; depth < causesMax && at != null; depth++, at = (at as { cause?: unknown }).cause) {
    if (!WaybillError.is(at)) continue;
    if (at.code === 'STORE_BUSY') return 'retry';
    if (down.has(at.code)) return 'down';
  }
  return 'other';
}
const down: ReadonlySet<WaybillErrorCode> = new Set([
  'STORE_FULL',
  'STORE_READONLY',
  'STORE_UNREACHABLE',
  'STORE_CORRUPT',
  'COMMIT_UNKNOWN', // never of its own: what user code wraps may be another database's
]);
