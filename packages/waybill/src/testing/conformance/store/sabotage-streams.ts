/** For every case of the event store a driver that breaks its promise. */
import type { ProjectionLease, StoredEvent, StreamsPort } from '../../../contract/streams.ts';
import { broken, type Breakage, type StoreSabotage } from './broken.ts';

export const streamSabotages: readonly StoreSabotage[] = [
  broken('forgets the cause of an event', 'events of a stream come back as they were appended, numbered without gaps', () => ({
    streams: (honest) => ({
      append: (tx, stream, expected, events) => honest.append(tx, stream, expected, events.map((one) => ({ ...one, causationId: undefined }))),
    }),
  })),
  broken('reads from the version that was read', 'events of a stream come back as they were appended, numbered without gaps', () => ({
    streams: (honest) => ({ read: (stream, version, max, tx) => honest.read(stream, Math.max(0, version - 1), max, tx) }),
  })),
  broken('appends whatever was expected', 'append refuses a stream of another version, says which it has, and adds nothing', appendsAnyway),
  broken('does not look again after it has waited', 'of two who append to one stream at once one comes after the other, and finds it so', appendsAnyway),
  broken('does not see its own transaction', 'a transaction sees what it appended, others do not, and nobody once it is undone', () => ({
    streams: (honest) => ({ read: (stream, version, max) => honest.read(stream, version, max) }),
  })),
  broken('begins each page with the last of the one before', 'the log gives each event once, page by page, those of one stream in order', () => ({
    streams: (honest) => ({
      async scan(cursor, max) {
        const page = await honest.scan(cursor, max);
        return page.more && page.events.length > 1 ? { ...page, next: (await honest.scan(cursor, max - 1)).next } : page;
      },
    }),
  })),
  broken('gives a page backwards', 'the log gives each event once, page by page, those of one stream in order', () => ({
    streams: (honest) => ({ scan: async (...asked) => flipped(await honest.scan(...asked)) }),
  })),
  broken('reads as many large events of a stream as small ones', 'large events of a stream are read a few at a time, all of them, in order', () => ({
    streams: (honest) => ({
      async read(stream, version, max, tx) {
        const events: StoredEvent[] = [];
        for (let more = await honest.read(stream, version, max, tx); more.length > 0; more = await honest.read(stream, events.at(-1)!.version, max, tx)) events.push(...more);
        return events;
      },
    }),
  })),
  broken('says that a page of large events is the last one', 'large events of the log are read a few at a time, all of them, in order', () => ({
    streams: (honest) => ({ scan: async (cursor, max) => ({ ...(await honest.scan(cursor, max)), more: false }) }),
  })),
  broken('reads as many large events of the log as small ones', 'large events of the log are read a few at a time, all of them, in order', () => ({
    streams: (honest) => ({
      async scan(cursor, max) {
        const first = await honest.scan(cursor, max);
        const events = [...first.events];
        let page = first;
        while (page.more) events.push(...(page = await honest.scan(page.next, max)).events);
        return { ...page, events };
      },
    }),
  })),
  broken('gives the last event again', 'at the end of the log there is nothing, until something is appended', () => ({
    streams: (honest) => ({
      scan: async (cursor, max) => {
        const page = await honest.scan(cursor, max);
        return page.events.length > 0 || cursor === undefined ? page : honest.scan(undefined, max);
      },
    }),
  })),
  broken('steps over what is not committed yet', 'an event that commits late is not stepped over', () => {
    let pages = 0;
    return {
      streams: (honest) => ({
        async scan(cursor, max) {
          // As one that remembers the highest number given out, not the highest it saw.
          if (pages++ === 0) return honest.scan(cursor, max);
          const page = await honest.scan(cursor, max);
          return { ...page, events: page.events.filter(({ id }) => id !== 'late') };
        },
      }),
    };
  }),
  broken('lets everybody have a projection', 'one instance holds a projection; another takes over when the lease is over or given back, where it stood', () => ({
    streams: (honest) => ({ acquire: async (name, owner, leaseMs) => (await honest.acquire(name, owner, leaseMs)) ?? honest.acquire(`${name} too`, owner, leaseMs) }),
  })),
  broken('forgets where a projection stood', 'one instance holds a projection; another takes over when the lease is over or given back, where it stood', () =>
    leasing(() => ({ cursor: undefined })),
  ),
  broken('lets a zombie move a projection', 'whoever has lost a projection commits nothing', () => leasing(() => ({ settleIn: () => {} }))),
  broken('moves a projection outside the transaction', 'a projection moves with its transaction, or not at all', () => ({
    streams: (honest, session) => ({
      async acquire(name, owner, leaseMs) {
        const lease = await honest.acquire(name, owner, leaseMs);
        if (!lease) return undefined;
        const moved: { cursor?: string } = {};
        cursors.set(session, moved);
        return {
          ...bound(lease),
          settleIn(_tx, cursor) {
            if (cursor !== undefined) moved.cursor = cursor;
          },
        };
      },
      async progress(upTo) {
        const { end, projections } = await honest.progress(upTo);
        return { end, projections: projections.map((one) => ({ ...one, cursor: cursors.get(session)?.cursor })) };
      },
    }),
  })),
  broken('sets a projection back under whoever holds it', 'reset sets a projection back to the beginning, and whoever holds it loses it', () => {
    let reset = false;
    return {
      streams: (honest) => ({
        reset() {
          reset = true;
        },
        async acquire(...asked) {
          const lease = await honest.acquire(...asked);
          return lease && { ...bound(lease), cursor: reset ? undefined : lease.cursor };
        },
      }),
    };
  }),
  broken('counts beyond where it is asked', 'progress counts what lies before each projection, up to where it is asked', () => ({
    streams: (honest) => ({ progress: () => honest.progress() }),
  })),
  broken('keeps failures to itself', 'what keeps a projection is there for whoever asks, until it moves', () =>
    leasing((honest) => ({ renew: () => honest.renew(undefined) })),
  ),
];

const cursors = new WeakMap<object, { cursor?: string }>();

function appendsAnyway(): Breakage {
  return { streams: (honest) => ({ append: (tx, stream, _expected, events) => honest.append(tx, stream, undefined, events) }) };
}

function flipped(page: Awaited<ReturnType<StreamsPort['scan']>>): Awaited<ReturnType<StreamsPort['scan']>> {
  return { ...page, events: page.events.toReversed() };
}

function leasing(members: (honest: ProjectionLease) => Partial<ProjectionLease>): Breakage {
  return {
    streams: (honest) => ({
      async acquire(...asked) {
        const lease = await honest.acquire(...asked);
        return lease && { ...bound(lease), ...members(lease) };
      },
    }),
  };
}

function bound(lease: ProjectionLease): ProjectionLease {
  return {
    cursor: lease.cursor,
    failure: lease.failure,
    settleIn: (tx, cursor) => lease.settleIn(tx, cursor),
    renew: (failure) => lease.renew(failure),
    release: () => lease.release(),
  };
}
