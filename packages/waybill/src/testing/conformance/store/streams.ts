/** The event store: streams, the log across them, and how far projections have come. */
import assert from 'node:assert/strict';
import { readBytesMax, type StoreSession, type StoreTransaction } from '../../../contract/store.ts';
import type { NewEvent, ProjectionLease, StoredEvent, StreamsPort } from '../../../contract/streams.ts';
import { held, refused, turns, undone, type StoreCase } from './world.ts';

const needs = ['streams'] as const;
const leaseMs = 3_000;

export const streamCases: readonly StoreCase[] = [
  {
    name: 'events of a stream come back as they were appended, numbered without gaps',
    needs,
    async run(world) {
      const session = await world.open();
      const full: NewEvent = { ...event('käse'), causationId: 'c', headers: { a: '世界' }, body: '{"text":"käse \\"aus\\""}' };
      assert.deepEqual(summary(await append(session, 's', 0, full, event('b'))), { appended: true, version: 2 });
      assert.deepEqual(summary(await append(session, 's', 2, event('c'))), { appended: true, version: 3 });
      const found = await read(session, 's');
      assert.deepEqual(found.map(({ version, stream }) => [version, stream]), [[1, 's'], [2, 's'], [3, 's']]); // prettier-ignore
      assert.deepEqual(plain(found[0]!), full);
      assert.deepEqual((await port(session).read('s', 1, 1)).map(({ version }) => version), [2]);
      assert.deepEqual(await read(session, 'S'), []);
    },
  },
  {
    name: 'append refuses a stream of another version, says which it has, and adds nothing',
    needs,
    async run(world) {
      const session = await world.open();
      await append(session, 's', 0, event('a'));
      for (const expected of [0, 2, 10]) assert.deepEqual(summary(await append(session, 's', expected, event('b'))), { appended: false, version: 1 });
      assert.deepEqual((await read(session, 's')).map(({ id }) => id), ['a']);
      assert.deepEqual(summary(await append(session, 's', undefined, event('b'))), { appended: true, version: 2 });
    },
  },
  {
    name: 'of two who append to one stream at once one comes after the other, and finds it so',
    needs,
    async run(world) {
      const session = await world.open();
      for (const outcome of ['rollback', 'commit'] as const) {
        const stream = `s ${outcome}`;
        const first = held(session, (tx) => port(session).append(tx, stream, 0, [event(`first ${outcome}`)]));
        assert.equal((await first.worked).appended, true);
        const second = append(session, stream, 0, event(`second ${outcome}`));
        await turns(world);
        await first.end(outcome);
        assert.equal((await second).appended, outcome === 'rollback');
        assert.equal((await read(session, stream)).length, 1);
      }
    },
  },
  {
    name: 'a transaction sees what it appended, others do not, and nobody once it is undone',
    needs,
    async run(world) {
      const session = await world.open();
      const streams = port(session);
      const seen = await undone(session, async (tx) => {
        await streams.append(tx, 's', 0, [event('a')]);
        return streams.read('s', 0, 10, tx);
      });
      assert.deepEqual(seen.map(({ id }) => id), ['a']);
      assert.deepEqual(await read(session, 's'), []);
      assert.deepEqual((await streams.scan(undefined, 10)).events, []);
      assert.deepEqual(summary(await append(session, 's', 0, event('b'))), { appended: true, version: 1 });
    },
  },
  {
    name: 'the log gives each event once, page by page, those of one stream in order',
    needs,
    async run(world) {
      const session = await world.open();
      for (let i = 0; i < 9; i++) await append(session, `s${i % 2}`, undefined, event(`e${i}`), event(`f${i}`));
      const found: StoredEvent[] = [];
      let cursor: string | undefined;
      for (let more = true; more; ) {
        const page = await port(session).scan(cursor, 4);
        assert.ok(page.events.length <= 4);
        found.push(...page.events);
        cursor = page.next;
        more = page.more;
      }
      assert.equal(found.length, 18);
      assert.equal(new Set(found.map(({ id }) => id)).size, 18);
      for (const stream of ['s0', 's1']) {
        const mine = found.filter((one) => one.stream === stream).map(({ version }) => version);
        assert.deepEqual(mine, mine.map((_, i) => i + 1));
      }
    },
  },
  {
    name: 'large events of a stream are read a few at a time, all of them, in order',
    needs,
    async run(world) {
      const session = await world.open();
      const large = await appendLarge(session);
      const pages = (tx?: StoreTransaction) => async (after: StoredEvent | undefined) => port(session).read('s', after?.version ?? 0, 500, tx);
      assert.deepEqual(await inFewBytes(pages(), large.length), large);
      assert.deepEqual(await session.transaction((tx) => inFewBytes(pages(tx), large.length)), large);
    },
  },
  {
    name: 'large events of the log are read a few at a time, all of them, in order',
    needs,
    async run(world) {
      const session = await world.open();
      const large = await appendLarge(session);
      let cursor: string | undefined;
      let more = true;
      const pages = async (): Promise<readonly StoredEvent[]> => {
        const page = await port(session).scan(cursor, 500);
        cursor = page.next;
        more = page.more;
        return page.events;
      };
      assert.deepEqual(await inFewBytes(pages, large.length, () => more), large);
      assert.equal(more, false, 'nothing comes after the last one');
    },
  },
  {
    name: 'at the end of the log there is nothing, until something is appended',
    needs,
    async run(world) {
      const session = await world.open();
      const streams = port(session);
      const none = await streams.scan(undefined, 10);
      assert.deepEqual([none.events, none.more], [[], false]);
      await append(session, 's', 0, event('a'));
      const { next } = await streams.scan(none.next, 10);
      const end = await streams.scan(next, 10);
      assert.deepEqual([end.events, end.more], [[], false]);
      await append(session, 's', 1, event('b'));
      assert.deepEqual((await streams.scan(end.next, 10)).events.map(({ id }) => id), ['b']);
    },
  },
  {
    name: 'an event that commits late is not stepped over',
    needs,
    async run(world) {
      const session = await world.open();
      const streams = port(session);
      const late = held(session, (tx) => streams.append(tx, 'late', 0, [event('late')]));
      await late.worked;
      const early = append(session, 'early', 0, event('early')); // where transactions come one at a time it waits
      if (session.capabilities.parallelTransactions) await early;
      else await turns(world);
      const scanning = streams.scan(undefined, 10); // where there is one connection it waits too
      await turns(world);
      await late.end('commit');
      const first = await scanning;
      await early;
      const rest = await streams.scan(first.next, 10);
      const ids = [...first.events, ...rest.events].map(({ id }) => id);
      assert.deepEqual(ids.toSorted(), ['early', 'late']);
    },
  },
  {
    name: 'one instance holds a projection; another takes over when the lease is over or given back, where it stood',
    needs,
    async run(world) {
      const session = await world.open();
      const streams = port(session);
      await append(session, 's', 0, event('a'));
      const { next } = await streams.scan(undefined, 10);
      const one = await acquire(session, 'one');
      assert.equal(one.cursor, undefined);
      assert.equal(await streams.acquire('p', 'two', leaseMs), undefined);
      await session.transaction((tx) => one.settleIn(tx, next));
      await world.pass(leaseMs - 1_000);
      assert.equal(await one.renew(undefined), true);
      await world.pass(leaseMs - 1_000);
      assert.equal(await streams.acquire('p', 'two', leaseMs), undefined, 'it was renewed');
      await world.pass(leaseMs);
      const two = await acquire(session, 'two');
      assert.equal(two.cursor, next);
      await two.release();
      await acquire(session, 'three');
      assert.ok(await streams.acquire('other', 'four', leaseMs), 'each projection has a lease of its own');
    },
  },
  {
    name: 'whoever has lost a projection commits nothing',
    needs,
    async run(world) {
      const session = await world.open();
      await append(session, 's', 0, event('a'));
      const { next } = await port(session).scan(undefined, 10);
      const one = await acquire(session, 'one');
      await world.pass(leaseMs + 1_000);
      const two = await acquire(session, 'two');
      await refused('LEASE_LOST', () => session.transaction((tx) => one.settleIn(tx, next)));
      await refused('LEASE_LOST', () => session.transaction((tx) => one.settleIn(tx)));
      assert.equal(await one.renew(undefined), false);
      await one.release();
      await session.transaction((tx) => two.settleIn(tx));
      await two.release();
      assert.equal((await acquire(session, 'three')).cursor, undefined);
    },
  },
  {
    name: 'a projection moves with its transaction, or not at all',
    needs,
    async run(world) {
      const session = await world.open();
      await append(session, 's', 0, event('a'));
      const { next } = await port(session).scan(undefined, 10);
      const one = await acquire(session, 'one');
      await undone(session, (tx) => one.settleIn(tx, next));
      assert.equal((await state(session)).cursor, undefined);
      await session.transaction((tx) => one.settleIn(tx, next));
      assert.equal((await state(session)).cursor, next);
    },
  },
  {
    name: 'reset sets a projection back to the beginning, and whoever holds it loses it',
    needs,
    async run(world) {
      const session = await world.open();
      const streams = port(session);
      await append(session, 's', 0, event('a'));
      const { next } = await streams.scan(undefined, 10);
      const one = await acquire(session, 'one');
      await session.transaction((tx) => one.settleIn(tx, next));
      await undone(session, (tx) => streams.reset(tx, 'p'));
      await session.transaction((tx) => one.settleIn(tx)); // nothing has happened
      await session.transaction((tx) => streams.reset(tx, 'p'));
      await refused('LEASE_LOST', () => session.transaction((tx) => one.settleIn(tx, next)));
      assert.equal((await acquire(session, 'two')).cursor, undefined);
    },
  },
  {
    name: 'progress counts what lies before each projection, up to where it is asked',
    needs,
    async run(world) {
      const session = await world.open();
      const streams = port(session);
      await append(session, 's', 0, event('a'), event('b'), event('c'));
      const one = await acquire(session, 'one');
      assert.equal((await state(session)).behind, 3);
      const { end } = await streams.progress();
      await append(session, 's', 3, event('d'));
      const { next } = await streams.scan(undefined, 2);
      await session.transaction((tx) => one.settleIn(tx, next));
      assert.deepEqual([(await state(session)).behind, (await state(session, end)).behind], [2, 1]);
      assert.ok((await state(session)).movedMs !== undefined);
      const { next: last } = await streams.scan(next, 10);
      await session.transaction((tx) => one.settleIn(tx, last));
      assert.deepEqual([(await state(session)).behind, (await state(session, end)).behind], [0, 0]);
    },
  },
  {
    name: 'what keeps a projection is there for whoever asks, until it moves',
    needs,
    async run(world) {
      const session = await world.open();
      await append(session, 's', 0, event('a'));
      const { next } = await port(session).scan(undefined, 10);
      const one = await acquire(session, 'one');
      const failure = { code: 'HANDLER_FAILED', message: 'käse', stream: 's', version: 1, attempts: 3 };
      assert.equal(await one.renew(failure), true);
      assert.deepEqual({ ...(await state(session)).failure }, failure);
      await one.release();
      const two = await acquire(session, 'two');
      assert.deepEqual({ ...two.failure }, failure);
      await session.transaction((tx) => two.settleIn(tx, next));
      assert.equal((await state(session)).failure, undefined);
    },
  },
];

