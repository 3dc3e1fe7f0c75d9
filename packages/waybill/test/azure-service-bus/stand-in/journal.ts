/** Keeps entities and messages in a SQLite file, so that the stand-in can be killed and started again; or nowhere. */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import rhea, { type Message } from 'rhea';
import type { Stored } from './entity.ts';

export interface Journal {
  save(path: string, stored: Stored): void;
  remove(path: string, seq: number): void;
  saveSession(path: string, id: string, state: Buffer | null): void;
  saveEntity(path: string, kind: EntityKind, settings: object): void;
  removeEntity(path: string): void;
  entities(): { path: string; kind: EntityKind; settings: any }[];
  messages(path: string): Stored[];
  sessions(path: string): { id: string; state: Buffer | null }[];
  lastSeq(): number;
  close(): void;
}

export type EntityKind = 'topic' | 'queue' | 'subscription';

export const nowhere: Journal = {
  save() {},
  remove() {},
  saveSession() {},
  saveEntity() {},
  removeEntity() {},
  entities: () => [],
  messages: () => [],
  sessions: () => [],
  lastSeq: () => 0,
  close() {},
};

export function fileJournal(file: string): Journal {
  const database = new DatabaseSync(file);
  database.exec(`
    pragma journal_mode = wal;
    pragma synchronous = normal; -- survives the death of the process, which is what tests do to it
    create table if not exists entity (path text primary key, kind text, settings text);
    create table if not exists message (path text, seq integer, enqueued integer, state text, count integer, source text, body blob, primary key (path, seq));
    create table if not exists mark (one integer primary key check (one = 1), seq integer); -- numbers are never given twice
    insert or ignore into mark values (1, 0);
    create table if not exists session (path text, id text, state blob, primary key (path, id));
  `);
  const statement = (sql: string): StatementSync => database.prepare(sql);
  const save = statement('insert or replace into message (path, seq, enqueued, state, count, source, body) values (?, ?, ?, ?, ?, ?, ?)');
  const mark = statement('update mark set seq = ? where seq < ?');
  const remove = statement('delete from message where path = ? and seq = ?');
  const saveSession = statement('insert or replace into session (path, id, state) values (?, ?, ?)');
  const saveEntity = statement('insert or replace into entity (path, kind, settings) values (?, ?, ?)');
  const all = <T>(sql: string, ...values: string[]): T[] => statement(sql).all(...values) as T[];
  return {
    save(path, { seq, enqueuedMs, state, count, deadLetterSource, message }) {
      mark.run(seq, seq);
      save.run(path, seq, enqueuedMs, state, count, deadLetterSource ?? null, rhea.message.encode(message));
    },
    remove: (path, seq) => void remove.run(path, seq),
    saveSession: (path, id, state) => void saveSession.run(path, id, state),
    saveEntity: (path, kind, settings) => void saveEntity.run(path, kind, JSON.stringify(settings)),
    removeEntity(path) {
      for (const table of ['entity', 'message', 'session']) {
        statement(`delete from ${table} where path = ? or path like ? || '/%'`).run(path, path);
      }
    },
    entities: () =>
      all<{ path: string; kind: EntityKind; settings: string }>('select path, kind, settings from entity order by rowid').map((row) => ({
        ...row,
        settings: JSON.parse(row.settings),
      })),
    messages: (path) =>
      all<any>('select * from message where path = ? order by seq', path).map(
        (row): Stored => ({
          seq: row.seq,
          enqueuedMs: row.enqueued,
          state: row.state,
          count: row.count,
          deadLetterSource: row.source ?? undefined,
          message: rhea.message.decode(Buffer.from(row.body)) as unknown as Message,
        }),
      ),
    sessions: (path) =>
      all<any>('select id, state from session where path = ?', path).map(({ id, state }) => ({
        id,
        state: state === null ? null : Buffer.from(state),
      })),
    lastSeq: () => all<{ seq: number }>('select seq from mark')[0]!.seq,
    close: () => database.close(),
  };
}
