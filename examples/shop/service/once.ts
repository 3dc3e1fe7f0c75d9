import type { Bus, SqlTransaction } from 'waybill';

/** What a command returns: its result, and whether an earlier request with the same key had already done it. */
export interface Done<R> {
  readonly result: R;
  readonly duplicate: boolean;
}

/**
 * Runs `work` in a transaction; with a key, once for all requests that carry that key. `content` stands for what was asked:
 * the same key with another content is refused (`ONCE_MISMATCH`).
 */
export async function once<R>(
  bus: Bus<SqlTransaction>,
  command: { readonly scope: string; readonly key: string | undefined; readonly content: unknown },
  work: (tx: SqlTransaction) => Promise<R>,
): Promise<Done<R>> {
  if (command.key === undefined) return { result: await bus.transaction(work), duplicate: false };
  return await bus.once(command.scope, command.key, work, { fingerprint: JSON.stringify(command.content) });
}
