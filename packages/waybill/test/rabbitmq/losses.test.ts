/** A broker that loses what it confirmed: the receiver notices, and the publisher's ledger brings it back (promise 6, I22). */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { needs } from '../../../../test/support/needs.ts';
import { assembleBus } from '../../src/bus.ts';
import type { SignalMap } from '../../src/contract/signals.ts';
import { hastenedClock } from '../../src/testing/conformance/hastened-clock.ts';
import { Priced } from '../support/contracts.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';
import { deleteExchange } from './trouble.ts';

const { skip } = needs('rabbitmq');
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    assert.ok(i < 2_000, `in vain waited until ${what}`);
    await sleep(20);
  }
}

/** Warnings, kept. */
function remembering() {
  const lines: { detail: unknown; text: string }[] = [];
  return { logger: { ...quiet, warn: (detail: unknown, text?: string) => void lines.push({ detail, text: text ?? '' }) }, of: (text: string) => lines.filter((line) => line.text.includes(text)) };
}

let server: RabbitServer;
before(async () => {
  if (!skip) server = await rabbitServer([]);
});
after(() => server?.close());

it('a broker that forgets what it confirmed is noticed, and republishing heals it; one that only restarts is not', { skip }, async () => {
  const clock = hastenedClock();
  await using catalog = createBus({ service: 'catalog', store: 'sqlite::memory:', transport: rabbitmq(server.url), logger: quiet });
  const warned = remembering();
  await using desk = assembleBus({ service: 'desk', store: 'sqlite::memory:', transport: rabbitmq(server.url), logger: warned.logger }, { clock });
  const applied: string[] = [];
  const lost: SignalMap['lost'][] = [];
  const signals: string[] = [];
  let sent = 0;
  catalog.on('sent', () => sent++);
  desk.on('lost', (detail) => lost.push(detail));
  for (const name of ['paused', 'resumed', 'queue-made'] as const) desk.on(name, ({ subscription }) => subscription === 'desk.prices' && signals.push(name));
  const prices = desk.subscribe(Priced, { name: 'prices', order: 'by-key' }, ({ id, revision }, ctx) => ctx.afterCommit(() => void applied.push(`${id}${revision}`)));
  await desk.start();
  await catalog.start();
  clock.pass(120_000); // the subscription is no new one
  let revision = 0;
  const publish = async (times: number): Promise<void> => {
    for (let i = 0; i < times; i++) await catalog.publishAll(['a', 'b'].map((id) => Priced.of({ id, price: 1, revision: ++revision })));
  };
  const lookTwice = async (): Promise<void> => {
    for (let i = 0; i < 15; i++) {
      clock.pass(6_000);
      await sleep(50); // for a question to the publisher and its answer
    }
  };

  await publish(5);
  await until('all are applied', () => applied.length === revision);
  await prices.pause();
  await publish(5);
  await until('the broker has confirmed all', () => sent === revision);
  await server.kill();
  await prices.resume();
  await until('the receiver knows that the broker is away', () => signals.includes('paused'));
  await server.start();
  await until('what waited at the broker is applied', () => applied.length === revision);
  await publish(1);
  await until('and what came after it', () => applied.length === revision);
  await lookTwice();
  assert.deepEqual(lost, [], 'nothing was lost');

  await prices.pause();
  await publish(15);
  await until('the broker has confirmed all', () => sent === revision);
  await server.kill();
  await rm(join(server.folder, 'mnesia'), { recursive: true });
  await prices.resume();
  signals.length = 0;
  await server.start();
  await until('the queue is made again', () => signals.includes('queue-made'));
  const told = warned.of('made again').filter(({ detail }) => (detail as { subscription: string }).subscription === 'desk.prices');
  assert.equal(told.length, 1, 'not once for each partition');
  await publish(1);
  await until('what is published now is applied', () => applied.includes(`a${revision - 1}`) && applied.includes(`b${revision}`));
  for (let i = 0; i < 100 && lost.length === 0; i++) await lookTwice();
  assert.deepEqual(lost.map(({ subscription, source, count }) => ({ subscription, source, count })), [{ subscription: 'desk.prices', source: 'catalog', count: 30 }]);
  assert.equal(applied.length, revision - 30);

  await operations(catalog).outbox.republish({ types: [Priced.type] });
  await until('all are applied', () => applied.length >= revision);
  assert.equal(new Set(applied).size, revision);
  assert.equal(applied.length, revision);
});

