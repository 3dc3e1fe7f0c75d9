/**
 * What was given up, with its original bytes. In goes a row, in the transaction that gave up; out it goes in the
 * transaction that retries or deletes it. A failure moves, it is never copied, so a crash leaves it here or there.
 *
 * Adding and taking cost one statement each for any number of rows; where keys are held, two more.
 */
import { createHash } from 'node:crypto';
import { troubleOf } from '../../contract/failure.ts';
import type { FailedRow, FailureRow, FailuresPort } from '../../contract/store.ts';
import { lockLines, realign, type Place } from './line.ts';
import type { Access } from './port.ts';
import {
  errorJson, errorOf, errorRecord, errorText, messageColumns, messageFields, messageJson, messageOf, messageRecord, messageText, plainText,
  subscriptionColumn, subscriptionOf, wallMs, type ErrorRow, type MessageRow,
} from './wire.ts'; // prettier-ignore

const failureColumns = 'error_code, error_message, error_stack, attempts, first_failed, last_failed, holds, fingerprint';
/** Out of the table `f`. */
export const failedText: string = `f.row::text, f.subscription, ${messageText('f')}, ${errorText('f')}, f.attempts::text,
  f.first_failed::text as first, f.last_failed::text as last, f.holds::text`;

export interface FailedColumns extends MessageRow, ErrorRow {
  readonly row: string;
  readonly subscription: string;
  readonly attempts: string;
  readonly first: string;
  readonly last: string;
  readonly holds: string;
}

/** `… select … from json_to_recordset(parameter)`: also part of the relay's own statement. */
export function failureInsert(s: string, parameter: string): string {
  return `insert into ${s}.failures (position, subscription, ${messageColumns}, ${failureColumns})
    select m.position, m.subscription, ${messageFields}, m.error_code, m.error_message, m.error_stack, m.attempts, m.first_failed, m.last_failed,
      m.holds, m.fingerprint
    from json_to_recordset(${parameter}::text::json) as m(position bigint, subscription text, ${messageRecord}, ${errorRecord}, attempts int,
      first_failed bigint, last_failed bigint, holds boolean, fingerprint text)`;
}

/** @param position of what could not be sent, in the ledger */
export function failureJson(row: FailureRow, position?: number): object {
  return {
    position: position ?? null,
    subscription: subscriptionColumn(row.subscription),
    ...messageJson(row.message),
    ...errorJson(row.error),
    attempts: row.attempts,
    first_failed: wallMs(row.firstFailedMs),
    last_failed: wallMs(row.lastFailedMs),
    holds: holdsKey(row),
    fingerprint: fingerprint(row),
  };
}

export function createFailuresPort({ schema: s, in: within }: Access): FailuresPort {
  const insert = failureInsert(s, '$1');
  // search by row
  const remove = `delete from ${s}.failures f using json_array_elements_text($1::text::json) as r(row) where f.row = r.row::bigint
    returning ${failedText}`;

  return {
    async add(tx, rows) {
      if (rows.length === 0) return;
      const statements = within(tx);
      const places = rows.filter(holdsKey).map(placeOf);
      await lockLines(statements, s, places);
      await statements.query(insert, [JSON.stringify(rows.map((row) => failureJson(row)))]);
      await realign(statements, s, places);
    },

    async take(tx, rows) {
      if (rows.length === 0) return [];
      const statements = within(tx);
      const taken = (await statements.query<FailedColumns>(remove, [JSON.stringify([...new Set(rows)])])).map(failedRow);
      const places = taken.filter(({ holds }) => holds).map(placeOf);
      await lockLines(statements, s, places);
      await realign(statements, s, places);
      return taken;
    },
  };
}

function holdsKey({ holds, message }: FailureRow): boolean {
  return holds && message.key !== undefined;
}

function placeOf({ subscription, message }: FailureRow): Place {
  return { subscription: subscriptionColumn(subscription), key: message.key! };
}

export function failedRow(columns: FailedColumns): FailedRow {
  const { row, subscription, attempts, first, last, holds } = columns;
  return {
    row: Number(row),
    subscription: subscriptionOf(subscription),
    message: messageOf(columns),
    error: errorOf(columns)!,
    attempts: Number(attempts),
    firstFailedMs: Number(first),
    lastFailedMs: Number(last),
    holds: holds === 'true',
  };
}

function fingerprint(row: FailureRow): string {
  return createHash('sha256').update(plainText(troubleOf(row))).digest('hex').slice(0, 16);
}
