/**
 * The statements of the simulated database: those of the memory driver, each a call to the outside under its name, behind
 * the locks of the rows that PostgreSQL's would lock.
 */
import type { Host, MaybePromise, StorePorts, StoreTransaction, WaitingRow } from '../../contract/store.ts';
import { type Disk, keyOf } from '../../stores/memory/disk.ts';
import { portsOver } from '../../stores/memory/index.ts';
import { type Database, Failure } from './database.ts';
import type { CallName } from './faults.ts';
import type { Process } from './process.ts';

interface Access {
  readonly database: Database;
  readonly process: Process;
  readonly host: Host;
  /** One statement of an open transaction of this session. */
  readonly write: <R>(tx: StoreTransaction, name: CallName, locks: readonly string[], work: (disk: Disk) => R) => Promise<R>;
  readonly transaction: <R>(work: (tx: StoreTransaction) => MaybePromise<R>) => Promise<R>;
}

export function statementsOf({ database, process, host, write, transaction }: Access): StorePorts {
  const { disk } = database;
  /** Name and locks of the statement that the memory driver is about to run. */
  let next: { readonly name: CallName; readonly locks: readonly string[] } = { name: 'business', locks: [] };
  const real = portsOver({
    disk,
    host,
    writing: (tx, work) => write(tx, next.name, next.locks, work),
    write: (work) => {
      const { name, locks } = next;
      return transaction((tx) => write(tx, name, locks, work));
    },
  });
  const at = <R>(name: CallName, locks: readonly string[], run: () => R): R => {
    next = { name, locks };
    return run();
  };
  const read = <R>(name: CallName, run: () => Promise<R>): Promise<R> =>
    process.call(name, () => {
      database.assertReachable();
      return run();
    }, (kind) => (kind === 'lost' ? new Failure('down', 'the connection was lost') : undefined)); // prettier-ignore
  const waitingLock = ({ row }: Pick<WaitingRow, 'row'>): string => `waiting/${row}`;

  const { outbox, inbox, waiting, failures, once, sagas, streams, inspect } = real;
  return {
    ...real,
    outbox: {
      append: (tx, messages) => at('outbox.append', [], () => outbox.append(tx, messages)),
      lockKey: (tx, key) => at('business', [`key/${key}`], () => outbox.lockKey(tx, key)),
      trim: (beforeMs, max) => at('outbox.release', ['relay'], () => outbox.trim(beforeMs, max)),
      history: (query) => read('outbox.read', () => outbox.history!(query)),
      acquire: async (owner, leaseMs) => {
        const lease = await at('outbox.acquire', ['relay'], () => outbox.acquire(owner, leaseMs));
        return (
          lease && {
            read: (max) => read('outbox.read', () => lease.read(max)),
            settle: async (position, parked) => {
              const from = disk.relay.committed.get('relay')?.position ?? 0;
              database.onSettled(from, position, parked.map((row) => row.message.id));
              await at('outbox.settle', ['relay'], () => lease.settle(position, parked));
            },
            renew: () => at('outbox.renew', ['relay'], () => lease.renew()),
            release: () => at('outbox.release', ['relay'], () => lease.release()),
          }
        );
      },
    },
    inbox: {
      insert: (tx, subscription, keys) =>
        at('inbox.insert', keys.map(({ source, id }) => `inbox/${keyOf(subscription, source, id)}`), () => inbox.insert(tx, subscription, keys)),
      has: (subscription, key) => read('inbox.has', () => inbox.has(subscription, key)),
      sources: (subscription, max) => read('inbox.has', () => inbox.sources(subscription, max)),
      advance: (tx, mark) => at('inbox.advance', [`mark/${keyOf(mark.subscription, mark.source, mark.event, mark.key)}`], () => inbox.advance(tx, mark)),
      rename: (tx, from, to) => at('inbox.rename', ['rename'], () => inbox.rename(tx, from, to)),
      trim: (beforeMs, max) => at('inbox.insert', [], () => inbox.trim(beforeMs, max)),
    },
    waiting: {
      add: (tx, entries, taken) => (entries.length > 0 ? at('waiting.add', [], () => waiting.add(tx, entries, taken)) : undefined),
      nowMs: (tx) => waiting.nowMs(tx),
      due: (subscription, when, max, owner) => read('waiting.due', () => waiting.due(subscription, when, max, owner)),
      nextDue: () => read('waiting.due', () => waiting.nextDue()),
      start: (rows, claim) => at('waiting.start', rows.map(waitingLock), () => waiting.start(rows, claim)),
      settle: (tx, row, change) => at('waiting.settle', [waitingLock(row)], () => waiting.settle(tx, row, change)),
      ...(waiting.behind && { behind: (heads, max) => read('waiting.due', () => waiting.behind!(heads, max)) }),
      ...(waiting.take && { take: (tx, rows) => at('waiting.take', rows.map(waitingLock), () => waiting.take!(tx, rows)) }),
      blocked: (tx, subscription, keys) =>
        tx === undefined ? read('waiting.due', async () => waiting.blocked(tx, subscription, keys)) : at('waiting.blocked', [], () => waiting.blocked(tx, subscription, keys)),
      cancel: (tx, id, subscription) => {
        const row = [...disk.waiting.committed.values()].find(({ message }) => message.id === id);
        return at('waiting.cancel', row ? [waitingLock(row)] : [], () => waiting.cancel(tx, id, subscription));
      },
    },
    failures: {
      add: (tx, rows) => at('failures.add', [], () => failures.add(tx, rows)),
      take: (tx, rows) => at('failures.add', rows.map((row) => `failure/${row}`), () => failures.take(tx, rows)),
    },
    once: {
      find: (tx, scope, key) => at('once.find', [`once/${keyOf(scope, key)}`], () => once.find(tx, scope, key)),
      save: (tx, entry) => at('once.save', [`once/${keyOf(entry.scope, entry.key)}`], () => once.save(tx, entry)),
      trim: (nowMs, max) => at('once.save', [], () => once.trim(nowMs, max)),
    },
    ...(sagas && { sagas: {
      ...sagas,
      load: (tx, saga, key) => at('saga.load', disk.sagas.committed.has(keyOf(saga, key)) ? [`saga/${keyOf(saga, key)}`] : [], () => sagas.load(tx, saga, key)),
      save: (tx, row) => at('saga.save', [`saga/${keyOf(row.saga, row.key)}`], () => sagas.save(tx, row)),
      awaken: (tx, saga, key, due) => at('saga.awaken', [], () => sagas.awaken(tx, saga, key, due)),
      trim: (beforeMs, max) => at('outbox.release', [], () => sagas.trim(beforeMs, max)),
    } }),
    // Appends come one at a time, each until its transaction ends: so positions are commit order.
    ...(streams && { streams: {
      ...streams,
      append: (tx, ...given) => at('stream.append', ['streams'], () => streams.append(tx, ...given)),
      read: (stream, version, max, tx) =>
        tx ? at('stream.read', [], () => streams.read(stream, version, max, tx)) : read('stream.read', async () => streams.read(stream, version, max)),
      scan: (cursor, max) => read('stream.scan', () => streams.scan(cursor, max)),
      reset: (tx, projection) => at('projection.settle', [`projection/${projection}`], () => streams.reset(tx, projection)),
      acquire: async (projection, ...given) => {
        const row = [`projection/${projection}`];
        const lease = await at('projection.acquire', row, () => streams.acquire(projection, ...given));
        return lease && {
          ...lease,
          settleIn: (tx, cursor) => at('projection.settle', row, () => lease.settleIn(tx, cursor)),
          renew: (failure) => at('projection.renew', row, () => lease.renew(failure)),
          release: () => at('projection.release', row, () => lease.release()),
        };
      },
    } }),
    inspect,
  };
}
