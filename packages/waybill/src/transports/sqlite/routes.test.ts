import assert from 'node:assert/strict';
import { closeSync, copyFileSync, existsSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { replyType, type WireMessage } from '../../contract/message.ts';
import type { Delivery } from '../../contract/transport.ts';
import { hastenedClock } from '../../testing/conformance/hastened-clock.ts';
import {
  drain, eventually, events, folder, inside, instance, labels, message, price, publish, start, subscription,
} from '../../../test/transport-sqlite/world.ts';

const type = 'basket.clear.v1';
const name = 'basket.clear';
const clearing = subscription(name, { bindings: [{ type, kind: 'command' }] });
const command = (of: Partial<WireMessage> = {}): WireMessage => message('catalog', 'clear', { kind: 'command', type, recipient: 'basket', ...of });
const reply = (recipient: string, label = 'reply'): WireMessage => message('basket', label, { kind: 'reply', type: replyType, recipient });

test('a command is routed once its receiver has declared it, and asked for again until then', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const { routes } = catalog.session.ledger!;
  assert.equal(routes(command()), false, 'there is no such service');
  const basket = await start(t, directory, 'basket');
  assert.equal(routes(command()), false, 'it takes nothing');
  await basket.session.declare(clearing);
  assert.equal(routes(command()), true);
  assert.equal(routes(command({ type: 'basket.other.v1' })), false);
  assert.equal(routes(command({ recipient: 'ordering' })), false);
});

test('an event of the same type is no handler of the command', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(subscription('basket.x', { bindings: events(type) }));
  assert.equal(catalog.session.ledger!.routes(command()), false);
});

test('a yes is remembered for a second', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog', { clock });
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(clearing);
  const { routes } = catalog.session.ledger!;
  assert.equal(routes(command()), true);
  await basket.session.remove(name, 'drop');
  assert.equal(routes(command()), true);
  clock.pass(1_001);
  assert.equal(routes(command()), false);
});

test('a service may send a command to itself', async (t) => {
  const directory = folder(t);
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(clearing);
  assert.equal(basket.session.ledger!.routes(command()), true);
});

test('a type that was dropped is still taken for ten minutes', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(clearing);
  await basket.session.declare(subscription(name, { bindings: events(price) }));
  const { routes } = basket.session.ledger!;
  assert.equal(routes(command()), true);
  clock.pass(601_000);
  assert.equal(routes(command()), false);
});

test('a subscription that is being removed takes no more commands', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const basket = await start(t, directory, 'basket', { clock });
  await basket.session.declare(clearing);
  inside(join(directory, 'basket.db'), (db) => db.exec('update waybill_subscription set stopped = 1'));
  assert.equal(basket.session.ledger!.routes(command()), false);
});

test('in doubt a command is routed: its receiver cannot be read right now', async (t) => {
  const directory = folder(t);
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(subscription('basket.x', { bindings: events(price) }));
  await basket.stop();
  const file = join(directory, 'basket.db');
  copyFileSync(file, `${file}.whole`);
  const handle = openSync(file, 'r+');
  writeSync(handle, Buffer.alloc(20_000, 0x5a), 0, undefined, 100);
  closeSync(handle);
  const catalog = await start(t, directory, 'catalog');
  assert.equal(catalog.session.ledger!.routes(command()), true, 'damaged');
  const clock = hastenedClock();
  renameSync(`${file}.whole`, file);
  inside(file, (db) => db.exec('update waybill_identity set format = 99'));
  const other = await start(t, directory, 'other', { clock });
  assert.equal(other.session.ledger!.routes(command()), true, 'newer');
  inside(file, (db) => db.exec("update waybill_identity set format = 1, service = 'another'"));
  assert.equal(catalog.session.ledger!.routes(command({ type: 'basket.y.v1' })), false, 'another service’s copy');
  assert.equal(other.session.ledger!.routes(command({ recipient: '../basket' })), false);
});

test("a receiver's file that was deleted and made again is asked, not the one that was open", async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog', { clock });
  const basket = await start(t, directory, 'basket');
  await basket.session.declare(clearing);
  assert.equal(catalog.session.ledger!.routes(command()), true);
  await basket.stop();
  for (const end of ['', '-wal', '-shm', '-turn']) rmSync(join(directory, `basket.db${end}`), { force: true });
  clock.pass(1_001);
  assert.equal(catalog.session.ledger!.routes(command()), false, 'deleted');
  const again = await start(t, directory, 'basket');
  assert.equal(catalog.session.ledger!.routes(command()), false, 'made again');
  await again.session.declare(clearing);
  assert.equal(catalog.session.ledger!.routes(command()), true);
});

