/**
 * The event store (G17): the state of an entity as the events that made it.
 *
 * In: drafts of events, appended to a stream in the user's transaction, if the stream has the version that the decision
 * was made on; with them, in the same transaction, the integration events that other services shall hear. Out: events by
 * stream, and across streams in an order that loses nothing; projections, which keep a table of the user's in step.
 * Guaranteed: a stream's versions have no gaps and no doubles; what is appended is there for good, and read as its newest
 * version; a projection's table and its position commit together. A crash leaves whole transactions, and a projection
 * goes on from its last commit.
 *
 * Cost: appending one search and one insert per event in the caller's transaction; reading one page per 200 events or 4 MiB;
 * a projection one read, and one transaction with two small statements, per up to `batch` events.
 */
import type { Bus, TxOf } from '../contract/api.ts';
import type { Draft, EventContract } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import { type BusInternals, internalsOf } from '../contract/internals.ts';
import { readBytesMax, type StoreSession, type StoreTransaction } from '../contract/store.ts';
import type { StoredEvent, StreamsPort } from '../contract/streams.ts';
import type { TransactionLike } from '../contract/transaction.ts';
import { type Appended, append, checkStream } from './append.ts';
import { type EventIn, type RecordedEvent, readingOf } from './events.ts';
import { type Projection, type ProjectionContext, type ProjectionOptions, createProjection } from './projection.ts';

export type { Appended } from './append.ts';
export type { EventIn, RecordedEvent } from './events.ts';
export type { Projection, ProjectionContext, ProjectionProgress } from './projection.ts';

export interface EventStore<out Tx, Contracts extends readonly EventContract[]> {
  /**
   * Adds events at the end of a stream, in the transaction `tx` or, without one, in one of its own.
   * @throws WaybillError `STREAM_CONFLICT` when the stream has another version than expected: nothing was written; undo
   * the transaction, read again, decide again. `CONTRACT_VIOLATION`, and `TX_MISSING` by the rules of `publish`
   */
  append(
    stream: string,
    events: readonly Draft[],
    options: {
      /** The version of the stream that the decision was made on; 0: there is none yet. `'any'`: it does not matter. */
      expectedVersion: number | 'any';
      /** The transaction to join, or `'own'`. */
      tx?: TransactionLike | 'own';
      /** Domain events → integration events, published in the same transaction. Called with the events as they are read. */
      publish?: (events: readonly EventIn<Contracts>[]) => readonly Draft[];
    },
  ): Promise<Appended>;
  /**
   * The events of a stream in order, none when there is no such stream. Read in pages, so that a slow reader holds
   * nothing open; what is appended meanwhile comes too.
   * @throws WaybillError `EVENT_UNREADABLE` at an event that none of `events` reads: leaving it out would falsify the state
   */
  read(
    stream: string,
    options?: {
      /** Only events after this version. @default 0 */
      after?: number;
      /** Only events up to this version. */
      upTo?: number;
      /** See what this transaction has appended. */
      tx?: TransactionLike;
    },
  ): AsyncIterable<EventIn<Contracts>>;
  /**
   * A page of the log across streams: each committed event once, those of one stream in order; those of other contracts
   * are passed over, and a page of large ones ends early. Ask again with `after: next` while `more`, and later for what is new.
   */
  readAll(options?: { after?: string | undefined; /** @default 500, at most 1,000 */ max?: number }): Promise<{
    readonly events: readonly EventIn<Contracts>[];
    readonly next: string | undefined;
    readonly more: boolean;
  }>;
  /**
   * Keeps a table in step with the log: `handler` gets the events of these contracts in order, in batches, each in a
   * transaction that also holds the projection's position: an event's writes happen exactly once. One instance of the
   * service works at a time. A handler that throws is run again, event by event, until it succeeds: nothing is skipped.
   * Its position is kept under `name`. It runs while the bus runs.
   * @throws WaybillError `DUPLICATE_SUBSCRIPTION` when this bus has a projection of this name
   */
  project<const Some extends readonly Contracts[number][]>(
    name: string,
    options: ProjectionOptions<Some, Tx>,
    handler: (events: readonly EventIn<Some>[], ctx: ProjectionContext<Tx>) => Promise<void> | void,
  ): Projection;
}

