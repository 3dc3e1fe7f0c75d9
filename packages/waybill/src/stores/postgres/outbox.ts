/**
 * The ledger of what this service sent. In go messages, in the caller's transaction; out they come through the relay's
 * lease. A row is never updated: what has been published is told by a saved snapshot (`position.ts`, `reading.ts`). Order
 * per key is commit order when a message is appended after its key was locked. A crash leaves a row or none.
 *
 * Appending costs no fsync of its own, and one statement for any number of messages: in a transaction that Waybill commits
 * with `pg` it travels with COMMIT (`batch.ts`), else it is one round trip. Trimming is one statement per call. One message has
 * a statement without a set to unpack, which the server plans and runs in half the time.
 */
import type { WireMessage } from '../../contract/message.ts';
import type { OutboxPort } from '../../contract/store.ts';
import { Batch } from './batch.ts';
import { elsewhere } from './errors.ts';
import { createHinting, listen } from './hint.ts';
import { Lease } from './lease.ts';
import type { Access, PostgresTransaction } from './port.ts';
import { acquire, isPublished } from './position.ts';
import { leave, openMine } from './wal/open.ts';
import { messageColumns, messageFields, messageJson, messageOf, messageParameters, messageRecord, messageText, messageValues, type MessageRow } from './wire.ts';

interface Added {
  readonly count?: string;
  readonly xid: string;
  readonly positions: string;
}

/** Plan: the primary key's first entry. `pos` alone would be the text, of all rows. */
export const oldestSql = (s: string): string => `select l.pos::text from ${s}.ledger l order by l.pos limit 1`;

export function createOutboxPort(access: Access): OutboxPort {
  const { schema: s, service, sql, clock, signals, in: within } = access;
  const hinting = createHinting(access);
  // Rows of a function in FROM come, and are numbered, in the order of the array. Nothing is inserted where the schema is
  // another service's: a transaction of the user's own may be one on another database.
  const insert = `with added as (
      insert into ${s}.ledger (${messageColumns}) select ${messageFields} from json_to_recordset($1::text::json) as m(${messageRecord})
      where exists (select 1 from ${s}.identity where service = $2::text) returning pos)
    select count(*)::text as count, pg_current_xact_id()::text as xid, string_agg(pos::text, ' ' order by pos) as positions from added`;
  const insertOne = `insert into ${s}.ledger (${messageColumns}) select ${messageParameters}
    where exists (select 1 from ${s}.identity where service = $10::text) returning pos::text as positions, xid::text`;
  const insertOurs = `insert into ${s}.ledger (${messageColumns}) values (${messageParameters}) returning pos::text as positions, xid::text`;

  /** Into what travels with COMMIT; undefined where it has to be run. @returns tells the positions, after the commit */
  const addLate = async (statements: PostgresTransaction, messages: readonly WireMessage[], fresh: string): Promise<(() => readonly number[]) | undefined> => {
    const late = await statements.late();
    if (late === undefined) return undefined;
    if ((late.held as Batch | undefined)?.full === true) await statements.say(late);
    const batch = (late.held as Batch | undefined) ?? new Batch(s, fresh, signals.has('published'));
    const first = batch.add(messages);
    if (late.held === undefined) late.hold(batch);
    return () => batch.positions.slice(first, first + messages.length);
  };

  const addNow = async (statements: PostgresTransaction, messages: readonly WireMessage[]): Promise<() => readonly number[]> => {
    const values = messages.length === 1 ? messageValues(messages[0]!) : [JSON.stringify(messages.map(messageJson))];
    const text = messages.length > 1 ? insert : statements.ours ? insertOurs : insertOne;
    const [added] = await statements.query<Added>(text, text === insertOurs ? values : [...values, service]);
    if (!added || (added.count !== undefined && Number(added.count) !== messages.length)) throw elsewhere(service);
    statements.told(added.xid);
    return () => added.positions.split(' ').map(Number);
  };
  const lockKey = `select '' as locked from pg_advisory_xact_lock(hashtextextended($1::text, 0))`;
  // The oldest rows by primary key. The base stands in the condition: what is not published cannot be removed, no lock is
  // needed, and two that run at once take the same rows.
  const trim = `with p as (select * from ${s}.position order by no desc limit 1),
    gone as (delete from ${s}.ledger l using p
      where l.pos in (select pos from ${s}.ledger order by pos limit $2::text::bigint)
        and l.created_at < clock_timestamp() - $1::text::float8 * interval '1 ms' and p.resume_to is null and ${isPublished} returning 1)
    select count(*)::text as removed from gone`;

  return {
    async append(tx, messages, fresh) {
      if (messages.length === 0) return;
      const statements = within(tx);
      const positions = (fresh !== undefined && (await addLate(statements, messages, fresh))) || (await addNow(statements, messages));
      if (!signals.has('published')) return;
      tx.afterCommit(() => {
        const told = positions();
        messages.forEach(({ id, source, type, key }, i) => signals.emit('published', { id, source, type, key, position: told[i]! }));
      });
    },

    lockKey: async (tx, key) => void (await within(tx).query(lockKey, [`waybill key ${s} ${key}`])),

    hint: hinting,

    async acquire(owner, leaseMs, { log = false, wake = () => {} } = {}) {
      const found = await acquire(sql, s, { owner, leaseMs, clock });
      if (found === undefined) return undefined;
      const hold = { schema: s, clock, owner, leaseMs, ...found };
      if (log) return new Lease(sql, { ...hold, mine: (renew) => openMine(access, wake, renew), closes: () => {} });
      leave(access);
      const listening = listen(access, wake);
      return new Lease(sql, { ...hold, reads: listening.statements, closes: listening.end });
    },

    async trim(beforeMs, max) {
      // by the database's clock: what is asked for is an age
      const [row] = await sql.query<{ removed: string }>(trim, [clock.now() - beforeMs, max]);
      return Number(row!.removed);
    },

    // Primary key in its order, ended by limit: what is published, as the newest position says.
    async history({ types, after, sinceMs, untilMs, max }) {
      const rows = await sql.query<MessageRow & { pos: string }>(
        `select l.pos::text, ${messageText('l')} from ${s}.ledger l, (select * from ${s}.position order by no desc limit 1) p
         where l.pos > $1::text::bigint and l.type = any(select json_array_elements_text($2::text::json)) and ${isPublished}
           and ($3::text is null or l.created_at >= to_timestamp($3::text::float8 / 1000))
           and ($4::text is null or l.created_at < to_timestamp($4::text::float8 / 1000))
         order by l.pos limit $5::text::int`,
        [after ?? 0, JSON.stringify(types), sinceMs ?? null, untilMs ?? null, max + 1],
      );
      const [oldest] = after === undefined ? await sql.query<{ pos: string }>(oldestSql(s)) : [];
      const more = rows.length > max;
      const page = rows.slice(0, max);
      return { messages: page.map(messageOf), next: page.at(-1)?.pos ?? after, more, trimmed: Number(oldest?.pos ?? 1) > 1 };
    },
  };
}
