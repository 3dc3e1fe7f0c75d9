/** Over a real broker: a subscriber that comes later, replay, audit, and a quiet publisher. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { needs } from '../../../../test/support/needs.ts';
import { Priced } from '../support/contracts.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';

const { skip } = needs('rabbitmq');
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

describe('over RabbitMQ', { skip }, () => {
  let server: RabbitServer;
  before(async () => {
    server = await rabbitServer([]);
  });
  after(() => server?.close());

  it('a late subscriber joins under load without gap or double, in order; nothing is lost, and a replay changes nothing', async () => {
    const bus = (service: string) => createBus({ service, store: 'sqlite::memory:', transport: rabbitmq(server.url), logger: quiet });
    await using catalog = bus('catalog');
    await using desk = bus('desk');
    await catalog.start();
    let revision = 0;
    let token = '';
    const load = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i++) {
        const some = upTo(4).map(() => ++revision);
        const published = await catalog.publishAll(some.flatMap((n) => ['a', 'b'].map((id) => Priced.of({ id, price: 1, revision: n }))));
        token = published.at(-1)!.token;
        await sleep(20);
      }
    };
    await load(40);
    const seen: string[] = [];
    const duplicates: unknown[] = [];
    desk.on('duplicate', (detail) => duplicates.push(detail));
    desk.subscribe(Priced, { name: 'prices', order: 'by-key', from: 'beginning' }, (event, ctx) => ctx.afterCommit(() => void seen.push(`${event.id}${event.revision}`)));
    let started = false;
    const starting = desk.start().then(() => (started = true));
    while (!started) await load(5);
    await starting;
    await load(20);
    assert.equal(await desk.caughtUp(token, { timeoutMs: 60_000 }), true);
    const all = 2 * revision;
    for (let i = 0; i < 1_000 && seen.length < all; i++) await sleep(50);
    for (const id of ['a', 'b']) assert.deepEqual(seen.filter((one) => one.startsWith(id)).map((one) => Number(one.slice(1))), upTo(revision), id);

    const isCurrent = async (): Promise<boolean> => (await desk.freshness('catalog'))[0]?.state === 'current';
    await sleep(6_000); // longer than a silence that counts as current
    let current = await isCurrent(); // but for a moment in which a heartbeat is late, on a busy machine
    for (let i = 0; i < 400 && !current; i++) current = await sleep(50).then(isCurrent);
    assert.ok(current, 'a quiet publisher stays current by its heartbeat');
    const [entry] = await operations(desk).audit();
    assert.deepEqual([entry!.published, entry!.applied, entry!.lost], [all, all, 0]);
    const replay = await operations(desk).subscriptions.replay('prices', { from: 'beginning', perSecond: 100_000 });
    assert.deepEqual([(await replay.done).known, seen.length], [all, all]);
  });
});
