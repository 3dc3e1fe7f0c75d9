/** The directory itself: made when it is missing, and told of when its rights will make trouble later. */
import { accessSync, constants, mkdirSync, realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { WaybillError } from '../../contract/errors.ts';
import type { Logger } from '../../contract/signals.ts';
import { repliesFolder, wakeFolder } from './names.ts';

/**
 * Makes the directory and its `wake` folder, and returns its real path.
 * @throws WaybillError `STORE_READONLY` when this process may not write there, `STORE_UNREACHABLE` when it is no directory
 */
export function prepareDirectory(directory: string, logger: Logger): string {
  const path = resolve(directory);
  try {
    mkdirSync(wakeFolder(path), { recursive: true });
    mkdirSync(repliesFolder(path), { recursive: true });
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unusable(path, error as NodeJS.ErrnoException);
  }
  warnOfStrangers(path, logger);
  return realpathSync(path);
}

function unusable(path: string, error: NodeJS.ErrnoException): WaybillError {
  const isRight = error.code === 'EACCES' || error.code === 'EPERM' || error.code === 'EROFS';
  const next = isRight
    ? 'let all services run as one user, or as one group with umask 007 and the directory setgid (chmod 2770)'
    : 'name a directory on a local disk, to which all services of this machine have access';
  return new WaybillError(
    isRight ? 'STORE_READONLY' : 'STORE_UNREACHABLE',
    `the directory ${path} cannot be used by the SQLite transport (${error.message}): ${next}`,
    { cause: error },
  );
}

/** Whoever reads a ledger makes its side files when nobody has it open, as their owner: two users lock each other out. */
function warnOfStrangers(path: string, logger: Logger): void {
  const user = process.geteuid?.();
  if (user === undefined) return; // Windows
  const { uid, mode } = statSync(path);
  const isShared = (mode & 0o2060) === 0o2060;
  if (uid === user || (isShared && user !== 0)) return;
  logger.warn(
    { directory: path, owner: uid, user },
    'the directory belongs to another user: files made here may lock others out; run all services as one user, or as one group with umask 007 and the directory setgid (chmod 2770)',
  );
}
