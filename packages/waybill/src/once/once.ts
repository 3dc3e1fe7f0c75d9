/**
 * Idempotent requests: the first result, kept and returned (G32).
 *
 * In: a scope, a key, and a block of work. Out: what the block returned, or what it returned the first time. Guaranteed:
 * the block's writes and its result commit together, once per key; two that come at once do not both run. A crash before
 * the commit leaves nothing, so the next one runs.
 *
 * Cost: one read and one insert in the block's own transaction.
 */
import type { OnceOptions } from '../contract/api.ts';
import type { Clock } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import { writeJson } from '../contract/json.ts';
import type { StoreSession, StoreTransaction } from '../contract/store.ts';
import { transact } from '../contract/transact.ts';
import { told } from '../contract/told.ts';

const retainDefaultMs = 7 * 86_400_000;
const textMax = 500;

export function createOnce(options: {
  store: StoreSession;
  clock: Clock;
  within: <R>(tx: StoreTransaction, work: () => Promise<R>) => Promise<R>;
}): <R>(scope: string, key: string, work: (tx: unknown) => Promise<R>, how: OnceOptions) => Promise<{ result: R; duplicate: boolean }> {
  const { store, clock } = options;
  return (scope, key, work, how) => {
    checkText('scope', scope);
    checkText('key', key);
    if (how.fingerprint !== undefined) checkText('fingerprint', how.fingerprint);
    if (typeof work !== 'function') throw new WaybillError('INVALID_OPTION', 'once takes a function: once(scope, key, async (tx) => { … })');
    const { retainMs = retainDefaultMs } = how;
    if (!Number.isFinite(retainMs) || retainMs < 0) {
      throw new WaybillError('INVALID_OPTION', `once: retainMs must be a number of milliseconds from 0 on, not ${told(retainMs)}`);
    }
    return transact(
      store,
      clock,
      async (tx) => {
        const found = await store.ports.once.find(tx, scope, key);
        if (found) {
          if (how.fingerprint !== undefined && found.fingerprint !== undefined && found.fingerprint !== how.fingerprint) {
            throw new WaybillError(
              'ONCE_MISMATCH',
              `${scope}: this key was used for another content; a key stands for one request, so send a new one`,
            );
          }
          return { result: parse(found.result), duplicate: true };
        }
        const result = await options.within(tx, () => work(tx.native));
        const json = result === undefined ? '' : writeJson(result, `the result of once('${scope}')`);
        await store.ports.once.save(tx, {
          scope,
          key,
          result: json,
          fingerprint: how.fingerprint,
          retainMs,
        });
        // The first caller gets what a duplicate gets: what JSON keeps of it.
        return { result: parse(json), duplicate: false };
      },
      how.attempts,
    ) as Promise<never>;
  };
}

function parse(json: string): unknown {
  return json === '' ? undefined : JSON.parse(json);
}

function checkText(name: string, value: unknown): void {
  // Two texts with broken Unicode could become one in a database, and so one user's key another's.
  if (typeof value === 'string' && value !== '' && value.length <= textMax && value.isWellFormed() && !value.includes('\0')) return;
  throw new WaybillError('INVALID_OPTION', `once: ${name} must be a string of 1 to ${textMax} characters, well-formed and without NUL`);
}
