/**
 * What each subscription has taken on. In goes a (subscription, source, id), in the transaction that holds its effect;
 * out comes whether it was new. A row and the effect are there together or not at all, whenever the process dies.
 *
 * Inserting costs one statement per message, no fsync of its own; so does raising a watermark. Trimming costs one read,
 * and one transaction per call that found something.
 */
import type { Host, InboxPort } from '../../contract/store.ts';
import { realignSubscription } from './line.ts';
import { sqliteTransaction } from './port.ts';
import type { SqliteDatabase, Statements } from './port.ts';

// search by primary key, appended at its end where ids rise with time
const insert = 'insert into waybill_inbox (subscription, source, id, time) values (?, ?, ?, ?) on conflict do nothing';

export function createInboxPort(database: SqliteDatabase, { clock }: Host): InboxPort {
  return {
    insert: (tx, subscription, keys) =>
      sqliteTransaction(tx, database).writing((statements) => {
        const nowMs = Math.floor(clock.now());
        return keys.map(({ source, id }) => statements.run(insert, subscription, source, id, nowMs).changes === 1);
      }),

    has: (subscription, { source, id }) =>
      database.read((statements) => {
        // search by primary key
        const sql = 'select 1 from waybill_inbox where subscription = ? and source = ? and id = ?';
        return statements.get(sql, subscription, source, id) !== undefined;
      }),

    sources: (subscription, max) =>
      database.read((statements) => {
        // search by primary key, once for each source
        const sql = 'select source from waybill_inbox where subscription = ? and source > ? order by source limit 1';
        const found: string[] = [];
        for (let last = ''; found.length < max; found.push(last)) {
          const next = statements.get<{ source: string }>(sql, subscription, last);
          if (next === undefined) break;
          last = next.source;
        }
        return found;
      }),

    advance: (tx, { subscription, source, event, key, sequence }) =>
      sqliteTransaction(tx, database).writing((statements) => {
        // search by primary key; the sequence is bound as 64 bits and compared there, never read
        const sql = `insert into waybill_watermark (subscription, source, event, key, sequence) values (?, ?, ?, ?, ?)
          on conflict do update set sequence = excluded.sequence where excluded.sequence > sequence`;
        return statements.run(sql, subscription, source, event, key, sequence).changes === 1;
      }),

    rename: (tx, from, to) =>
      sqliteTransaction(tx, database).writing((statements) => rename(statements, from, to)),

    async trim(beforeMs, max) {
      // search by waybill_inbox_time, in its order: the oldest first; one look into each of the two other tables per row
      const old = await database.read((statements) =>
        statements.all<{ subscription: string; source: string; id: string }>(
          `select subscription, source, id from waybill_inbox as i where time < ?
           and not exists (select 1 from waybill_waiting w where w.id = i.id and w.source = i.source and w.subscription = i.subscription)
           and not exists (select 1 from waybill_failures f where f.id = i.id and f.source = i.source and f.subscription = i.subscription)
           order by time limit ?`,
          beforeMs,
          max,
        ),
      );
      if (old.length === 0) return 0;
      return database.write(({ statements }) => {
        let removed = 0;
        for (const { subscription, source, id } of old) {
          // search by primary key; it may have failed, or come again and been trimmed by another process, since it was read
          const sql = `delete from waybill_inbox as i where subscription = ? and source = ? and id = ? and time < ?
            and not exists (select 1 from waybill_waiting w where w.id = i.id and w.source = i.source and w.subscription = i.subscription)
            and not exists (select 1 from waybill_failures f where f.id = i.id and f.source = i.source and f.subscription = i.subscription)`;
          removed += statements.run(sql, subscription, source, id, beforeMs).changes;
        }
        return removed;
      });
    },
  };
}

/** Once per renamed subscription, over all of its rows: what the new name has already stays. */
function rename(statements: Statements, from: string, to: string): void {
  // search by primary key, subscription only
  statements.run(
    `insert into waybill_inbox (subscription, source, id, time)
     select ?2, source, id, time from waybill_inbox where subscription = ?1 on conflict do nothing`,
    from,
    to,
  );
  statements.run('delete from waybill_inbox where subscription = ?', from);
  statements.run(
    `insert into waybill_watermark (subscription, source, event, key, sequence)
     select ?2, source, event, key, sequence from waybill_watermark where subscription = ?1
     on conflict do update set sequence = excluded.sequence where excluded.sequence > sequence`,
    from,
    to,
  );
  statements.run('delete from waybill_watermark where subscription = ?', from);
  // What waits and what has failed goes along: nobody would ask for it under the old name.
  statements.run('update waybill_waiting set subscription = ?2 where subscription = ?1', from, to);
  statements.run('update waybill_failures set subscription = ?2 where subscription = ?1', from, to);
  realignSubscription(statements, to);
  // search by waybill_saga_key, saga only; what has begun under the new name stays
  statements.run('update or ignore waybill_saga set saga = ?2 where saga = ?1', from, to);
}
