import type { WireMessage } from '../contract/message.ts';
import type { MaybePromise, OutboxLease, StorePorts, StoreSession, StoreTransaction, TransactionOptions } from '../contract/store.ts';
import type { ProjectionLease, StreamsPort } from '../contract/streams.ts';
import type { CrashPoint, Moment } from './crash-points.ts';
import { Died, type Life } from './life.ts';

export interface Watch {
  readonly life: Life;
  /** A point was reached; answers whether the process died of it. */
  readonly reach: (point: CrashPoint) => boolean;
  /** Committed to the ledger. */
  readonly recorded: (messages: readonly WireMessage[]) => void;
  /** Each transaction runs twice, the first time rolled back. */
  readonly rerun: boolean;
  readonly ports: StorePorts;
}

/** Thrown to undo the first of two runs. */
class Rehearsed extends Error {}

/** What a transaction has done that a crash point is named after. */
type Marks = Set<Moment>;

/**
 * A store session as one life of a bus sees it: it records what is committed, ends the life at its crash points, and
 * rolls back what was open then. Everything else, members that only one driver has too, is passed on.
 */
export function watchStore<Tx>(real: StoreSession<Tx>, watch: Watch): StoreSession<Tx> {
  const { life, reach } = watch;
  const seen = new WeakMap<StoreTransaction, StoreTransaction<Tx>>();
  const behind = new WeakMap<StoreTransaction, StoreTransaction>();
  /** By what user code holds of a transaction or savepoint. */
  const marksOf = new WeakMap<object, Marks>();

  const remember = (native: unknown, marks: Marks): void => {
    if (typeof native === 'object' && native !== null) marksOf.set(native, marks);
  };
  const marked = (tx: StoreTransaction): Marks => {
    const native: unknown = tx.native;
    return (typeof native === 'object' && native !== null && marksOf.get(native)) || new Set();
  };

  /** The transaction as the rooms get it. */
  const watched = (tx: StoreTransaction<Tx>): StoreTransaction<Tx> => {
    const known = seen.get(tx);
    if (known) return known;
    const marks = marked(tx);
    const proxy = passing(tx, {
      savepoint: <R>(work: (native: Tx) => MaybePromise<R>) =>
        life.operation(() =>
          tx.savepoint((native) => {
            remember(native, marks);
            return work(native);
          }),
        ),
      afterCommit(fn: () => void) {
        tx.afterCommit(() => {
          if (!life.dead) fn();
        });
      },
    });
    seen.set(tx, proxy);
    behind.set(proxy, tx);
    return proxy;
  };
  const realOf = (tx: StoreTransaction): StoreTransaction => behind.get(tx) ?? tx;

  const transaction = <R>(
    work: (tx: StoreTransaction<Tx>) => MaybePromise<R>,
    { onBegin, ...options }: TransactionOptions = {},
  ): Promise<R> => {
    const run = (rehearsal: boolean): Promise<R> => {
      const marks: Marks = new Set();
      const early = (tx: StoreTransaction): MaybePromise<void> => {
        remember(tx.native, marks);
        return onBegin?.(watched(tx as StoreTransaction<Tx>));
      };
      return real.transaction(
        async (tx) => {
          remember(tx.native, marks);
          const result = await Promise.race([work(watched(tx)), life.death]);
          if (rehearsal) throw new Rehearsed();
          for (const mark of marks) if (reach(`before ${mark}`)) throw new Died();
          return result;
        },
        { ...options, ...(onBegin && { onBegin: early }) },
      );
    };
    return life.operation(async () => {
      if (watch.rerun) {
        await run(true).catch((error: unknown) => {
          if (!(error instanceof Rehearsed)) throw error;
        });
      }
      return run(false);
    });
  };

  /** The point is passed once this transaction has committed. */
  const mark = (tx: StoreTransaction, moment: Moment): void => {
    marked(tx).add(moment);
    tx.afterCommit(() => {
      if (!life.dead) reach(moment);
    });
  };

  const { outbox, inbox, waiting, failures, once, sagas, streams } = real.ports;
  /** Members of a port as they are, but counted, silenced at death, and given the driver's own transaction. */
  const port = <P extends object>(members: P, own: Partial<P> = {}): P =>
    passing(members, own, (method) => (...given: unknown[]) => life.operation(() => method(...given.map(unwrapped))));
  const unwrapped = (value: unknown): unknown =>
    typeof value === 'object' && value !== null ? (behind.get(value as StoreTransaction) ?? value) : value;

  const lease = (held: OutboxLease): OutboxLease =>
    port(held, {
      settle: (position, parked) =>
        life.operation(async () => {
          if (reach('before relay.settle')) throw new Died();
          await held.settle(position, parked);
          reach('relay.settle');
        }),
    });

  const watchedStreams = (members: StreamsPort): StreamsPort =>
    port(members, {
      append: (tx, stream, expected, events) =>
        life.operation(() => {
          mark(realOf(tx), 'stream.commit');
          return members.append(realOf(tx), stream, expected, events);
        }),
      acquire: (projection, owner, leaseMs) =>
        life.operation(async () => {
          const held = await members.acquire(projection, owner, leaseMs);
          return held && projectionLease(held);
        }),
    });

  const projectionLease = (held: ProjectionLease): ProjectionLease =>
    port(held, {
      settleIn: (tx, cursor) =>
        life.operation(() => {
          if (cursor !== undefined) mark(realOf(tx), 'projection.commit');
          return held.settleIn(realOf(tx), cursor);
        }),
    });

  const ports: StorePorts = {
    outbox: port(outbox, {
      append: (tx, messages, fresh) =>
        life.operation(() => {
          const within = realOf(tx);
          mark(within, 'outbox.commit');
          within.afterCommit(() => watch.recorded(messages));
          return outbox.append(within, messages, fresh);
        }),
      acquire: (owner, leaseMs) =>
        life.operation(async () => {
          const held = await outbox.acquire(owner, leaseMs);
          return held && lease(held);
        }),
    }),
    inbox: port(inbox, {
      insert: (tx, subscription, keys) =>
        life.operation(() => {
          mark(realOf(tx), 'inbox.commit');
          return inbox.insert(realOf(tx), subscription, keys);
        }),
    }),
    waiting: port(waiting, {
      add: (tx, entries) =>
        life.operation(() => {
          mark(realOf(tx), 'waiting.commit');
          return waiting.add(realOf(tx), entries);
        }),
      start: (rows, claim) =>
        life.operation(async () => {
          if (reach('before waiting.start')) throw new Died();
          const starts = await waiting.start(rows, claim);
          reach('waiting.start');
          return starts;
        }),
      settle: (tx, row, next) =>
        life.operation(() => {
          mark(realOf(tx), next ? 'waiting.commit' : 'inbox.commit');
          return waiting.settle(realOf(tx), row, next);
        }),
    }),
    failures: port(failures, {
      add: (tx, rows) =>
        life.operation(() => {
          mark(realOf(tx), 'failures.commit');
          return failures.add(realOf(tx), rows);
        }),
      take: (tx, rows) =>
        life.operation(() => {
          mark(realOf(tx), 'failures.commit');
          return failures.take(realOf(tx), rows);
        }),
    }),
    once: port(once, {
      save: (tx, entry) =>
        life.operation(() => {
          mark(realOf(tx), 'once.commit');
          return once.save(realOf(tx), entry);
        }),
    }),
    ...(sagas && { sagas: port(sagas) }),
    inspect: port(real.ports.inspect),
    ...(streams && { streams: watchedStreams(streams) }),
  };

  return passing(real, {
    ports,
    transaction,
    join: (native: unknown) => watched(real.join(native)),
    // Whoever started it closes it; a life that ends leaves the store open for the next.
    close: () => Promise.resolve(),
  } as Partial<StoreSession<Tx>>);
}

/** `target` with some members replaced. What is not, is passed on, its methods bound to `target` or as `wrap` makes them. */
export function passing<T extends object>(
  target: T,
  own: Partial<T>,
  wrap: (method: (...given: unknown[]) => unknown) => unknown = (method) => method,
): T {
  const wrapped = new Map<PropertyKey, unknown>();
  return new Proxy(target, {
    get(_, name) {
      if (Object.hasOwn(own, name)) return (own as Record<PropertyKey, unknown>)[name];
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (!wrapped.has(name)) wrapped.set(name, wrap((...given) => (value as (...given: unknown[]) => unknown).apply(target, given)));
      return wrapped.get(name);
    },
  });
}
