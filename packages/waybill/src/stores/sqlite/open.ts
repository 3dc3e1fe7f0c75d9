/**
 * Opening a service's file. In go a path and a service's name; out comes a connection in WAL mode on a file that is this
 * service's, with its tables in the format of this version. Nothing is written before that has been checked. A crash in
 * between leaves a file without Waybill's tables, or with all of them: each migration is one transaction.
 */
import { DatabaseSync } from 'node:sqlite';
import { randomUUID } from 'node:crypto';
import { accessSync, closeSync, constants, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { WaybillError } from '../../contract/errors.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { busy } from './door.ts';
import { asFileError, asStoreError, isBusy } from './errors.ts';
import { formatNow, migrations } from './schema.ts';

/** As long as a start waits for others of its service to finish a transaction or a migration. */
export const openWaitMs = 10_000;
/** The WAL file is cut back to this size when it starts over; SQLite keeps its largest size otherwise. */
const walSizeMax = 16 * 1024 * 1024;

/** SQLite's smallest page. It takes a shorter file, whatever is in it, for an empty one, and would write over it. */
const databaseBytesMin = 512;

export interface Opened {
  readonly writer: DatabaseSync;
  /** The connection of `writer` again for a database in memory. */
  readonly reader: DatabaseSync;
  readonly incarnation: string;
}

export interface OpenOptions {
  /** Absolute path, or `:memory:`. */
  readonly file: string;
  readonly service: string;
  readonly migrate: 'auto' | 'check';
}

/** @throws WaybillError with one of the `STORE_…` codes */
export async function openFile(options: OpenOptions): Promise<Opened> {
  const { file } = options;
  if (file !== ':memory:') preparePath(options);
  const writer = connect(file, false);
  try {
    const incarnation = await prepare(writer, options);
    const reader = file === ':memory:' ? writer : connect(file, true);
    return { writer, reader, incarnation };
  } catch (error) {
    writer.close();
    throw asStoreError(error, file);
  }
}

/** What SQLite would only say as "unable to open database file". */
function preparePath({ file, migrate }: OpenOptions): void {
  try {
    const stats = statSync(file, { throwIfNoEntry: false });
    if (stats === undefined) {
      if (migrate === 'check') throw notMigrated(file, 'the file does not exist');
      mkdirSync(dirname(file), { recursive: true });
      createEmpty(file);
      return;
    }
    if (stats.isDirectory()) {
      throw new WaybillError('STORE_UNREACHABLE', `${file} is a folder: name a file in it, such as ${file}/orders.db.`);
    }
    if (stats.size > 0 && stats.size < databaseBytesMin) {
      throw new WaybillError('STORE_CORRUPT', `${file} is not a SQLite database, nor an empty file: name another one.`);
    }
    accessSync(file, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw asFileError(error, file);
  }
}

/**
 * SQLite would make it with mode 644 at most; so that a group can share it, the umask alone decides here (007 gives 660).
 * Its side files get the same mode from SQLite.
 */
function createEmpty(file: string): void {
  try {
    closeSync(openSync(file, 'wx')); // never opens one that exists: closing that would drop this process's locks on it (POSIX)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // another process was faster
  }
}

function connect(file: string, readOnly: boolean): DatabaseSync {
  try {
    // timeout 0: a synchronous wait for a lock that an asynchronous transaction of this very process holds is a deadlock
    return new DatabaseSync(file, { timeout: 0, readOnly, enableForeignKeyConstraints: true });
  } catch (error) {
    throw asStoreError(error, file);
  }
}

/** Checks whose it is, then turns on WAL, then migrates; returns the incarnation. */
async function prepare(writer: DatabaseSync, options: OpenOptions): Promise<string> {
  const { file, service, migrate } = options;
  const found = await retried(file, () => identity(writer));
  check(found, options);
  await retried(file, () => configure(writer, file));
  if (found?.format === formatNow) return found.incarnation;
  if (migrate === 'check') throw notMigrated(file, `it has format ${found?.format ?? 0}, and this version needs ${formatNow}`);
  await retried(file, () => {
    writer.exec('begin immediate');
    try {
      const current = identity(writer); // another process may have been first
      check(current, options);
      for (const migration of migrations.slice(current?.format ?? 0)) writer.exec(migration);
      writer
        .prepare(
          `insert into waybill_identity (one, service, incarnation, format) values (1, ?, ?, ?)
           on conflict (one) do update set format = excluded.format`,
        )
        .run(service, randomUUID(), formatNow);
      writer.exec('commit');
    } finally {
      if (writer.isTransaction) writer.exec('rollback');
    }
  });
  return identity(writer)!.incarnation;
}

interface Identity {
  readonly service: string;
  readonly incarnation: string;
  readonly format: number;
}

function identity(connection: DatabaseSync): Identity | undefined {
  const table = connection.prepare(`select 1 from sqlite_schema where type = 'table' and name = 'waybill_identity'`).get();
  if (table === undefined) return undefined;
  return connection.prepare('select service, incarnation, format from waybill_identity').get() as Identity | undefined;
}

function check(found: Identity | undefined, { file, service }: OpenOptions): void {
  if (found === undefined) return;
  if (found.service !== service) {
    throw new WaybillError(
      'STORE_FOREIGN',
      `${file} belongs to the service "${found.service}", and this one is "${service}": give each service a file of its own, or set \`service\` right.`,
    );
  }
  if (found.format > formatNow) {
    throw new WaybillError(
      'STORE_NEWER',
      `${file} was written by a newer Waybill (format ${found.format}, this version reads up to ${formatNow}): update the package.`,
    );
  }
}

function configure(writer: DatabaseSync, file: string): void {
  const mode = writer.prepare('pragma journal_mode = wal').get() as { journal_mode: string };
  if (mode.journal_mode !== 'wal' && file !== ':memory:') {
    throw new WaybillError(
      'STORE_UNREACHABLE',
      `${file} cannot be used with a write-ahead log (it stays in mode "${mode.journal_mode}"): put it on a local disk, not on a network file system.`,
    );
  }
  // FULL is no option: with NORMAL five of six power cuts lost what had been acknowledged
  writer.exec(`pragma synchronous = full; pragma journal_size_limit = ${walSizeMax}`);
}

/** Opening meets the locks of others too: a migration, or the switch to WAL at the very first start. */
async function retried<R>(file: string, attempt: () => R): Promise<R> {
  const deadlineMs = performance.now() + openWaitMs;
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error)) throw asStoreError(error, file);
      if (performance.now() > deadlineMs) throw busy(file, openWaitMs);
    }
    await sleep(1 + 2 * Math.random());
  }
}

function notMigrated(file: string, why: string): WaybillError {
  return new WaybillError('STORE_NOT_MIGRATED', `${file}: ${why}: run \`waybill migrate\`, or start once with \`migrate: 'auto'\`.`);
}
