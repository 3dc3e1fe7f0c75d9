import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { failure, folder, openStore, testHost, wire } from '../../../test/sqlite/support.ts';
import type { Envelope, WireMessage } from '../../contract/message.ts';
import { cloudEvents } from '../../formats/cloudevents.ts';
import type { SqliteStoreSession } from './port.ts';

const append = (store: SqliteStoreSession, ...ids: string[]): Promise<void> =>
  store.transaction((tx) => store.ports.outbox.append(tx, ids.map((id) => wire({ id }))));
const positions = async (store: SqliteStoreSession): Promise<number[]> =>
  (await store.ports.inspect.outbox({ limit: 1_000 })).map((entry) => entry.position);
const trimmedTo = (store: SqliteStoreSession): Promise<number> =>
  store.database.read((statements) => statements.get<{ n: number }>('select trimmed_to as n from waybill_identity')!.n);

describe('the ledger', () => {
  it('keeps messages byte for byte, in the order of their commits', async (t) => {
    const store = await openStore(t, ':memory:');
    const message = wire({
      kind: 'command',
      id: 'ünïcode',
      recipient: 'ordering',
      key: 'k',
      headers: { 'ce-id': 'ünïcode', tenant: '' },
      body: new Uint8Array([0, 255, 1]),
    });
    await store.transaction((tx) => store.ports.outbox.append(tx, [message, wire({ id: 'b', body: new Uint8Array(0) })]));
    await append(store, 'c');
    const lease = await store.ports.outbox.acquire('me', 3_000);
    const rows = await lease!.read(10);
    assert.deepEqual(rows.map((row) => [row.position, row.id]), [[1, 'ünïcode'], [2, 'b'], [3, 'c']]); // prettier-ignore
    assert.deepEqual(rows[0], { ...message, position: 1 });
    assert.deepEqual(rows[1]!.body, new Uint8Array(0));
  });

  it('keeps usual events and others byte for byte, together and apart', async (t) => {
    const store = await openStore(t, ':memory:');
    const usual = (id: string, more: object = {}): WireMessage => {
      const envelope: Envelope = { kind: 'event', id, source: store.database.service, type: "it's.v1", time: new Date(7), correlationId: id, headers: {}, ...more };
      const { kind, source, type, recipient, key } = envelope;
      return { kind, id, source, type, recipient, key, time: 7, ...cloudEvents.encode(envelope, JSON.stringify(id)) };
    };
    const others = [usual('a', { key: 'k' }), usual('b', { source: 'another' }), usual('c', { headers: { tenant: 'x' } }), usual('d', { kind: 'command', recipient: 'billing' }), usual('e', { correlationId: 'a' })];
    const groups = [[usual('1'), usual('2', { key: "k'?" })], others, [usual('3'), ...others.map((other) => ({ ...other, id: `${other.id}2` })), usual('4')], Array.from({ length: 70 }, (_, n) => usual(`n${n}`))];
    for (const group of groups) await store.transaction((tx) => store.ports.outbox.append(tx, group));
    const lease = await store.ports.outbox.acquire('me', 3_000);
    const rows = await lease!.read(1_000);
    assert.deepEqual(rows.map(({ position: _, ...row }) => ({ ...row, body: Buffer.from(row.body).toString(), headers: { ...row.headers } })), groups.flat().map((message) => ({ ...message, body: Buffer.from(message.body).toString() })));
    assert.deepEqual(rows.map(({ position }) => position), groups.flat().map((_, at) => at + 1));
  });

  it('gives a position out again only when nobody has seen it', async (t) => {
    const store = await openStore(t, ':memory:');
    await append(store, 'a');
    await assert.rejects(
      store.transaction((tx) => {
        void store.ports.outbox.append(tx, [wire()]);
        throw new Error('no');
      }),
    );
    await append(store, 'b');
    assert.deepEqual(await positions(store), [1, 2]);
    assert.equal(await store.ports.outbox.trim(Infinity, 100), 2);
    await append(store, 'c');
    assert.deepEqual(await positions(store), [3]); // and not 1, although the table was empty
  });

  it('has the rows of one transaction in the order of the calls, those of an undone part not at all', async (t) => {
    const store = await openStore(t, ':memory:');
    const many = Array.from({ length: 70 }, (_, n) => `m${n}`);
    await store.transaction(async (tx) => {
      const add = (...ids: string[]): unknown => store.ports.outbox.append(tx, ids.map((id) => wire({ id })));
      await add('before');
      await assert.rejects(
        tx.savepoint(async () => {
          await add('undone');
          await tx.savepoint(async () => void (await add('kept in what is undone')));
          await add('undone too');
          throw new Error('no');
        }),
      );
      await tx.savepoint(async () => void (await add('kept', ...many)));
      await add('last');
    });
    const rows = await (await store.ports.outbox.acquire('me', 3_000))!.read(1_000);
    assert.deepEqual(rows.map(({ id }) => id), ['before', 'kept', ...many, 'last']);
    assert.deepEqual(rows.map(({ position }) => position), rows.map((_, at) => at + 1));
  });

  it('commits nothing of a transaction whose rows cannot be written', async (t) => {
    const store = await openStore(t, ':memory:');
    await store.transaction((tx) => tx.native.query('create table item as select 0 as n'));
    const refused = store.transaction(async (tx) => {
      await tx.native.query('update item set n = 1');
      await store.ports.outbox.append(tx, [wire({ time: 'no number' as unknown as number })]);
    });
    await assert.rejects(refused);
    // Past what is held at once the call itself throws: who goes on all the same commits nothing either.
    let told = 0;
    const swallowed = store.transaction(async (tx) => {
      await tx.native.query('update item set n = 1');
      try {
        await store.ports.outbox.append(tx, Array.from({ length: 40 }, () => wire({ time: 'no number' as unknown as number })));
      } catch {
        told++;
      }
    });
    await assert.rejects(swallowed);
    assert.equal(told, 1);
    assert.deepEqual({ ...(await store.database.read((statements) => statements.get('select n from item'))) }, { n: 0 });
    await append(store, 'next');
    assert.deepEqual(await positions(store), [1]);
  });

  it('tells `published` with the position, after the commit only', async (t) => {
    const host = testHost();
    const store = await openStore(t, ':memory:', host);
    await store.transaction(async (tx) => {
      await store.ports.outbox.append(tx, [wire({ id: 'a', key: 'k' })]);
      await assert.rejects(tx.savepoint(() => Promise.resolve(store.ports.outbox.append(tx, [wire()])).then(() => Promise.reject(new Error('no')))));
      assert.deepEqual(host.reported, []);
    });
    const detail = { id: 'a', source: 'catalog', type: 'catalog.price-changed.v1', key: 'k', position: 1 };
    assert.deepEqual(host.reported, [{ name: 'published', detail }]);
  });

  it('has every key’s lock by being in the transaction', async (t) => {
    const store = await openStore(t, ':memory:');
    await store.transaction((tx) => store.ports.outbox.lockKey(tx, 'k'), { lazy: true });
  });
});

