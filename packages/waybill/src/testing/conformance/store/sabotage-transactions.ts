/** For every case of transactions and SQL a driver that breaks its promise. */
import { WaybillError } from '../../../contract/errors.ts';
import type { InboxKey, StoreSession, StoreTransaction } from '../../../contract/store.ts';
import { instead } from '../sabotage.ts';
import { broken, type Breakage, type StoreSabotage } from './broken.ts';

export const transactionSabotages: readonly StoreSabotage[] = [
  broken('forgets what it committed', 'what a transaction wrote is there when it has ended, and it gives what its work gave', () => ({
    inbox: () => ({ has: async () => false }),
  })),
  broken('does not give what the work gave', 'what a transaction wrote is there when it has ended, and it gives what its work gave', () => ({
    session: (honest) => ({ transaction: (work, options) => honest.transaction(work, options).then(() => undefined as never) }),
  })),
  broken('commits when the work throws', 'a transaction that throws leaves nothing, and throws what its work threw', commitsAnyway),
  broken('throws an error of its own', 'a transaction that throws leaves nothing, and throws what its work threw', () => ({
    session: (honest) => ({
      transaction: (work, options) =>
        honest.transaction(work, options).catch((cause: unknown) => {
          throw new Error('the transaction failed', { cause });
        }),
    }),
  })),
  broken('lets readers see what is not committed', 'a reader never sees what is not committed', readsUncommitted),
  broken('lets other sessions see what is not committed', 'another session sees a transaction once it is committed, and not before', readsUncommitted),
  broken('has no savepoints', 'a savepoint that throws undoes its own writes and no others', noSavepoints),
  broken('undoes only the inner of nested savepoints', 'savepoints nest: an outer one takes its inner ones along', () => {
    let depth = 0;
    return {
      tx: (honest) => ({
        async savepoint(work) {
          depth++;
          try {
            return depth === 1 ? await work(honest.native) : await honest.savepoint(work);
          } finally {
            depth--;
          }
        },
      }),
    };
  }),
  broken('begins at once although it is asked to be lazy', 'a lazy transaction holds nothing until its first statement', () => ({
    session: (honest) => ({ transaction: (work, options) => honest.transaction(work, { ...options, lazy: false }) }),
  })),
  broken('runs onBegin before the work', 'onBegin runs once, in the transaction, before the statement that began it', beginsFirst),
  broken('swallows what onBegin throws', 'when onBegin throws the statement does too, and nothing is committed even if the work goes on', () => ({
    session: (honest) => ({
      transaction: (work, { onBegin, ...options } = {}) =>
        honest.transaction(work, {
          ...options,
          async onBegin(tx) {
            try {
              await onBegin?.(tx);
            } catch {}
          },
        }),
    }),
  })),
  broken('begins although there is no statement', 'a lazy transaction without a statement begins nothing', beginsFirst),
  broken(
    'runs onBegin inside the first savepoint',
    'what onBegin wrote stays when the savepoint around the first statement is undone',
    () => ({
      session: (honest) => ({
        transaction: (work, { onBegin, ...options } = {}) =>
          honest.transaction(
            (tx) =>
              work(
                instead(tx, {
                  savepoint: (inside) =>
                    tx.savepoint(async (native) => {
                      await onBegin?.(tx);
                      return inside(native);
                    }),
                }),
              ),
            options,
          ),
      }),
    }),
  ),
  broken('runs afterCommit before the commit', 'afterCommit runs when the commit is done, in order, and never after a rollback', () => ({
    tx: () => ({ afterCommit: (fn) => fn() }),
  })),
  broken('runs afterCommit after a rollback too', 'afterCommit runs when the commit is done, in order, and never after a rollback', () =>
    ownHooks(async (ended, hooks) => {
      await ended.catch(() => {});
      for (const fn of hooks) fn();
      return ended;
    }),
  ),
  broken('keeps the afterCommit of an undone savepoint', 'what a savepoint undid runs nothing after the commit', () =>
    ownHooks(async (ended, hooks) => {
      await ended;
      for (const fn of hooks) fn();
      return ended;
    }),
  ),
  broken('lets the error of an afterCommit through', 'an afterCommit that throws harms nobody, and is reported', () =>
    ownHooks(async (ended, hooks) => {
      await ended;
      for (const fn of hooks) fn();
      return ended;
    }),
  ),
  broken('hides the error of an afterCommit', 'an afterCommit that throws harms nobody, and is reported', () =>
    ownHooks(async (ended, hooks) => {
      await ended;
      for (const fn of hooks) {
        try {
          fn();
        } catch {}
      }
      return ended;
    }),
  ),
  broken('loses what is written through join', 'join finds the open transaction behind what user code was given', () => {
    const joined = new Set<StoreTransaction>();
    return {
      session: (honest) => ({
        join(native) {
          const tx = honest.join(native);
          joined.add(tx);
          return tx;
        },
      }),
      inbox: (honest) => ({
        insert: (tx, subscription, keys) => (joined.has(tx) ? keys.map(() => true) : honest.insert(tx, subscription, keys)),
      }),
    };
  }),
  broken('joins anything', 'join refuses what is no open transaction', () => ({
    session: () => ({ join: (native) => native as StoreTransaction }),
  })),
  broken('joins the transactions of others', 'join refuses a transaction of another session', () => {
    const open = new Map<unknown, StoreTransaction>();
    return {
      tx(honest) {
        open.set(honest.native, honest);
        return {};
      },
      session: (honest) => ({ join: (native) => open.get(native) ?? honest.join(native) }),
    };
  }),
  broken('writes by itself once the transaction is over', 'a transaction that is over takes no more writes', () => ({
    inbox: (honest, session) => ({
      async insert(tx, subscription, keys) {
        try {
          return await honest.insert(tx, subscription, keys);
        } catch {
          return session.transaction((own) => honest.insert(own, subscription, keys));
        }
      },
    }),
  })),
  broken('loses a write now and then', 'transactions at once all take effect, each as a whole', () => {
    let writes = 0;
    return { outbox: (honest) => ({ append: (tx, messages) => (++writes % 10 === 0 ? undefined : honest.append(tx, messages)) }) };
  }),
  broken('knows only what its own session wrote', 'transactions of several sessions at once all take effect', () => {
    const own = new Map<StoreSession, Set<string>>();
    return {
      outbox: (honest, session) => ({
        append(tx, messages) {
          own.set(session, new Set([...(own.get(session) ?? []), ...messages.map(({ id }) => id)]));
          return honest.append(tx, messages);
        },
      }),
      inspect: (honest, session) => ({
        outbox: async (page) => (await honest.outbox(page)).filter(({ id }) => own.get(session)?.has(id)),
      }),
    };
  }),
  broken('waits for its turn for ever', 'a transaction that cannot have its turn gives up with STORE_BUSY, and may be run again', () => ({
    session: (honest) => ({
      async transaction(work, options) {
        for (;;) {
          try {
            return await honest.transaction(work, options);
          } catch (error) {
            if (!WaybillError.is(error, 'STORE_BUSY')) throw error;
          }
        }
      },
    }),
  })),
  broken('blames nobody', 'errors are told apart: run again, cannot be used now, not its doing', () => ({
    session: () => ({ classify: () => 'other' }),
  })),
  broken('lets any service in', 'a store belongs to one service', () => ({
    world: (honest) => ({ open: (as) => honest.open({ ...as, service: 'basket' }) }),
  })),
  broken('forgets with the session', 'what was committed outlives the session', () => ({
    inbox: (honest) => {
      const own = new Set<string>();
      return {
        insert(tx, subscription, keys) {
          for (const key of keys) own.add(text(subscription, key));
          return honest.insert(tx, subscription, keys);
        },
        has: async (subscription, key) => own.has(text(subscription, key)),
      };
    },
  })),
  broken('stays open', 'a session that was closed takes no transaction, and closing it twice is harmless', () => ({
    session: () => ({ close: async () => {} }),
  })),
  broken('makes its tables when it is only to check', "with migrate: 'check' missing tables are told of, and none are made", () => ({
    world: (honest) => ({ open: (as) => honest.open({ ...as, migrate: 'auto' }) }),
  })),

  // SQL
  broken("loses the user's writes", "the user's writes and Waybill's commit together", () => ({
    world: (honest) => ({ query: async (native, sql, values) => (sql.startsWith('insert') ? [] : honest.query!(native, sql, values)) }),
  })),
  broken("commits the user's writes although the work threw", "the user's writes and Waybill's are undone together", commitsAnyway),
  broken("keeps the user's writes of a savepoint that threw", "a savepoint that throws undoes the user's writes in it, and the transaction goes on", noSavepoints),
  broken('changes text on its way', 'values come back as they went in, by numbered placeholder', () => ({
    world: (honest) => ({
      query: (native, sql, values = []) =>
        honest.query!(native, sql, values.map((value) => (typeof value === 'string' ? value.toUpperCase() : value))),
    }),
  })),
  broken('lets the user commit', 'the user may not begin or end transactions by hand', () => swallowing('INVALID_SQL')),
  broken('ignores late statements', 'a statement after the end of its transaction is refused', () => swallowing('NOT_A_TRANSACTION')),
  broken("begins before the user's first statement", "the user's first statement begins a lazy transaction", beginsFirst),
  broken('pretends to have tables', 'a store without tables of users says so', () => ({
    tx: () => ({ native: { query: async () => ({ rows: [], rowCount: 0 }) } }),
  })),
];

