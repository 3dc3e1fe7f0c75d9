/** What `send` answers, and replies. */
import assert from 'node:assert/strict';
import { WaybillError } from '../../../contract/errors.ts';
import { replyType, type WireMessage } from '../../../contract/message.ts';
import type { Declaration, Delivery } from '../../../contract/transport.ts';
import { apply, can, labels, message, receive, receiveNothing, send, to, type Peer, type TransportCase, type TransportWorld } from './world.ts';

const clear = 'basket.clear.v1';
const clearing: Declaration = to('basket.clear', { bindings: [{ type: clear, kind: 'command' }] });
const command = (label: string, of: Partial<WireMessage> = {}): WireMessage =>
  message(label, { kind: 'command', type: clear, recipient: 'basket', ...of });

export const outcomeCases: readonly TransportCase[] = [
  {
    name: 'a command that a queue takes is stored, and comes',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(clearing);
      await eventually(world, catalog, command('a'), 'stored');
      const got = await receive(world, await basket.session.consume(clearing), 1);
      assert.deepEqual([labels(got), got[0]!.kind], [['a'], 'command']);
    },
  },
  {
    name: 'a command that no queue takes is unroutable',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      assert.deepEqual(await send(catalog, command('a')), [{ kind: 'unroutable' }]);
    },
  },
  {
    name: 'a command goes to its recipient alone, even where another service takes its type',
    async run(world) {
      const [catalog, basket, thief] = [await world.start('catalog'), await world.start('basket'), await world.start('thief')];
      const stealing = to('thief.clear', { bindings: clearing.bindings });
      await thief.session.declare(stealing);
      await basket.session.declare(clearing);
      await eventually(world, catalog, command('a'), 'stored');
      assert.deepEqual(labels(await receive(world, await basket.session.consume(clearing), 1)), ['a']);
      await receiveNothing(world, await thief.session.consume(stealing), 'it is not for this service');
    },
  },
  {
    name: 'a command whose queue was removed is unroutable',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(clearing);
      await eventually(world, catalog, command('a'), 'stored');
      await basket.session.remove(clearing.name, 'drop');
      await eventually(world, catalog, command('b'), 'unroutable');
    },
  },
  {
    name: 'an event that nobody takes is no failure',
    async run(world) {
      const catalog = await world.start('catalog');
      const [outcome] = await send(catalog, message('a'));
      assert.ok(outcome?.kind === 'stored' || outcome?.kind === 'unroutable', `it is ${outcome?.kind}`);
    },
  },
  {
    name: 'there is one outcome for each message, in their order',
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      const outcomes = await send(catalog, message('a'), command('nobody takes it'), message('b'));
      assert.deepEqual(outcomes.map(({ kind }) => kind), ['stored', 'unroutable', 'stored']);
      assert.deepEqual(await send(catalog), []);
      assert.deepEqual(labels(await receive(world, await basket.session.consume(to('basket.prices')), 2)), ['a', 'b']);
    },
  },
  {
    name: 'a message that the broker refuses is told apart, and the rest goes on',
    needs: ['refusal'],
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      const bad = can(world.refused)(message('bad'));
      const outcomes = await send(catalog, message('a'), bad, message('b'));
      assert.deepEqual(outcomes.map(({ kind }) => kind), ['stored', 'refused', 'stored']);
      assert.ok(outcomes[1]?.kind === 'refused' && outcomes[1].reason !== '', 'with a reason');
      const consumer = await basket.session.consume(to('basket.prices'));
      const got: string[] = [];
      while (!got.includes('b')) got.push(...labels(await receive(world, consumer, 1)));
      // A broker may tell of the refusal by breaking off: what was in flight beside it is then sent again.
      assert.deepEqual([...new Set(got)], ['a', 'b']);
    },
  },
  {
    name: 'while the broker is away send and receive reject, and afterwards nothing that was stored is lost',
    needs: ['away'],
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      await send(catalog, message('a'), message('b'));
      const consumer = await basket.session.consume(to('basket.prices'));
      await receive(world, consumer, 1);
      await can(world.away)();
      const unreachable = (error: unknown): boolean => WaybillError.is(error, 'TRANSPORT_UNREACHABLE');
      await assert.rejects(send(catalog, message('c')), unreachable, 'send');
      const receiving = consumer.receive(10, { waitMs: world.patienceMs, signal: new AbortController().signal });
      await assert.rejects(receiving, unreachable, 'receive');
      await can(world.back)();
      await send(catalog, message('c'));
      await consumer.close();
      const next = await basket.session.consume(to('basket.prices'));
      const got = labels(await receive(world, next, 3));
      assert.deepEqual([...new Set(got)], ['a', 'b', 'c']);
    },
  },
  {
    name: 'what goes beside the commit is there exactly where the commit is the publish',
    async run(world) {
      const { session } = await world.start('catalog');
      assert.equal(session.ledger !== undefined, session.capabilities.publishesAtCommit);
    },
  },
  {
    name: 'where the commit is the publish, what was undone reaches nobody',
    needs: ['commit'],
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      const undone = catalog.store.transaction(async (tx) => {
        await catalog.store.ports.outbox.append(tx, [message('undone')]);
        throw new Error('undo');
      });
      await assert.rejects(undone, /undo/);
      await send(catalog, message('end'));
      assert.deepEqual(labels(await receive(world, await basket.session.consume(to('basket.prices')), 1)), ['end']);
    },
  },
  {
    name: 'where the commit is the publish, what was committed comes without any hint',
    needs: ['commit'],
    async run(world) {
      const [catalog, basket] = [await world.start('catalog'), await world.start('basket')];
      await basket.session.declare(to('basket.prices'));
      const consumer = await basket.session.consume(to('basket.prices'));
      await catalog.store.transaction((tx) => catalog.store.ports.outbox.append(tx, [message('a')]));
      assert.deepEqual(labels(await receive(world, consumer, 1)), ['a']);
    },
  },
  {
    name: 'a reply reaches the one instance that it is for',
    async run(world) {
      const [basket, one, two] = [await world.start('basket'), await world.start('catalog'), await world.start('catalog')];
      const [mine, others] = [inbox(), inbox()];
      const { address } = await one.session.listen(mine.deliver);
      const other = await two.session.listen(others.deliver);
      assert.notEqual(address, other.address);
      await eventually(world, basket, reply('a', address), 'stored');
      const got = await mine.next(world);
      assert.deepEqual([labels([got]), got.kind], [['a'], 'reply']);
      await eventually(world, basket, reply('end', other.address), 'stored');
      assert.deepEqual(labels([await others.next(world)]), ['end'], 'the first was not for this one');
    },
  },
  {
    name: 'a reply comes with its headers and bytes unchanged',
    async run(world) {
      const [basket, catalog] = [await world.start('basket'), await world.start('catalog')];
      const mine = inbox();
      const { address } = await catalog.session.listen(mine.deliver);
      const body = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      const sent = { ...reply('a', address), body, headers: { id: 'a', correlationid: 'c' } };
      await eventually(world, basket, sent, 'stored');
      const got = await mine.next(world);
      assert.deepEqual([{ ...got.headers }, [...got.body]], [sent.headers, [...body]]);
    },
  },
  {
    name: 'a reply to an address where nobody listens any more is unroutable',
    needs: ['addresses'],
    async run(world) {
      const [basket, catalog] = [await world.start('basket'), await world.start('catalog')];
      const gone = await catalog.session.listen(() => {});
      await eventually(world, basket, reply('a', gone.address), 'stored');
      await gone.close();
      await eventually(world, basket, reply('b', gone.address), 'unroutable');
    },
  },
  {
    name: 'a listener that throws harms nobody',
    async run(world) {
      const [basket, catalog] = [await world.start('basket'), await world.start('catalog')];
      const mine = inbox();
      const { address } = await catalog.session.listen((delivery) => {
        mine.deliver(delivery);
        if (labels([delivery])[0] === 'bad') throw new Error('from a listener');
      });
      await basket.session.declare(to('basket.prices'));
      await eventually(world, basket, reply('bad', address), 'stored');
      await mine.next(world);
      await eventually(world, basket, reply('good', address), 'stored');
      assert.deepEqual(labels([await mine.next(world)]), ['good']);
      await send(catalog, message('event'));
      const consumer = await basket.session.consume(to('basket.prices'));
      await apply(basket, consumer, await receive(world, consumer, 1));
    },
  },
];

