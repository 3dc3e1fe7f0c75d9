/**
 * A store within this process: for tests, the simulator, and programs that may forget. Every bus of one service that is
 * given the same `memory()` value shares it, as it would a file; two values know nothing of each other. It has no SQL.
 *
 * Transactions come one at a time, in the order they asked. Readers see what is committed. A session that is closed in
 * the middle of a transaction leaves nothing of it, as a process that dies would; what was committed stays for the next.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { Host, MaybePromise, Store, StorePorts, StoreSession, StoreTransaction, TransactionOptions } from '../../contract/store.ts';
import type { SqlTransaction } from '../../contract/transaction.ts';
import type { Access } from './access.ts';
import { Disk } from './disk.ts';
import { createFailures } from './failures.ts';
import { createInbox } from './inbox.ts';
import { createInspect } from './inspect.ts';
import { createOnce } from './once.ts';
import { createOutbox } from './outbox.ts';
import { createSagas } from './sagas.ts';
import { createStreams } from './streams.ts';
import { scopeOf, Scope, Unit } from './transaction.ts';
import { createWaiting } from './waiting.ts';

/** A store in memory. URL `memory:`. Its `tx.query` refuses with `NO_SQL`. */
export function memory(): Store<SqlTransaction> {
  const disk = new Disk();
  return {
    kind: 'memory',
    fromClient: false,
    async open(host) {
      disk.service ??= host.service;
      if (disk.service !== host.service) {
        throw new WaybillError('STORE_FOREIGN', `this memory() store belongs to ${disk.service}; give ${host.service} one of its own`);
      }
      return session(disk, host);
    },
  };
}

function session(disk: Disk, host: Host): StoreSession<SqlTransaction> {
  const open = new Set<Unit>();
  let closed = false;

  const transaction = async <R>(
    work: (tx: StoreTransaction<SqlTransaction>) => MaybePromise<R>,
    options: TransactionOptions = {},
  ): Promise<R> => {
    if (closed) throw new WaybillError('STOPPED', 'this session of the memory store was closed');
    const unit = new Unit(disk, host.clock, options.lazy ? options : {});
    open.add(unit);
    try {
      if (!options.lazy) await unit.begin();
      const result = await work(unit.root);
      for (const fn of await unit.commit()) runHook(fn);
      return result;
    } catch (error) {
      unit.rollback();
      throw error;
    } finally {
      open.delete(unit);
    }
  };

  const runHook = (fn: () => void): void => {
    try {
      fn();
    } catch (error) {
      host.signals.emit('trouble', { where: 'afterCommit', error });
    }
  };

  const access: Access = {
    disk,
    host,
    async writing(tx, work) {
      if (tx instanceof Scope && open.has(tx.unit)) return tx.writing(work);
      throw foreign();
    },
    write: (work) => transaction((tx) => access.writing(tx, work)),
  };

  return {
    capabilities: { parallelTransactions: false, cheapSavepoints: true },
    ports: portsOver(access),
    transaction,
    join(native) {
      const scope = scopeOf(native);
      if (scope === undefined || !open.has(scope.unit)) throw foreign();
      scope.assertUsable();
      return scope;
    },
    classify,
    async close() {
      closed = true;
      for (const unit of open) unit.rollback();
    },
  };
}

/** Every port over one access to a disk; the simulator has an access of its own. */
export function portsOver(access: Access): StorePorts {
  return {
    outbox: createOutbox(access),
    inbox: createInbox(access),
    waiting: createWaiting(access),
    failures: createFailures(access),
    once: createOnce(access),
    sagas: createSagas(access),
    inspect: createInspect(access.disk),
    streams: createStreams(access),
  };
}

function foreign(): WaybillError {
  return new WaybillError('NOT_A_TRANSACTION', 'this is no open transaction of this store: pass the `tx` that you were given');
}

/** Looks through what user code wrapped around the store's error, this deep at most. */
const causesMax = 8;

function classify(error: unknown): 'retry' | 'down' | 'other' {
  for (let depth = 0, at = error; depth < causesMax && at != null; depth++, at = (at as { cause?: unknown }).cause) {
    if (WaybillError.is(at, 'STORE_BUSY')) return 'retry';
    if (WaybillError.is(at, 'STORE_UNREACHABLE') || WaybillError.is(at, 'STORE_FULL')) return 'down';
    if (WaybillError.is(at, 'STORE_READONLY') || WaybillError.is(at, 'STORE_CORRUPT') || WaybillError.is(at, 'COMMIT_UNKNOWN')) return 'down';
  }
  return 'other';
}
