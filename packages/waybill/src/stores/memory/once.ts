import type { OncePort } from '../../contract/store.ts';
import type { Access } from './access.ts';
import { keyOf } from './disk.ts';

/** First results by (scope, key). Transactions come one at a time, so whoever finds nothing is alone until it commits. */
export function createOnce({ host, writing, write }: Access): OncePort {
  return {
    find: (tx, scope, key) =>
      writing(tx, ({ once }) => {
        const found = once.get(keyOf(scope, key));
        if (found === undefined || found.expiresMs <= host.clock.now()) return undefined; // as good as trimmed
        return { result: found.result, fingerprint: found.fingerprint };
      }),
    save: (tx, { scope, key, result, fingerprint, retainMs = Infinity }) =>
      writing(tx, ({ once }) => once.set(keyOf(scope, key), { result, fingerprint, expiresMs: host.clock.now() + retainMs })),
    trim: (nowMs, max) =>
      write(({ once }) => {
        const expired = [...once.committed].filter(([, { expiresMs }]) => expiresMs <= nowMs).slice(0, max);
        for (const [key] of expired) once.delete(key);
        return expired.length;
      }),
  };
}
