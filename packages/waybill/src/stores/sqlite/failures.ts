/**
 * What was given up, with its original bytes. In goes a row, in the transaction that gave up; out it goes in the
 * transaction that retries or deletes it. A failure moves, it is never copied, so a crash leaves it here or there.
 *
 * Adding costs one insert; taking one statement per row.
 */
import { createHash } from 'node:crypto';
import { troubleOf } from '../../contract/failure.ts';
import type { FailedRow, FailureRow, FailuresPort } from '../../contract/store.ts';
import { realign } from './line.ts';
import { sqliteTransaction } from './port.ts';
import type { SqliteDatabase, Statements } from './port.ts';
import { errorOf, errorValues, messageColumns, messageOf, messageValues, wallMs } from './wire.ts';
import type { ErrorRow, MessageRow } from './wire.ts';

const failureColumns = 'error_code, error_message, error_stack, attempts, first_failed, last_failed, holds';
export const failedColumns: string = `row, subscription, ${messageColumns}, ${failureColumns}, fingerprint`;

export interface FailedColumns extends MessageRow, ErrorRow {
  readonly row: number;
  readonly subscription: string | null;
  readonly attempts: number;
  readonly first_failed: number;
  readonly last_failed: number;
  readonly holds: number;
  readonly fingerprint: string;
}

export function createFailuresPort(database: SqliteDatabase): FailuresPort {
  return {
    add: (tx, rows) =>
      sqliteTransaction(tx, database).writing((statements) => {
        for (const row of rows) addFailure(statements, row);
      }),

    take: (tx, rows) =>
      sqliteTransaction(tx, database).writing((statements) => rows.flatMap((row) => takeFailure(statements, row) ?? [])),
  };
}

const insert = `insert into waybill_failures (subscription, ${messageColumns}, ${failureColumns}, fingerprint)
  values (${'?, '.repeat(17)}?)`;

export function addFailure(statements: Statements, row: FailureRow): void {
  const { subscription, message, error, attempts, firstFailedMs, lastFailedMs } = row;
  const holds = row.holds && message.key !== undefined;
  statements.run(
    insert,
    subscription ?? null,
    ...messageValues(message),
    ...errorValues(error),
    attempts,
    wallMs(firstFailedMs),
    wallMs(lastFailedMs),
    holds ? 1 : 0,
    fingerprint(row),
  );
  if (holds) realign(statements, subscription ?? null, message.key);
}

// search by row
const remove = `delete from waybill_failures where row = ? returning ${failedColumns}`;

function takeFailure(statements: Statements, row: number): FailedRow | undefined {
  const taken = statements.get<FailedColumns>(remove, row);
  if (taken === undefined) return undefined;
  if (taken.holds === 1) realign(statements, taken.subscription, taken.key);
  return failedRow(taken);
}

export function failedRow(columns: FailedColumns): FailedRow {
  const { row, subscription, attempts, first_failed, last_failed, holds } = columns;
  return {
    row,
    subscription: subscription ?? undefined,
    message: messageOf(columns),
    error: errorOf(columns)!,
    attempts,
    firstFailedMs: first_failed,
    lastFailedMs: last_failed,
    holds: holds === 1,
  };
}

function fingerprint(row: FailureRow): string {
  return createHash('sha256').update(troubleOf(row)).digest('hex').slice(0, 16);
}
