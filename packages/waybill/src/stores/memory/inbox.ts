import type { InboxPort, WaitingRow, FailedRow } from '../../contract/store.ts';
import type { Access } from './access.ts';
import { keyOf } from './disk.ts';

/** What was taken on, by (subscription, source, id), and the watermarks by (subscription, source, event, key). */
export function createInbox({ disk, host, writing, write }: Access): InboxPort {
  return {
    insert: (tx, subscription, keys) =>
      writing(tx, ({ inbox }) =>
        keys.map(({ source, id }) => {
          const key = keyOf(subscription, source, id);
          if (inbox.get(key) !== undefined) return false;
          inbox.set(key, { subscription, source, id, atMs: host.clock.now() });
          return true;
        }),
      ),

    has: async (subscription, { source, id }) => disk.inbox.committed.has(keyOf(subscription, source, id)),

    sources: async (subscription, max) =>
      [...new Set([...disk.inbox.committed.values()].filter((row) => row.subscription === subscription).map(({ source }) => source))].slice(0, max),

    advance: (tx, mark) =>
      writing(tx, ({ watermarks }) => {
        const key = keyOf(mark.subscription, mark.source, mark.event, mark.key);
        const reached = watermarks.get(key);
        if (reached !== undefined && reached.sequence >= mark.sequence) return false;
        watermarks.set(key, mark);
        return true;
      }),

    rename: (tx, from, to) =>
      writing(tx, ({ inbox, watermarks, waiting, failures, sagas }) => {
        if (from === to) return;
        for (const row of [...inbox.rows()].filter(({ subscription }) => subscription === from)) {
          inbox.delete(keyOf(from, row.source, row.id));
          inbox.set(keyOf(to, row.source, row.id), { ...row, subscription: to });
        }
        for (const mark of [...watermarks.rows()].filter(({ subscription }) => subscription === from)) {
          watermarks.delete(keyOf(from, mark.source, mark.event, mark.key));
          const key = keyOf(to, mark.source, mark.event, mark.key);
          const there = watermarks.get(key);
          if (there === undefined || there.sequence < mark.sequence) watermarks.set(key, { ...mark, subscription: to });
        }
        // What waits and what has failed goes along: nobody would ask for it under the old name.
        for (const row of waiting.rows()) if (row.subscription === from) waiting.set(row.row, { ...row, subscription: to });
        for (const row of failures.rows()) if (row.subscription === from) failures.set(row.row, { ...row, subscription: to });
        for (const row of [...sagas.rows()].filter(({ saga }) => saga === from)) {
          if (sagas.get(keyOf(to, row.key)) !== undefined) continue; // what has begun under the new name stays
          sagas.delete(keyOf(from, row.key));
          sagas.set(keyOf(to, row.key), { ...row, saga: to });
        }
      }),

    trim: (beforeMs, max) =>
      write(({ inbox, waiting, failures }) => {
        const rowKey = ({ subscription, message }: WaitingRow | FailedRow): string =>
          keyOf(subscription ?? '', message.source, message.id);
        const needed = new Set([...[...waiting.rows()].map(rowKey), ...[...failures.rows()].map(rowKey)]);
        let removed = 0;
        for (const { subscription, source, id, atMs } of inbox.rows()) {
          const key = keyOf(subscription, source, id);
          if (removed === max || atMs >= beforeMs || needed.has(key)) continue;
          inbox.delete(key);
          removed++;
        }
        return removed;
      }),
  };
}
