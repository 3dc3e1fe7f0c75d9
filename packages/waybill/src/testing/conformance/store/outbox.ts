/** The ledger of what was sent, and the relay's hold on it. */
import assert from 'node:assert/strict';
import { limits, type WireMessage } from '../../../contract/message.ts';
import { readBytesMax, type OutboxLease, type OutboxRow, type StoreSession } from '../../../contract/store.ts';
import { failure, held, label, message, undone, within, type StoreCase } from './world.ts';

const leaseMs = 30_000;

export const outboxCases: readonly StoreCase[] = [
  {
    name: 'history gives what is published of the types asked for, in order, page by page, and nothing else',
    needs: ['history'],
    async run(world) {
      const session = await world.open();
      const { outbox } = session.ports;
      assert.ok(outbox.history, 'a driver that does not declare to lack `history` has the member');
      const types = ['catalog.price-changed.v1'];
      const names = async (query: object): Promise<string[]> => (await outbox.history!({ types, max: 10, ...query })).messages.map(label);
      const lease = (await outbox.acquire('relay', 60_000))!;
      const sent = ['a', 'b', 'c', 'd', 'e'].map((name) => message(name, name === 'b' ? { type: 'catalog.viewed.v1' } : {}));
      await session.transaction((tx) => outbox.append(tx, sent));
      assert.deepEqual(await names({}), [], 'nothing is published yet');
      const rows = await lease.read(10);
      await lease.settle(rows.at(-1)!.position, []);
      await session.transaction((tx) => outbox.append(tx, [message('not yet')]));
      assert.deepEqual(await names({}), ['a', 'c', 'd', 'e']);
      const found: string[] = [];
      let after: string | undefined;
      for (let pages = 0, more = true; more && pages < 10; pages++) {
        const page = await outbox.history({ types, after, max: 3 });
        assert.ok(page.messages.length <= 3);
        found.push(...page.messages.map(label));
        ({ next: after, more } = page);
      }
      assert.deepEqual(found, ['a', 'c', 'd', 'e']);
      assert.deepEqual(await names({ after }), []);
      const nowMs = world.clock.now();
      assert.deepEqual(await names({ sinceMs: nowMs + 60_000 }), []);
      assert.deepEqual(await names({ untilMs: nowMs - 60_000 }), []);
      assert.deepEqual(await names({ sinceMs: nowMs - 60_000, untilMs: nowMs + 60_000 }), ['a', 'c', 'd', 'e']);
    },
  },
  {
    name: 'rows come back as they were appended, to the byte',
    async run(world) {
      const session = await world.open();
      const sent = [
        message('plain'),
        message('all set', { kind: 'command', recipient: 'ordering', key: 'käse 🌍 ', time: 1_767_225_600_123 }),
        message('reply', { kind: 'reply', recipient: 'basket/1', headers: {} }),
        message('headers', { headers: { empty: '', unicode: 'Grüße 世界', quotes: `"'\\`, constructor: 'own' } }),
        message('every byte', { body: Uint8Array.from({ length: 256 }, (_, byte) => byte) }),
        message('empty', { body: new Uint8Array() }),
        message('large', { body: new Uint8Array(limits.bodyBytes).fill(0xa5) }),
        message('odd id', { id: "'; drop table waybill_ledger; --", source: 'catalog' }),
      ];
      await append(session, ...sent);
      await append(session); // nothing is no error
      const lease = await acquire(session);
      const rows = await lease.read(100);
      assert.deepEqual(rows.map(plain), sent.map(plain));
      for (const { body } of rows) assert.ok(body instanceof Uint8Array);
    },
  },
  {
    name: 'rows are read in the order they were committed, at rising positions',
    async run(world) {
      const session = await world.open();
      await append(session, message('a'), message('b'));
      await undone(session, (tx) => session.ports.outbox.append(tx, [message('undone')]));
      await append(session, message('c'));
      const rows = await (await acquire(session)).read(100);
      assert.deepEqual(rows.map(label), ['a', 'b', 'c']);
      const positions = rows.map(({ position }) => position);
      assert.deepEqual(positions, [...new Set(positions)].sort((one, two) => one - two));
    },
  },
  {
    name: 'read goes on after what it has read, and finds what is committed later',
    async run(world) {
      const session = await world.open();
      await append(session, message('a'), message('b'), message('c'));
      const lease = await acquire(session);
      assert.deepEqual((await lease.read(2)).map(label), ['a', 'b']);
      assert.deepEqual((await lease.read(2)).map(label), ['c']);
      assert.deepEqual(await lease.read(2), []);
      await append(session, message('d'));
      assert.deepEqual((await lease.read(2)).map(label), ['d']);
    },
  },
  {
    name: 'large rows are read a few at a time, all of them, in order',
    async run(world) {
      const session = await world.open();
      const bytes = readBytesMax / 4;
      const sent = Array.from({ length: 11 }, (_, n) => message(`${n}`, { body: new Uint8Array(n === 6 ? 10 : bytes) }));
      for (const one of sent) await append(session, one);
      const lease = await acquire(session);
      const found: string[] = [];
      for (let windows = 0; windows < sent.length && found.length < sent.length; windows++) {
        const rows = await lease.read(500);
        const size = rows.reduce((sum, { body }) => sum + body.length, 0);
        assert.ok(size < readBytesMax + bytes, `${size} bytes in one read`);
        found.push(...rows.map(({ id }) => id));
        if (rows.length > 0) await lease.settle(rows.at(-1)!.position, []);
      }
      assert.deepEqual(found, sent.map(({ id }) => id));
      assert.deepEqual(await lease.read(500), []);
    },
  },
  {
    name: 'several windows are read before the first is settled, and any prefix of them is settled',
    async run(world) {
      const session = await world.open();
      const lease = await acquire(session, 'one');
      const windows: (readonly OutboxRow[])[] = [];
      for (const name of ['a', 'b', 'c']) {
        await append(session, message(`${name}1`), message(`${name}2`));
        windows.push(await lease.read(10));
      }
      assert.deepEqual(windows.map((rows) => rows.map(label)), [['a1', 'a2'], ['b1', 'b2'], ['c1', 'c2']]);
      await Promise.all([lease.settle(windows[0]![1]!.position, []), lease.settle(windows[1]![0]!.position, []), lease.read(10)]);
      await world.pass(leaseMs + 1);
      const next = await acquire(session, 'two');
      const rows = [...(await next.read(10)), ...(await next.read(10))];
      assert.deepEqual(rows.map(label), ['b2', 'c1', 'c2']);
    },
  },
  {
    name: 'read never gives what is not committed',
    async run(world) {
      const session = await world.open();
      const lease = await acquire(session);
      const open = held(session, (tx) => session.ports.outbox.append(tx, [message('undone')]));
      await open.worked;
      const reading = lease.read(10); // where there is one connection, it waits
      await open.end('rollback');
      assert.deepEqual((await reading).map(label), []);
      await append(session, message('a'));
      assert.deepEqual((await lease.read(10)).map(label), ['a']);
    },
  },
  {
    name: 'one instance at a time may send',
    async run(world) {
      const { ports } = await world.open();
      const first = await ports.outbox.acquire('one', leaseMs);
      assert.ok(first, 'nobody held it');
      assert.equal(await ports.outbox.acquire('two', leaseMs), undefined);
    },
  },
  {
    name: 'one instance at a time may send, over several sessions',
    needs: ['sessions'],
    async run(world) {
      const [one, two] = [await world.open(), await world.open()];
      const first = await acquire(one, 'one');
      assert.equal(await two.ports.outbox.acquire('two', leaseMs), undefined);
      await first.release();
      await acquire(two, 'two');
    },
  },
  {
    name: 'a lease that is given back is free at once',
    async run(world) {
      const session = await world.open();
      const first = await acquire(session, 'one');
      await first.release();
      await acquire(session, 'two');
    },
  },
  {
    name: 'a lease whose time is up is taken over',
    async run(world) {
      const session = await world.open();
      await acquire(session, 'one');
      await world.pass(leaseMs + 1);
      await acquire(session, 'two');
    },
  },
  {
    name: 'a lease that is renewed in time is kept',
    async run(world) {
      const session = await world.open();
      const lease = await acquire(session, 'one');
      for (let turn = 0; turn < 3; turn++) {
        await world.pass(leaseMs / 2);
        assert.equal(await lease.renew(), true);
      }
      assert.equal(await session.ports.outbox.acquire('two', leaseMs), undefined);
    },
  },
  {
    name: 'a lease that was lost writes nothing any more',
    async run(world) {
      const session = await world.open();
      await append(session, message('a'), message('b'));
      const zombie = await acquire(session, 'one');
      const [a, b] = await zombie.read(2);
      await zombie.settle(a!.position, []);
      await world.pass(leaseMs + 1);
      const next = await acquire(session, 'two');
      await assert.rejects(zombie.settle(b!.position, [failure('b', { subscription: undefined })]));
      assert.equal(await zombie.renew(), false);
      await zombie.release();
      assert.equal(await session.ports.outbox.acquire('three', leaseMs), undefined, "the zombie gave back another's lease");
      assert.deepEqual(await session.ports.inspect.failures({}), []);
      assert.deepEqual((await next.read(10)).map(label), ['b']);
    },
  },
  {
    name: 'the next holder reads again from the last settled row',
    async run(world) {
      const session = await world.open();
      await append(session, message('a'), message('b'), message('c'));
      const first = await acquire(session, 'one');
      const rows = await first.read(3);
      await first.settle(rows[0]!.position, []);
      await world.pass(leaseMs + 1);
      const second = await acquire(session, 'two');
      assert.deepEqual((await second.read(10)).map(label), ['b', 'c']);
      await second.settle(rows[2]!.position, []);
      await second.release();
      assert.deepEqual(await (await acquire(session, 'three')).read(10), []);
    },
  },
  {
    name: 'what a lease settles outlives the session',
    needs: ['restart'],
    async run(world) {
      const before = await world.open();
      await append(before, message('a'), message('b'));
      const lease = await acquire(before, 'one');
      await lease.settle((await lease.read(1))[0]!.position, []);
      await before.close();
      await world.pass(leaseMs + 1);
      const after = await world.open();
      assert.deepEqual((await (await acquire(after, 'two')).read(10)).map(label), ['b']);
    },
  },
  {
    name: 'what is parked stands in failures, with its bytes',
    async run(world) {
      const session = await world.open();
      await append(session, message('a'));
      const lease = await acquire(session);
      const [row] = await lease.read(1);
      const parked = failure('a', { subscription: undefined, attempts: 1, error: { code: 'UNROUTABLE', message: 'no queue takes it', stack: undefined } });
      await lease.settle(row!.position, [parked]);
      const found = await session.ports.inspect.failures({ subscription: null });
      assert.equal(found.length, 1);
      const { row: number, ...rest } = found[0]!;
      assert.equal(typeof number, 'number');
      assert.deepEqual({ ...rest, message: plain(rest.message) }, { ...parked, message: plain(parked.message) });
      assert.deepEqual(await lease.read(10), []);
    },
  },
  {
    name: 'trim removes what was published before that time, and never what was not',
    async run(world) {
      const session = await world.open();
      const { outbox, inspect } = session.ports;
      const lease = await acquire(session);
      await append(session, message('old'), message('old, not published'));
      await lease.settle((await lease.read(1))[0]!.position, []);
      await world.pass(10_000);
      assert.equal(await outbox.trim(world.clock.now() - 20_000, 100), 0, 'nothing is that old');
      assert.equal(await outbox.trim(world.clock.now() - 5_000, 100), 1);
      assert.deepEqual((await inspect.outbox({})).map(({ id }) => id), ['id of old, not published']);
      assert.deepEqual((await lease.read(10)).map(label), ['old, not published']);
    },
  },
  {
    name: 'trim keeps what was published after that time',
    async run(world) {
      const session = await world.open();
      const { outbox, inspect } = session.ports;
      const lease = await acquire(session);
      await append(session, message('old'));
      await world.pass(10_000);
      await append(session, message('young'));
      await lease.settle((await lease.read(2))[1]!.position, []);
      assert.equal(await outbox.trim(world.clock.now() - 5_000, 100), 1);
      assert.deepEqual((await inspect.outbox({})).map(({ id }) => id), ['id of young']);
    },
  },
  {
    name: 'trim removes no more than was asked for, the oldest first',
    async run(world) {
      const session = await world.open();
      const { outbox, inspect } = session.ports;
      const lease = await acquire(session);
      await append(session, message('a'), message('b'), message('c'));
      await lease.settle((await lease.read(3))[2]!.position, []);
      await world.pass(1_000);
      assert.equal(await outbox.trim(world.clock.now(), 2), 2);
      assert.deepEqual((await inspect.outbox({})).map(({ id }) => id), ['id of c']);
      assert.equal(await outbox.trim(world.clock.now(), 2), 1);
    },
  },
  {
    name: 'a position is never used twice, even when all rows were trimmed',
    async run(world) {
      const session = await world.open();
      const lease = await acquire(session);
      await append(session, message('a'));
      const [a] = await lease.read(1);
      await lease.settle(a!.position, []);
      await world.pass(1_000);
      assert.equal(await session.ports.outbox.trim(world.clock.now(), 10), 1);
      await append(session, message('b'));
      const [b] = await lease.read(1);
      assert.equal(b && label(b), 'b');
      assert.ok(b!.position > a!.position, `${b!.position} after ${a!.position}`);
    },
  },
  {
    name: "a key's lock is held until its transaction ends",
    async run(world) {
      const session = await world.open();
      const { outbox } = session.ports;
      const order: string[] = [];
      const open = held(session, (tx) => outbox.lockKey(tx, 'k'));
      await open.worked;
      const second = session.transaction(async (tx) => {
        await outbox.lockKey(tx, 'k');
        order.push('second has it');
      });
      for (let turn = 0; turn < 5; turn++) await world.clock.turn();
      order.push('first ends');
      await open.end('commit');
      await within(world, second, 'the second was to get the lock');
      assert.deepEqual(order, ['first ends', 'second has it']);
    },
  },
];

async function append(session: StoreSession, ...messages: readonly WireMessage[]): Promise<void> {
  await session.transaction((tx) => session.ports.outbox.append(tx, messages));
}

async function acquire({ ports }: StoreSession, owner = 'one'): Promise<OutboxLease> {
  const lease = await ports.outbox.acquire(owner, leaseMs);
  assert.ok(lease, `${owner} was to get the lease`);
  return lease;
}

/** For comparison: plain objects, bytes as a buffer, no position. */
function plain(row: WireMessage | OutboxRow): unknown {
  const { kind, id, source, type, recipient, key, time, headers, body } = row;
  return { kind, id, source, type, recipient, key, time, headers: { ...headers }, body: Buffer.from(body).toString('base64') };
}

