/**
 * What each subscription has taken on. In goes a (subscription, source, id), in the transaction that holds its effect;
 * out comes whether it was new. A row and the effect are there together or not at all, whenever the process dies.
 *
 * Inserting costs one question per transaction and source, and one statement per 32 messages, held until COMMIT or a
 * savepoint (of ids that do not rise: one per message), no fsync of its own. Raising a watermark costs one statement,
 * trimming one read, and one transaction per call that found something.
 */
import type { Host, InboxPort } from '../../contract/store.ts';
import { realignSubscription } from './line.ts';
import { sqliteTransaction } from './port.ts';
import type { RowWriter, SqliteDatabase, SqliteTransaction, Statements } from './port.ts';

/** Rows to one statement; each costs 0.6 of one alone. */
const insertMax = 32;
/** By the number of rows. */
const inserts: readonly string[] = Array.from(
  { length: insertMax + 1 },
  (_, count) => `insert into waybill_inbox (subscription, source, id, time) values ${Array.from({ length: count }, () => '(?, ?, ?, ?)').join(', ')}`,
);
// search by primary key, appended at its end where ids rise with time
const insert = `${inserts[1]} on conflict do nothing`;
// search by primary key, from its end
const last = 'select max(id) as id from waybill_inbox where subscription = ? and source = ?';

/** SQLite orders by bytes, JavaScript by units of 16 bits: the same, unless both texts differ first beyond ASCII. */
const ascii = /^[ -~]+$/;

interface Taken {
  readonly subscription: string;
  readonly source: string;
  readonly id: string;
  readonly nowMs: number;
}

/** The last id that a subscription has of a source. */
interface End {
  readonly subscription: string;
  readonly source: string;
  id: string;
}

/**
 * Ids of Waybill rise with time, and nobody else writes while a transaction is open. So an id behind the last one of its
 * subscription and source is new: one question per transaction tells that for all of them, and its row may be held and
 * written together with others. Of any other id only its row can tell.
 */
class Ends {
  #tx: SqliteTransaction | undefined;
  readonly #ends = new Map<string, End>();
  /** Most are of the same as the one before. */
  #current: End | undefined;

  /** Whether the id is behind all that are there: then it is the last one. To be called in a transaction that has begun. */
  pass(tx: SqliteTransaction, subscription: string, source: string, id: string): boolean {
    if (this.#tx !== tx) this.#begin(tx);
    let end = this.#current;
    if (end?.source !== source || end.subscription !== subscription) this.#current = end = this.#find(tx, subscription, source);
    if (id <= end.id || !ascii.test(id)) return false;
    end.id = id;
    return true;
  }

  /** A part of it that was undone leaves ends that are too high, never too low. */
  #begin(tx: SqliteTransaction): void {
    this.forget(tx);
    this.#tx = tx;
  }

  forget(tx: SqliteTransaction): void {
    tx.writeHeld(); // what is asked for the ends has to see them
    this.#tx = this.#current = undefined;
    this.#ends.clear();
  }

  #find(tx: SqliteTransaction, subscription: string, source: string): End {
    const name = `${subscription}\n${source}`;
    let end = this.#ends.get(name);
    if (end === undefined) {
      const { id } = tx.statements.get<{ id: string | null }>(last, subscription, source)!;
      this.#ends.set(name, (end = { subscription, source, id: id ?? '' }));
    }
    return end;
  }
}

export function createInboxPort(database: SqliteDatabase, { clock }: Host): InboxPort {
  const ends = new Ends();
  const writer: RowWriter<Taken> = {
    rowsMax: insertMax,
    write(statements, rows) {
      const values = rows.flatMap(({ subscription, source, id, nowMs }) => [subscription, source, id, nowMs]);
      statements.run(inserts[rows.length]!, ...values);
    },
  };

  return {
    insert(tx, subscription, keys) {
      const transaction = sqliteTransaction(tx, database);
      return transaction.writing((statements) => {
        const nowMs = Math.floor(clock.now());
        return keys.map(({ source, id }) => {
          if (ends.pass(transaction, subscription, source, id)) {
            void transaction.hold({ subscription, source, id, nowMs }, writer); // at once: it has begun
            return true;
          }
          transaction.writeHeld();
          return statements.run(insert, subscription, source, id, nowMs).changes === 1;
        });
      });
    },

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
      sqliteTransaction(tx, database).writing((statements) => {
        ends.forget(sqliteTransaction(tx, database));
        rename(statements, from, to);
      }),

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