describe('trimming the ledger', () => {
  it('removes what was written before a time, from the oldest on, and says how far in the same commit', async (t) => {
    const host = testHost();
    const store = await openStore(t, ':memory:', host);
    for (const [nowMs, id] of [[100, 'a'], [200, 'b'], [150, 'c'], [400, 'd']] as const) {
      host.nowMs = nowMs;
      await append(store, id); // the clock steps back before c
    }
    assert.equal(await store.ports.outbox.trim(100, 10), 0);
    assert.equal(await store.ports.outbox.trim(160, 10), 1); // c is old enough, but b stands before it
    assert.deepEqual(await positions(store), [2, 3, 4]);
    assert.equal(await trimmedTo(store), 1);
    assert.equal(await store.ports.outbox.trim(300, 10), 2);
    assert.deepEqual([await positions(store), await trimmedTo(store)], [[4], 3]);
    assert.equal(await store.ports.outbox.trim(300, 10), 0);
    assert.equal(await trimmedTo(store), 3);
  });

  it('goes by when a row was written, so a message that was delayed past the horizon is not gone before it is read', async (t) => {
    const host = testHost();
    const store = await openStore(t, ':memory:', host);
    host.nowMs = 1_000_000;
    await store.transaction((tx) => store.ports.outbox.append(tx, [wire({ time: 1 })]));
    assert.equal(await store.ports.outbox.trim(900_000, 10), 0);
  });

  it('never removes what the relay has not sent', async (t) => {
    const store = await openStore(t, ':memory:');
    await append(store, 'a', 'b', 'c');
    const lease = await store.ports.outbox.acquire('me', 3_000);
    assert.equal(await store.ports.outbox.trim(Infinity, 10), 0);
    await lease!.settle(2, []);
    assert.equal(await store.ports.outbox.trim(Infinity, 10), 2);
    assert.deepEqual(await positions(store), [3]);
  });

  it('goes in pieces, up to as many rows as were asked for', async (t) => {
    const store = await openStore(t, ':memory:');
    await append(store, ...Array.from({ length: 1_300 }, (_, n) => `m${n}`));
    assert.equal(await store.ports.outbox.trim(Infinity, 1_200), 1_200);
    assert.equal(await store.ports.outbox.trim(Infinity, 1_200), 100);
    assert.equal(await trimmedTo(store), 1_300);
  });
});

