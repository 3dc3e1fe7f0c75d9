/**
 * First results, kept for duplicates. In goes a result, in the transaction that made it; out it comes for the same scope
 * and key until it expires. The transaction is the file's only one, so two of one key never run at once.
 *
 * Finding and saving cost one statement each, in the caller's transaction.
 */
import type { Host, OncePort } from '../../contract/store.ts';
import { sqliteTransaction } from './port.ts';
import type { SqliteDatabase } from './port.ts';
import { wallMs } from './wire.ts';

export function createOncePort(database: SqliteDatabase, { clock }: Host): OncePort {
  return {
    find: (tx, scope, key) =>
      sqliteTransaction(tx, database).writing((statements) => {
        // search by primary key; what has expired is as good as trimmed
        const sql = 'select result, fingerprint from waybill_once where scope = ? and key = ? and expires > ?';
        const found = statements.get<{ result: string; fingerprint: string | null }>(sql, scope, key, clock.now());
        return found && { result: found.result, fingerprint: found.fingerprint ?? undefined };
      }),

    save: (tx, { scope, key, result, fingerprint, retainMs = Infinity }) =>
      sqliteTransaction(tx, database).writing((statements) => {
        const sql = `insert into waybill_once (scope, key, result, fingerprint, expires) values (?, ?, ?, ?, ?)
          on conflict do update set result = excluded.result, fingerprint = excluded.fingerprint, expires = excluded.expires`;
        statements.run(sql, scope, key, result, fingerprint ?? null, wallMs(clock.now() + retainMs));
      }),

    trim: (nowMs, max) =>
      database.write(({ statements }) => {
        // search by waybill_once_expires, ended by limit; then by primary key
        const sql = `delete from waybill_once where (scope, key) in
          (select scope, key from waybill_once where expires <= ? order by expires limit ?)`;
        return statements.run(sql, wallMs(nowMs), max).changes;
      }),
  };
}
