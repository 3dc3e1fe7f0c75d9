/** A session: the ports over one client, and the transactions that user code holds. */
import { transactionOf } from '../../clients/recognise.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { Host, MaybePromise, StoreSession, StoreTransaction, TransactionOptions } from '../../contract/store.ts';
import { asStoreError, classify } from './errors.ts';
import { examine } from './examine.ts';
import { createFailuresPort } from './failures.ts';
import { createInboxPort } from './inbox.ts';
import { createInspect } from './inspect.ts';
import { Joined } from './joined.ts';
import { migrate } from './migrate.ts';
import { createOncePort } from './once.ts';
import type { Direct } from './direct.ts';
import { didCommit, isThere, timelineSql } from './outcome.ts';
import { createOutboxPort } from './outbox.ts';
import { textValues } from './port.ts';
import type { Access, Client, PostgresTransaction, Statements } from './port.ts';
import { createSagasPort } from './sagas.ts';
import { quoted } from './schema.ts';
import { nativeOf } from './sql-transaction.ts';
import { createStreamsPort } from './streams.ts';
import { Unit, type Scope, type Transactions } from './transaction.ts';
import { createWaitingPort } from './waiting.ts';

export interface SessionOptions {
  readonly schema: string;
  readonly host: Host;
  readonly direct: Direct | undefined;
  /** The bus made the client: users see `SqlTransaction`, and a transaction may begin at its first statement. */
  readonly owned: boolean;
}

export async function openSession<Tx>(client: Client, { schema, host, owned, direct }: SessionOptions): Promise<StoreSession<Tx>> {
  const store = {};
  const natives = new WeakMap<object, PostgresTransaction<Tx>>();
  const running = new Set<Promise<unknown>>();
  const closers = new Set<() => void>();
  let closed = false;

  const sql: Statements = {
    async query(text, values) {
      if (closed) throw stopped();
      try {
        return await client.query(text, textValues(values));
      } catch (error) {
        throw asStoreError(error);
      }
    },
  };

  await migrate(client, { schema, service: host.service, migrate: host.migrate });
  const { timeline, database, level } = await serverOf(sql);

  const transactions: Transactions<Tx> = {
    store,
    client,
    native(scope) {
      if (!owned) return scope.unit.foreign(scope) as Tx;
      const native = nativeOf(scope as Scope<any>);
      natives.set(native, scope);
      return native as Tx;
    },
    // One object of the library's for a transaction and all its savepoints: it stands for the innermost.
    entered: (scope, { native }) => void (!owned && natives.set(native as object, scope)),
    left: (_, { native }) => void (!owned && natives.delete(native as object)),
    monotonic: () => host.clock.monotonic(),
    didCommit: (known, beganMs) =>
      'xid' in known ? didCommit(sql, host.clock, { ...known, beganMs, timeline }) : isThere(sql, host.clock, { ...known, beganMs, schema: quoted(schema) }),
    trouble: (where, error) => host.signals.emit('trouble', { where, error }),
  };

  const attempt = async <R>(work: (tx: Scope<Tx>) => MaybePromise<R>, options: TransactionOptions): Promise<R> => {
    // A library's own transaction is there before its first statement, which nobody sees coming: it begins at once, and
    // whoever wanted to be told of that statement finds at the end that he was not.
    const waits = options.lazy === true && owned;
    const unit = new Unit<Tx>(transactions, waits ? options : {});
    try {
      if (!waits) await unit.begin();
      const result = await work(unit.root);
      await unit.commit();
      return result;
    } catch (error) {
      await unit.abandon(error);
      throw asStoreError(error);
    }
  };

  const transaction = <R>(work: (tx: Scope<Tx>) => MaybePromise<R>, options: TransactionOptions = {}): Promise<R> => {
    if (closed) return Promise.reject(stopped());
    const attempted = attempt(work, options);
    const over = attempted.then(
      () => void running.delete(over),
      () => void running.delete(over),
    );
    running.add(over);
    return attempted;
  };

  const access: Access = {
    schema: quoted(schema),
    service: host.service,
    clock: host.clock,
    signals: host.signals,
    direct,
    database,
    schemaName: schema,
    closers,
    sql,
    in(tx) {
      if ((tx as Partial<PostgresTransaction>).store === store) return tx as PostgresTransaction;
      throw new WaybillError('NOT_A_TRANSACTION', 'This transaction was not opened on this store: pass one of this bus.');
    },
    transaction: (work) => transaction((tx) => work(tx)),
  };

  return {
    capabilities: { parallelTransactions: true, cheapSavepoints: false, log: logOf(level, direct) },
    ports: {
      outbox: createOutboxPort(access),
      inbox: createInboxPort(access),
      waiting: createWaitingPort(access),
      failures: createFailuresPort(access),
      once: createOncePort(access),
      sagas: createSagasPort(access),
      inspect: createInspect(access),
      streams: createStreamsPort(access),
    },
    transaction: (work, options) => transaction(work, options),
    join(native): StoreTransaction<Tx> {
      const ours = typeof native === 'object' && native !== null ? natives.get(native) : undefined;
      if (ours === undefined) return new Joined<Tx>(store, transactionOf(native));
      (ours as Scope<Tx>).unit.assertUsable(ours as Scope<Tx>);
      return ours;
    },
    classify,
    examine: () => examine(sql, access.schema, host.clock),
    async close() {
      if (closed) return;
      closed = true;
      for (const close of closers) close();
      await Promise.all(running);
      await client.close?.();
    },
  };
}

interface Server {
  readonly timeline: string | undefined;
  readonly database: string;
  readonly level: string;
}

/** A standby has no timeline that is written to, and no right to ask is no reason not to work. */
async function serverOf(sql: Statements): Promise<Server> {
  const rest = `current_database()::text as database, current_setting('wal_level') as level`;
  try {
    return (await sql.query<Server & object>(`select ${timelineSql} as timeline, ${rest}`))[0]!;
  } catch (error) {
    if (WaybillError.is(error)) throw error;
    return { ...(await sql.query<Server & object>(`select ${rest}`))[0]!, timeline: undefined };
  }
}

/** Whether relay mode `log` can be had, or why not. */
function logOf(level: string, direct: Direct | undefined): true | string {
  if (level !== 'logical') return `set wal_level = logical on the server (it is ${level}) and restart it`;
  return direct !== undefined || 'it needs a connection of its own: give `direct`, a postgres:// URL, beside the client';
}


function stopped(): WaybillError {
  return new WaybillError('STOPPED', 'The store has been closed: the bus was stopped.');
}