describe('the relay’s lease', () => {
  it('is one instance’s at a time, until it is given back or has run out', async (t) => {
    const host = testHost();
    const store = await openStore(t, join(folder(t), 'catalog.db'), host);
    const { outbox } = store.ports;
    host.nowMs = 10_000;
    const first = await outbox.acquire('one', 3_000);
    assert.ok(first);
    assert.equal(await outbox.acquire('two', 3_000), undefined);
    host.nowMs = 12_000;
    assert.equal(await first.renew(), true);
    host.nowMs = 14_000;
    assert.equal(await outbox.acquire('two', 3_000), undefined); // renewed
    host.nowMs = 15_001;
    const second = await outbox.acquire('two', 3_000);
    assert.ok(second);
    assert.equal(await first.renew(), false);
    await second.release();
    assert.ok(await outbox.acquire('three', 3_000));
  });

  it('may be taken when it runs out later than it could: the clock has stepped back', async (t) => {
    const host = testHost();
    const store = await openStore(t, ':memory:', host);
    host.nowMs = 1_000_000;
    await store.ports.outbox.acquire('one', 3_000);
    host.nowMs = 500_000;
    assert.ok(await store.ports.outbox.acquire('two', 3_000));
  });

  it('is taken by one of two who see it free at once', async (t) => {
    const file = join(folder(t), 'catalog.db');
    const stores = [await openStore(t, file), await openStore(t, file)];
    for (let round = 0; round < 10; round++) {
      const leases = await Promise.all(stores.map((store, n) => store.ports.outbox.acquire(`r${round}-${n}`, 3_000)));
      const held = leases.filter((lease) => lease !== undefined);
      assert.equal(held.length, 1);
      await held[0]!.release();
    }
  });

  it('reads on from what it has read, and again from what was settled after a crash', async (t) => {
    const store = await openStore(t, join(folder(t), 'catalog.db'));
    await append(store, 'a', 'b', 'c', 'd');
    const first = (await store.ports.outbox.acquire('one', 3_000))!;
    const ids = async (lease: typeof first, max: number): Promise<string[]> => (await lease.read(max)).map((row) => row.id);
    assert.deepEqual(await ids(first, 2), ['a', 'b']);
    assert.deepEqual(await ids(first, 2), ['c', 'd']);
    assert.deepEqual(await ids(first, 2), []);
    await first.settle(1, []);
    await append(store, 'e');
    assert.deepEqual(await ids(first, 2), ['e']);
    const next = (await store.ports.outbox.acquire('one', 3_000))!; // the same instance, having forgotten
    assert.deepEqual(await ids(next, 9), ['b', 'c', 'd', 'e']);
  });

  it('settles and parks in one commit, and never goes back', async (t) => {
    const store = await openStore(t, ':memory:');
    await append(store, 'a', 'b', 'c');
    const lease = (await store.ports.outbox.acquire('one', 3_000))!;
    await lease.read(3);
    await lease.settle(2, [failure({ subscription: undefined, message: wire({ id: 'b' }) })]);
    await lease.settle(1, []);
    const states = (await store.ports.inspect.outbox({})).map((entry) => `${entry.id} ${entry.state}`);
    assert.deepEqual(states, ['a published', 'b failed', 'c ready']);
    assert.equal((await store.ports.inspect.failures({ subscription: null })).length, 1);
  });

  it('is a fence: who has lost it writes nothing', async (t) => {
    const host = testHost();
    const store = await openStore(t, ':memory:', host);
    await append(store, 'a', 'b');
    host.nowMs = 1_000;
    const zombie = (await store.ports.outbox.acquire('one', 3_000))!;
    await zombie.read(2);
    host.nowMs = 10_000;
    const holder = (await store.ports.outbox.acquire('two', 3_000))!;
    const late = zombie.settle(2, [failure({ subscription: undefined })]);
    await assert.rejects(late, { code: 'LEASE_LOST' });
    assert.deepEqual(await store.ports.inspect.counts(), { ready: 2, waiting: 0, failed: 0 });
    await zombie.release();
    assert.equal(await holder.renew(), true); // not given back for it
  });
});
