import type { OncePort } from '../../contract/store.ts';
import type { Access } from './access.ts';
import { keyOf } from './disk.ts';

/** First results by (scope, key). Transactions come one at a time, so whoever finds nothing is alone until it commits. */
export function createOnce({ writing, write }: Access): OncePort {
  return {
    find: (tx, scope, key) => writing(tx, ({ once }) => once.get(keyOf(scope, key))),
    save: (tx, { scope, key, ...result }) => writing(tx, ({ once }) => once.set(keyOf(scope, key), result)),
    trim: (nowMs, max) =>
      write(({ once }) => {
        const expired = [...once.committed].filter(([, { expiresMs }]) => expiresMs <= nowMs).slice(0, max);
        for (const [key] of expired) once.delete(key);
        return expired.length;
      }),
  };
}
