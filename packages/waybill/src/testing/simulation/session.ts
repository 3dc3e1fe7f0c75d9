/** The simulated database as the store port of one process. */
import { WaybillError } from '../../contract/errors.ts';
import type { Host, MaybePromise, Store, StoreSession, StoreTransaction, TransactionOptions } from '../../contract/store.ts';
import { type Database, Failure } from './database.ts';
import { type Process, never, startMs } from './process.ts';
import { statementsOf } from './statements.ts';
import { Scope, type SimulatedTransaction, Unit, scopeOf } from './unit.ts';

/** The store driver of one process. */
export function storeOf(database: Database, process: Process): Store<SimulatedTransaction> {
  const { disk } = database;
  return {
    kind: 'simulated',
    fromClient: false,
    open: async (host) => {
      disk.service ??= host.service;
      if (disk.service === host.service) return open(database, process, host);
      throw new WaybillError('STORE_FOREIGN', `this database belongs to ${disk.service}`);
    },
  };
}

function open(database: Database, process: Process, host: Host): StoreSession<SimulatedTransaction> {
  const units = new Set<Unit>();
  let closed = false;
  process.onDeath(() => {
    for (const unit of units) unit.abandon();
  });

  const transaction = async <R>(work: (tx: StoreTransaction<SimulatedTransaction>) => MaybePromise<R>, options: TransactionOptions = {}): Promise<R> => {
    if (process.dead) return never();
    if (closed) throw new WaybillError('STOPPED', 'this session of the database was closed');
    const unit = new Unit(database, process, options.lazy === true ? options : {});
    units.add(unit);
    try {
      if (options.lazy !== true) await unit.begin();
      const result = await work(unit.root);
      await unit.commit();
      unit.isOver = true;
      for (const fn of unit.hooks) runHook(fn);
      return result;
    } catch (error) {
      unit.rollback();
      throw error;
    } finally {
      units.delete(unit);
    }
  };

  const runHook = (fn: () => void): void => {
    try {
      fn();
    } catch (error) {
      host.signals.emit('trouble', { where: 'afterCommit', error });
    }
  };

  const isMine = (tx: unknown): tx is Scope => tx instanceof Scope && units.has(tx.unit);
  const foreign = (): WaybillError => new WaybillError('NOT_A_TRANSACTION', 'this is no open transaction of this database');
  const { parallel, cheapSavepoints, scheduler } = database.options;
  return {
    capabilities: { parallelTransactions: parallel, cheapSavepoints },
    ports: statementsOf({
      database,
      process,
      // Leases and ages are told by the server's clock.
      host: { ...host, clock: { ...host.clock, now: () => startMs + scheduler.nowMs } },
      write: (tx, name, locks, work) => (isMine(tx) ? tx.unit.write(tx, name, locks, ({ disk }) => work(disk)) : Promise.reject(foreign())),
      transaction,
    }),
    transaction,
    join: (native) => {
      const scope = scopeOf(native);
      if (!isMine(scope)) throw foreign();
      scope.assertUsable();
      return scope;
    },
    classify,
    close: async () => {
      closed = true;
      for (const unit of units) unit.rollback();
    },
  };
}

/** Looks through what user code wrapped around the database's error, this deep at most. */
const causesMax = 8;
const down: ReadonlySet<string> = new Set(['STORE_UNREACHABLE', 'STORE_FULL', 'STORE_READONLY', 'STORE_CORRUPT', 'COMMIT_UNKNOWN']);

function classify(error: unknown): 'retry' | 'down' | 'other' {
  for (let depth = 0, at = error; depth < causesMax && at != null; depth++, at = (at as { cause?: unknown }).cause) {
    if (at instanceof Failure) return at.kind;
    if (WaybillError.is(at, 'STORE_BUSY')) return 'retry';
    if (WaybillError.is(at) && down.has(at.code)) return 'down';
  }
  return 'other';
}
