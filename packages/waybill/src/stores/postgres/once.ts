/**
 * First results, kept for duplicates. In goes a result, in the transaction that made it; out it comes for the same scope
 * and key until it expires. An advisory lock on the key, held until the transaction ends, lets one of two come first.
 *
 * Finding costs two statements (the second must see what the one before us committed), saving one.
 */
import type { OncePort } from '../../contract/store.ts';
import type { Access } from './port.ts';
import { wallMs } from './wire.ts';

export function createOncePort({ schema: s, sql, clock, in: within }: Access): OncePort {
  const lock = `select '' as locked from pg_advisory_xact_lock(hashtextextended($1::text, 0))`;
  // search by primary key; what has expired is as good as trimmed
  const find = `select result, fingerprint from ${s}.once where scope = $1::text and key = $2::text and expires > $3::text::bigint`;
  const save = `insert into ${s}.once (scope, key, result, fingerprint, expires)
    values ($1::text, $2::text, $3::text, $4::text, $5::text::bigint)
    on conflict (scope, key) do update set result = excluded.result, fingerprint = excluded.fingerprint, expires = excluded.expires`;
  // search by once_expires, ended by limit; then by primary key
  const trim = `with old as (select scope, key from ${s}.once where expires <= $1::text::bigint order by expires limit $2::text::int for update skip locked),
    gone as (delete from ${s}.once o using old where o.scope = old.scope and o.key = old.key returning 1)
    select count(*)::text as removed from gone`;

  return {
    async find(tx, scope, key) {
      const statements = within(tx);
      await statements.query(lock, [`waybill once ${s} ${JSON.stringify([scope, key])}`]);
      const [found] = await statements.query<{ result: string; fingerprint: string | null }>(find, [scope, key, wallMs(clock.now())]);
      return found && { result: found.result, fingerprint: found.fingerprint ?? undefined };
    },

    async save(tx, { scope, key, result, fingerprint, expiresMs }) {
      await within(tx).query(save, [scope, key, result, fingerprint ?? null, wallMs(expiresMs)]);
    },

    async trim(nowMs, max) {
      const [row] = await sql.query<{ removed: string }>(trim, [wallMs(nowMs), max]);
      return Number(row!.removed);
    },
  };
}