test('with a store elsewhere send tells what nobody takes, and appends the rest', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog', { file: ':memory:' });
  const basket = await start(t, directory, 'basket');
  const both = subscription(name, { bindings: [...clearing.bindings, ...events(price)] });
  await basket.session.declare(both);
  const outcomes = await catalog.session.send([command(), command({ type: 'basket.other.v1' }), message('catalog', 'event'), reply('basket~nobody')]);
  assert.deepEqual(outcomes.map(({ kind }) => kind), ['stored', 'unroutable', 'stored', 'unroutable']);
  assert.deepEqual(labels(await drain(await basket.session.consume(both), 500)), ['clear', 'event']);
});

test('replies come from every ledger, old and new, to the instance that waits, for as long as it does', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  const got: Delivery[] = [];
  await publish(basket, ...Array.from({ length: 3_000 }, (_, n) => `event ${n}`));
  const inbox = await catalog.session.listen((delivery) => got.push(delivery));
  assert.match(inbox.address, /^catalog~/);
  await publish(basket, reply(inbox.address, 'one'), reply('catalog~another', 'not mine'));
  const late = await start(t, directory, 'late');
  await publish(late, ...Array.from({ length: 3_000 }, (_, n) => message('late', `event ${n}`)), reply(inbox.address, 'two'));
  await publish(catalog, reply(inbox.address, 'from itself'));
  await eventually('all three were to come', () => got.length === 3);
  assert.deepEqual(labels(got).toSorted(), ['from itself', 'one', 'two']);
  assert.deepEqual(got.map(({ kind, redelivered, suspect }) => [kind, redelivered, suspect])[0], ['reply', false, false]);
  await inbox.close();
  await publish(basket, reply(inbox.address, 'too late'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(got.length, 3);
});

test('a reply that lies in a ledger before the ledger is found is not missed', async (t) => {
  const [directory, other] = [folder(t), folder(t)];
  const catalog = await start(t, directory, 'catalog');
  const late = await start(t, other, 'late');
  const got: Delivery[] = [];
  const inbox = await catalog.session.listen((delivery) => got.push(delivery));
  await publish(late, 'event', reply(inbox.address, 'one'));
  await late.stop();
  renameSync(join(other, 'late.db'), join(directory, 'late.db'));
  await start(t, directory, 'late');
  await eventually('it was to come', () => got.length === 1);
});

test('a reply is routed while somebody listens to its address', async (t) => {
  const directory = folder(t);
  const clock = hastenedClock();
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket', { clock });
  const { routes } = basket.session.ledger!;
  const inbox = await catalog.session.listen(() => {});
  assert.equal(routes(reply(inbox.address)), true);
  for (const stranger of ['catalog~nobody', 'catalog', 'nobody~1', '../wake~1', 'catalog~../x']) assert.equal(routes(reply(stranger)), false, stranger);
  await inbox.close();
  clock.pass(1_001);
  assert.equal(routes(reply(inbox.address)), false);
});

test('a reply to an instance that was killed is unroutable, and what it left is cleared away', async (t) => {
  const directory = folder(t);
  const basket = await start(t, directory, 'basket');
  const listener = instance(t, { directory, service: 'catalog', role: 'listen' });
  const { address } = await listener.next();
  const { routes } = basket.session.ledger!;
  const clock = hastenedClock();
  const later = await start(t, directory, 'later', { clock });
  assert.equal(routes(reply(address)), true);
  listener.process.kill('SIGKILL');
  await listener.exited();
  assert.equal(later.session.ledger!.routes(reply(address)), false);
  assert.ok(existsSync(join(directory, 'replies', address)));
  const catalog = await start(t, directory, 'catalog');
  const inbox = await catalog.session.listen(() => {});
  assert.deepEqual(readdirSync(join(directory, 'replies')), [inbox.address]);
});

test('a listener that throws is told of, and gets the next reply', async (t) => {
  const directory = folder(t);
  const catalog = await start(t, directory, 'catalog');
  const basket = await start(t, directory, 'basket');
  let count = 0;
  const inbox = await catalog.session.listen(() => {
    count++;
    throw new Error('from a listener');
  });
  await publish(basket, reply(inbox.address), reply(inbox.address));
  await eventually('both were to come', () => count === 2);
  assert.equal(catalog.reported.filter((report) => report.name === 'trouble').length, 2);
});