function commitsAnyway(): Breakage {
  return {
    session: (honest) => ({
      async transaction(work, options) {
        let thrown: { readonly error: unknown } | undefined;
        const result = await honest.transaction(async (tx) => {
          try {
            return await work(tx);
          } catch (error) {
            thrown = { error };
            return undefined as never;
          }
        }, options);
        if (thrown) throw thrown.error;
        return result;
      },
    }),
  };
}

/** Also what is undone later. */
export function readsUncommitted(): Breakage {
  const written = new Set<string>();
  return {
    inbox: (honest) => ({
      insert(tx, subscription, keys) {
        for (const key of keys) written.add(text(subscription, key));
        return honest.insert(tx, subscription, keys);
      },
      has: async (subscription, key) => written.has(text(subscription, key)) || honest.has(subscription, key),
    }),
  };
}

/** Whoever comes while a transaction is open gets that one. */
export function letsEverybodyIn(): Breakage {
  let open: StoreTransaction | undefined;
  return {
    session: (honest: StoreSession) => ({
      async transaction(work, options) {
        if (open !== undefined) return work(open);
        return honest.transaction(async (tx) => {
          open = tx;
          try {
            return await work(tx);
          } finally {
            open = undefined;
          }
        }, options);
      },
    }),
  };
}

function noSavepoints(): Breakage {
  return { tx: (honest) => ({ savepoint: async (work) => work(honest.native) }) };
}

function beginsFirst(): Breakage {
  return {
    session: (honest) => ({
      transaction: (work, { onBegin } = {}) =>
        honest.transaction(async (tx) => {
          await onBegin?.(tx);
          return work(tx);
        }),
    }),
  };
}

/** A driver that keeps the functions itself, and runs them when `run` says. */
function ownHooks(run: <R>(ended: Promise<R>, hooks: readonly (() => void)[]) => Promise<R>): Breakage {
  return {
    session: (honest) => ({
      transaction(work, options) {
        const hooks: (() => void)[] = [];
        const ended = honest.transaction((tx) => work(instead(tx, { afterCommit: (fn) => void hooks.push(fn) })), options);
        return run(ended, hooks);
      },
    }),
  };
}

function swallowing(code: 'INVALID_SQL' | 'NOT_A_TRANSACTION'): Breakage {
  return {
    world: (honest) => ({
      async query(native, sql, values) {
        try {
          return await honest.query!(native, sql, values);
        } catch (error) {
          if (WaybillError.is(error, code)) return [];
          throw error;
        }
      },
    }),
  };
}

export function text(subscription: string, { source, id }: InboxKey): string {
  return JSON.stringify([subscription, source, id]);
}
