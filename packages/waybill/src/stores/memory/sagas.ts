import type { ListedSaga, SagasPort } from '../../contract/store.ts';
import type { Access } from './access.ts';
import { keyOf } from './disk.ts';

const limitDefault = 100;
const limitMax = 1_000;

/** Instances of sagas by (saga, key). Transactions come one at a time: what was loaded is still so when it is saved. */
export function createSagas({ disk, host, writing, write }: Access): SagasPort {
  const committed = (): ListedSaga[] => [...disk.sagas.committed.values()].toSorted((one, other) => one.row - other.row);
  return {
    load: (tx, saga, key) =>
      writing(tx, ({ sagas }) => {
        const found = sagas.get(keyOf(saga, key));
        if (found === undefined) return undefined;
        const { row: _row, ...rest } = found;
        return rest;
      }),

    save: (tx, row) =>
      writing(tx, ({ sagas }) => {
        const there = sagas.get(keyOf(row.saga, row.key));
        if ((there?.revision ?? 0) !== row.revision - 1) return false;
        sagas.set(keyOf(row.saga, row.key), { ...row, startedMs: there?.startedMs ?? row.startedMs, row: there?.row ?? disk.number() });
        return true;
      }),

    awaken: (tx, saga, key, due) =>
      writing(tx, ({ waiting }) => {
        const dueMs = due === 'now' ? host.clock.now() : due;
        for (const row of waiting.rows()) {
          if (row.subscription !== saga || row.message.key !== key || row.error?.code !== 'SAGA_NOT_FOUND') continue;
          waiting.set(row.row, { ...row, dueMs: Math.min(row.dueMs, dueMs) });
        }
      }),

    async list({ saga, key, status, after = 0, limit = limitDefault }) {
      return committed()
        .filter((row) => row.row > after)
        .filter((row) => (saga === undefined || row.saga === saga) && (key === undefined || row.key === key))
        .filter((row) => status === undefined || row.status === status)
        .slice(0, Math.min(Math.max(limit, 0), limitMax));
    },

    async counts() {
      const counted = new Map<string, Pick<ListedSaga, 'saga' | 'version' | 'status'> & { count: number }>();
      for (const { saga, version, status } of committed()) {
        const group = JSON.stringify([saga, version, status]);
        counted.set(group, { saga, version, status, count: (counted.get(group)?.count ?? 0) + 1 });
      }
      return [...counted.values()];
    },

    trim: (beforeMs, max) =>
      write(({ sagas, waiting, failures }) => {
        const needed = new Set<string>();
        for (const { subscription, message, inOrder } of waiting.rows()) if (inOrder) needed.add(keyOf(subscription ?? '', message.key ?? ''));
        for (const { subscription, message, holds } of failures.rows()) if (holds) needed.add(keyOf(subscription ?? '', message.key ?? ''));
        const old = [...sagas.rows()]
          .filter(({ status, changedMs }) => (status === 'completed' || status === 'compensated') && changedMs < beforeMs)
          .filter(({ saga, key }) => !needed.has(keyOf(saga, key)))
          .slice(0, max);
        for (const { saga, key } of old) sagas.delete(keyOf(saga, key));
        return old.length;
      }),
  };
}
