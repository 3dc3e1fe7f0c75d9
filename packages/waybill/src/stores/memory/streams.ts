import { WaybillError } from '../../contract/errors.ts';
import { readBytesMax } from '../../contract/store.ts';
import type { LogPage, ProjectionFailure, ProjectionLease, ProjectionState, StoredEvent, StreamsPort } from '../../contract/streams.ts';
import type { Access } from './access.ts';
import { type Disk, type Projected, keyOf } from './disk.ts';

const fresh = { owner: undefined, epoch: 0, expiresMs: 0, position: 0, movedMs: undefined, failure: undefined };
/** What lies before a projection is counted to here. */
const behindMax = 10_001;

/** Streams by (stream, version), the log by position: transactions come one at a time, so its order is that of commits. */
export function createStreams({ disk, host, writing, write }: Access): StreamsPort {
  const { clock } = host;
  const lastOf = (positions: ReadonlyMap<number, unknown>): number => [...positions.keys()].at(-1) ?? 0;

  return {
    append: (tx, stream, expected, events) =>
      writing(tx, (tables) => {
        const version = tables.heads.get(stream) ?? 0;
        if (expected !== undefined && expected !== version) return { appended: false, version, stored: [] };
        const stored = events.map((event, i): StoredEvent => {
          const row = { ...event, headers: { ...event.headers }, stream, version: version + i + 1, position: tables.number() };
          tables.events.set(row.position, row);
          tables.places.set(keyOf(stream, String(row.version)), row.position);
          return row;
        });
        tables.heads.set(stream, version + events.length);
        return { appended: true, version: version + events.length, stored };
      }),

    read(stream, version, max, tx) {
      const page = (place: (key: string) => number | undefined, event: (position: number) => StoredEvent | undefined): StoredEvent[] => {
        const found: StoredEvent[] = [];
        for (let at = version + 1, bytes = 0; found.length < max && bytes < readBytesMax; at++) {
          const position = place(keyOf(stream, String(at)));
          if (position === undefined) break;
          const row = event(position)!;
          found.push(row);
          bytes += Buffer.byteLength(row.body);
        }
        return found;
      };
      if (tx === undefined) return page((key) => disk.places.committed.get(key), (position) => disk.events.committed.get(position));
      return writing(tx, ({ places, events }) => page((key) => places.get(key), (position) => events.get(position)));
    },

    async scan(cursor, max): Promise<LogPage> {
      const events: StoredEvent[] = [];
      let more = false;
      for (let position = positionOf(cursor) + 1, bytes = 0; position <= disk.lastNumber && !more; position++) {
        const event = disk.events.committed.get(position);
        if (event === undefined) continue;
        more = events.length === max || bytes >= readBytesMax;
        if (!more) events.push(event);
        bytes += Buffer.byteLength(event.body);
      }
      return { events, next: events.length === 0 ? cursor : String(events.at(-1)!.position), more };
    },

    acquire: (projection, owner, leaseMs) =>
      write(({ projections }) => {
        const now = projections.get(projection) ?? { ...fresh, name: projection };
        if (now.owner !== undefined && now.owner !== owner && now.expiresMs > clock.now()) return undefined;
        const held = { ...now, owner, epoch: now.epoch + 1, expiresMs: clock.now() + leaseMs };
        projections.set(projection, held);
        return lease(held, leaseMs);
      }),

    reset: (tx, projection) =>
      writing(tx, ({ projections }) => {
        const now = projections.get(projection) ?? { ...fresh, name: projection };
        projections.set(projection, { ...now, owner: undefined, epoch: now.epoch + 1, expiresMs: 0, position: 0, failure: undefined });
      }),

    async progress(upTo) {
      const last = lastOf(disk.events.committed);
      const end = upTo === undefined ? last : Math.min(positionOf(upTo), last);
      const projections = [...disk.projections.committed.values()].map((row): ProjectionState => {
        const between = [...disk.events.committed.keys()].filter((position) => position > row.position && position <= end);
        return { name: row.name, cursor: cursorOf(row), behind: Math.min(between.length, behindMax), movedMs: row.movedMs, failure: row.failure };
      });
      return { end: String(last), projections: projections.toSorted((a, b) => (a.name < b.name ? -1 : 1)) };
    },
  };

  function lease(taken: Projected, leaseMs: number): ProjectionLease {
    const { name, epoch } = taken;
    const held = ({ projections }: Disk): Projected | undefined => {
      const now = projections.get(name);
      return now?.epoch === epoch && now.owner !== undefined ? { ...now, expiresMs: clock.now() + leaseMs } : undefined;
    };
    return {
      cursor: cursorOf(taken),
      failure: taken.failure,
      settleIn: (tx, cursor) =>
        writing(tx, (tables) => {
          const now = held(tables);
          if (now === undefined) throw new WaybillError('LEASE_LOST', `another instance moves the projection ${name} now, or it was rebuilt`);
          const moved = cursor === undefined ? {} : { position: positionOf(cursor), movedMs: clock.now(), failure: undefined };
          tables.projections.set(name, { ...now, ...moved });
        }),
      renew: (failure: ProjectionFailure | undefined) =>
        write((tables) => {
          const now = held(tables);
          if (now !== undefined) tables.projections.set(name, { ...now, failure });
          return now !== undefined;
        }),
      release: () =>
        write((tables) => {
          const now = held(tables);
          if (now !== undefined) tables.projections.set(name, { ...now, owner: undefined });
        }),
    };
  }
}

function cursorOf({ position }: Projected): string | undefined {
  return position === 0 ? undefined : String(position);
}

function positionOf(cursor: string | undefined): number {
  const position = Number(cursor ?? 0);
  if (Number.isSafeInteger(position) && position >= 0) return position;
  throw new WaybillError('INVALID_OPTION', `${JSON.stringify(cursor)} is no cursor of this store: pass what a page of it said`);
}
