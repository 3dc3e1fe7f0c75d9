/**
 * First results, kept for duplicates. In goes a result, in the transaction that made it; out it comes for the same scope
 * and key until it expires. An advisory lock on the key, held until the transaction ends, lets one of two come first.
 *
 * Finding costs two statements (the second must see what the one before us committed), saving one.
 */
import type { OncePort } from '../../contract/store.ts';
import type { Access } from './port.ts';
import { dueColumn, dueText } from './waiting.ts';
import { wallMs } from './wire.ts';

/** As far as JavaScript counts. */
const forEver = Number.MAX_SAFE_INTEGER;

export function createOncePort({ schema: s, sql, clock, in: within }: Access): OncePort {
  const lock = `select '' as locked from pg_advisory_xact_lock(hashtextextended($1::text, 0))`;
  // The server's clock: a process whose own is hours off forgets nothing early.
  const now = (parameter: string): string => dueText(`${parameter}::text::bigint`);
  // search by primary key; what has expired is as good as trimmed
  const find = `select result, fingerprint from ${s}.once where scope = $1::text and key = $2::text and expires > ${now('$3')}`;
  const save = `insert into ${s}.once (scope, key, result, fingerprint, expires)
    values ($1::text, $2::text, $3::text, $4::text, case when $5::text is null then ${forEver} else least(${now('$6')} + $5::text::numeric, ${forEver}) end)
    on conflict (scope, key) do update set result = excluded.result, fingerprint = excluded.fingerprint, expires = excluded.expires`;
  // search by once_expires (the clock in a query of its own), ended by limit; then by primary key
  const trim = `with old as (select scope, key from ${s}.once where expires <= (select ${now('$3')} - $1::text::bigint) order by expires limit $2::text::int for update skip locked),
    gone as (delete from ${s}.once o using old where o.scope = old.scope and o.key = old.key returning 1)
    select count(*)::text as removed from gone`;

  return {
    async find(tx, scope, key) {
      const statements = within(tx);
      await statements.query(lock, [`waybill once ${s} ${JSON.stringify([scope, key])}`]);
      const [found] = await statements.query<{ result: string; fingerprint: string | null }>(find, [scope, key, dueColumn('now', clock)]);
      return found && { result: found.result, fingerprint: found.fingerprint ?? undefined };
    },

    async save(tx, { scope, key, result, fingerprint, retainMs }) {
      await within(tx).query(save, [scope, key, result, fingerprint ?? null, retainMs === undefined ? null : String(wallMs(retainMs)), dueColumn('now', clock)]);
    },

    async trim(nowMs, max) {
      const [row] = await sql.query<{ removed: string }>(trim, [Math.round(clock.now() - nowMs), max, dueColumn('now', clock)]);
      return Number(row!.removed);
    },
  };
}