function reply(label: string, recipient: string): WireMessage {
  return message(label, { kind: 'reply', type: replyType, source: 'basket', recipient });
}

/** Where the sender learns of a queue or an address a moment later, that moment is waited for. */
async function eventually(world: TransportWorld, peer: Peer, sent: WireMessage, kind: 'stored' | 'unroutable'): Promise<void> {
  const untilMs = world.clock.monotonic() + world.patienceMs;
  for (;;) {
    const [outcome] = await send(peer, sent);
    if (outcome?.kind === kind) return;
    assert.ok(world.clock.monotonic() < untilMs, `was to be ${kind}, is ${outcome?.kind}`);
    await world.clock.turn();
  }
}

/** Deliveries of a listener, one after another. */
function inbox(): { deliver: (delivery: Delivery) => void; next: (world: TransportWorld) => Promise<Delivery> } {
  const came: Delivery[] = [];
  let wake = (): void => {};
  return {
    deliver(delivery) {
      came.push(delivery);
      wake();
    },
    async next(world) {
      const untilMs = world.clock.monotonic() + world.patienceMs;
      while (came.length === 0) {
        assert.ok(world.clock.monotonic() < untilMs, 'a reply was to come');
        await new Promise<void>((resolve) => {
          const cancel = world.clock.after(untilMs - world.clock.monotonic(), resolve);
          wake = () => {
            cancel();
            resolve();
          };
        });
      }
      return came.shift()!;
    },
  };
}