function event(id: string): NewEvent {
  return { id, type: 'orders.placed.v1', timeMs: 1_000, correlationId: id, causationId: undefined, headers: {}, body: '{}' };
}

/** Bytes of a large event: more than one page has, a few of them; in letters of three bytes. */
const largeBytes = readBytesMax / 4;

/** Large events, a small one and one that is larger than a page; answers their ids. */
async function appendLarge(session: StoreSession): Promise<string[]> {
  const bytes = [...Array<number>(6).fill(largeBytes), 3, readBytesMax + largeBytes, ...Array<number>(4).fill(largeBytes)];
  const large = bytes.map((size, i) => ({ ...event(`e${i}`), body: `"${'世'.repeat(Math.floor(size / 3))}"` }));
  for (const [i, one] of large.entries()) await append(session, 's', i, one);
  return large.map(({ id }) => id);
}

/** The ids on all pages; each has at least one event, and ends with the one that makes it large. */
async function inFewBytes(page: (after: StoredEvent | undefined) => Promise<readonly StoredEvent[]>, pagesMax: number, more = () => true): Promise<string[]> {
  const found: string[] = [];
  let last: StoredEvent | undefined;
  for (let pages = 0; pages <= pagesMax && more(); pages++) {
    const events = await page(last);
    const bytes = events.slice(0, -1).reduce((sum, { body }) => sum + Buffer.byteLength(body), 0);
    assert.ok(bytes < readBytesMax, `${bytes} bytes before the last event of a page`);
    found.push(...events.map(({ id }) => id));
    if (events.length === 0) break;
    last = events.at(-1);
  }
  return found;
}

function port(session: StoreSession): StreamsPort {
  const { streams } = session.ports;
  assert.ok(streams, 'a driver that does not declare to lack `streams` has the port');
  return streams;
}

function append(session: StoreSession, stream: string, expected: number | undefined, ...events: readonly NewEvent[]) {
  return session.transaction((tx: StoreTransaction) => port(session).append(tx, stream, expected, events));
}

const summary = ({ appended, version }: { appended: boolean; version: number }) => ({ appended, version });

async function read(session: StoreSession, stream: string): Promise<readonly StoredEvent[]> {
  return port(session).read(stream, 0, 100);
}

/** As it was given. */
function plain({ id, type, timeMs, correlationId, causationId, headers, body }: StoredEvent): NewEvent {
  return { id, type, timeMs, correlationId, causationId, headers: { ...headers }, body };
}

async function acquire(session: StoreSession, owner: string): Promise<ProjectionLease> {
  const lease = await port(session).acquire('p', owner, leaseMs);
  assert.ok(lease, `${owner} gets the lease`);
  return lease;
}

async function state(session: StoreSession, upTo?: string) {
  const found = (await port(session).progress(upTo)).projections.find(({ name }) => name === 'p');
  assert.ok(found);
  return found;
}