it('one partition that somebody deletes is made again, told once, and its loss is looked for', { skip }, async () => {
  const warned = remembering();
  await using catalog = createBus({ service: 'seller', store: 'sqlite::memory:', transport: rabbitmq(server.url), logger: quiet });
  await using desk = createBus({ service: 'counter', store: 'sqlite::memory:', transport: rabbitmq(server.url), logger: warned.logger });
  const applied = new Set<string>();
  let made = 0;
  desk.on('queue-made', ({ subscription }) => subscription === 'counter.prices' && made++);
  desk.subscribe(Priced, { name: 'prices', order: 'by-key' }, ({ id }, ctx) => ctx.afterCommit(() => void applied.add(id)));
  await desk.start();
  await catalog.start();
  made = 0;
  const names = (await server.ctl('list_queues', 'name')).split(/\s+/).filter((name) => name.startsWith('waybill.counter.prices~') && /~\d$/.test(name));
  assert.equal(names.length, 8);
  await server.ctl('delete_queue', names.toSorted()[2]!);
  await until('it is made again', () => made > 0);
  const ids = Array.from({ length: 40 }, (_, i) => `key${i}`); // some of them for each partition
  await catalog.publishAll(ids.map((id) => Priced.of({ id, price: 1, revision: 1 })));
  await until('all are applied', () => applied.size === ids.length);
  assert.equal(made, 1);
  assert.deepEqual(warned.of('made again').map(({ detail }) => detail), [{ subscription: 'counter.prices', queues: [names.toSorted()[2]] }]);
});

it('what was published while nothing was bound, as somebody had deleted the exchange, is noticed, and republishing heals it', { skip }, async () => {
  const clock = hastenedClock();
  const transport = () => rabbitmq(server.url, { system: 'unbound' });
  await using catalog = createBus({ service: 'vendor', store: 'sqlite::memory:', transport: transport(), logger: quiet });
  const warned = remembering();
  await using desk = assembleBus({ service: 'till', store: 'sqlite::memory:', transport: transport(), logger: warned.logger }, { clock });
  const applied: string[] = [];
  const lost: SignalMap['lost'][] = [];
  const signals: string[] = [];
  desk.on('lost', (detail) => lost.push(detail));
  for (const name of ['paused', 'resumed'] as const) desk.on(name, (detail) => detail.subscription === 'till.prices' && signals.push(name));
  desk.subscribe(Priced, { name: 'prices' }, ({ id }, ctx) => ctx.afterCommit(() => void applied.push(id)));
  await desk.start();
  await catalog.start();
  let published = 0;
  const publish = () => catalog.publish(Priced, { id: `${published++}`, price: 1, revision: 1 });
  await publish();
  await until('it is applied', () => applied.length === 1);
  await sleep(2_500); // a heartbeat says so
  clock.pass(120_000); // the subscription is no new one

  let deleted = false;
  const deleting = deleteExchange(server, 'unbound', 'and make it anew').then(() => (deleted = true));
  for (let i = 0; !deleted || signals.length < 2; i++) {
    assert.ok(i < 600, 'in vain waited until it is bound again');
    await publish();
    await sleep(50);
  }
  await deleting;
  assert.deepEqual(signals, ['paused', 'resumed']);
  assert.match(String((warned.of('pauses (transport)')[0]!.detail as { error: unknown }).error), /exchange unbound was deleted/);
  await until('it says so', () => warned.of('all is bound again').length > 0); // after the subscriptions have resumed
  assert.equal(warned.of('all is bound again').length, 1);
  const last = published;
  await publish();
  await until('what is published now is applied', () => applied.includes(`${last}`));
  const missing = published - applied.length;
  assert.ok(missing > 0, 'nothing was lost');
  for (let i = 0; i < 100 && lost.length === 0; i++) {
    clock.pass(6_000);
    await sleep(100);
  }
  assert.deepEqual(lost.map(({ subscription, source, count }) => ({ subscription, source, count })), [{ subscription: 'till.prices', source: 'vendor', count: missing }]);
  await operations(catalog).outbox.republish({ types: [Priced.type] });
  await until('all are applied', () => applied.length >= published);
  assert.equal(new Set(applied).size, published);
  assert.equal(applied.length, published);
});