/** Events to one page of a read at most: short statements, so that no read stays open. */
const pageMax = 200;
const pageAllMax = 1_000;

/**
 * The event store in the store of this bus.
 * @param options `events`: every contract whose events its streams hold, in the newest version each: older ones are read
 * through their `upcast`
 * @throws WaybillError `INVALID_OPTION`, `INVALID_CONTRACT`; its members `CAPABILITY_MISSING` where the store has no streams
 */
export function eventStore<B extends Bus, const Contracts extends readonly EventContract[]>(
  bus: B,
  options: { events: Contracts },
): EventStore<TxOf<B>, Contracts> {
  const internals = (): BusInternals => internalsOf(bus);
  if (!Array.isArray(options?.events) || options.events.length === 0) {
    throw new WaybillError('INVALID_OPTION', 'eventStore takes { events: [A, B, …] }, the contracts that its streams hold');
  }
  const { clock } = internals();
  const reading = readingOf(options.events, () => clock);
  const names = new Set<string>();

  const session = async (): Promise<{ store: StoreSession; port: StreamsPort }> => {
    const store = await internals().store();
    return { store, port: streamsOf(store) };
  };

  async function* read(stream: string, how: { after?: number; upTo?: number; tx?: TransactionLike } = {}): AsyncGenerator<RecordedEvent<any>> {
    checkStream(stream);
    const { store, port } = await session();
    const upTo = how.upTo ?? Infinity;
    for (let after = how.after ?? 0; after < upTo; ) {
      const tx: StoreTransaction | undefined = how.tx === undefined ? undefined : store.join(how.tx);
      const max = Math.min(pageMax, upTo - after);
      const page = await port.read(stream, after, max, tx);
      for (const stored of page) yield await reading.read(stored);
      if (page.length < max && !isLarge(page)) return;
      after = page.at(-1)!.version;
    }
  }

  const store = {
    append(stream: string, drafts: readonly Draft[], how: any) {
      const { desk } = internals();
      const written = (async (): Promise<Appended> => {
        const { port } = await session();
        return append({ desk, clock, port, reading, signals: internals().signals }, stream, drafts, how ?? {});
      })();
      return desk.track(written);
    },
    read,
    async readAll({ after, max = 500 }: { after?: string | undefined; max?: number } = {}) {
      if (!Number.isSafeInteger(max) || max < 1 || max > pageAllMax) {
        throw new WaybillError('INVALID_OPTION', `readAll: max must be a whole number from 1 to ${pageAllMax}`);
      }
      const page = await (await session()).port.scan(after, max);
      const events: RecordedEvent<any>[] = [];
      for (const stored of page.events) if (reading.types.has(stored.type)) events.push(await reading.read(stored));
      return { events, next: page.next, more: page.more };
    },
    project(name: string, how: ProjectionOptions<any, any>, handler: any) {
      if (names.has(name)) throw new WaybillError('DUPLICATE_SUBSCRIPTION', `there is a projection ${name} already: each has a position of its own under its name`);
      const projection = createProjection(internals(), { name, options: how, handler, reading: readingOf(how?.events ?? options.events, () => clock) });
      names.add(name);
      return projection;
    },
  };
  return store as unknown as EventStore<TxOf<B>, Contracts>;
}

/** It may have ended before there were enough. Three bytes stand for a character at most, in whatever the store counts. */
function isLarge(page: readonly StoredEvent[]): boolean {
  return page.reduce((letters, { body }) => letters + body.length, 0) * 3 >= readBytesMax;
}

/** @throws WaybillError `CAPABILITY_MISSING` */
function streamsOf(store: StoreSession): StreamsPort {
  if (store.ports.streams) return store.ports.streams;
  throw new WaybillError('CAPABILITY_MISSING', 'this store has no event store: take SQLite or PostgreSQL');
}
