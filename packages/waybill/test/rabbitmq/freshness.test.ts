/** Over a real broker: several instances, of which none says that something is applied which another still works on. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import amqplib from 'amqplib';
import { createBus, type Freshness } from 'waybill';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { needs } from '../../../../test/support/needs.ts';
import { Priced } from '../support/contracts.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';

const { skip } = needs('rabbitmq');
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; !(await condition()); i++) {
    assert.ok(i < 1_500, `in vain waited until ${what}`);
    await sleep(20);
  }
}

describe('freshness over RabbitMQ', { skip }, () => {
  let server: RabbitServer;
  let folder: string;
  before(async () => {
    server = await rabbitServer([]);
    folder = await mkdtemp(join(tmpdir(), 'waybill-freshness-'));
  });
  after(async () => {
    await server?.close();
    await rm(folder, { recursive: true, force: true });
  });

  for (const order of ['by-key', 'any'] as const) {
    it(`of two instances (${order}) neither is current while one works on something; both are soon after, and again after a restart`, async (t) => {
      const system = `fresh-${order}`;
      const bus = (service: string) => {
        const made = createBus({ service, store: `sqlite:${join(folder, `${system}-${service}.db`)}`, transport: rabbitmq(server.url, { system }), logger: quiet });
        t.after(() => made.stop());
        return made;
      };
      const gate = Promise.withResolvers<void>();
      let held = '';
      const desk = (by: number) => {
        const made = bus('desk');
        made.subscribe(Priced, { name: 'prices', order, transaction: 'manual', timeoutMs: 3_600_000 }, async ({ id }, ctx) => {
          seen[by]!.add(id);
          if (id === held) await gate.promise;
          await ctx.transaction(async () => {});
        });
        return made;
      };
      const seen = [new Set<string>(), new Set<string>(), new Set<string>()];
      const catalog = bus('catalog');
      const bystander = bus('bystander');
      const desks = [desk(0), desk(1)];
      await Promise.all([bystander, catalog, ...desks].map((one) => one.start()));
      let revision = 0;
      const publish = (id: string) => catalog.publish(Priced, { id, price: 1, revision: ++revision });
      const ids = Array.from({ length: 40 }, (_, i) => `product ${i}`);
      await until('both have something to do', async () => {
        for (const set of seen) set.clear();
        for (const id of ids) await publish(id);
        await sleep(100);
        return seen[0]!.size > 0 && seen[1]!.size > 0;
      });
      const rowOf = async (one: (typeof desks)[number]): Promise<Freshness | undefined> => (await one.freshness('catalog'))[0];
      const isCurrent = async (one: (typeof desks)[number]): Promise<boolean> => (await rowOf(one))?.state === 'current';
      for (const one of desks) await until('both are current', () => isCurrent(one));

      held = ids.find((id) => seen[0]!.has(id))!;
      const { token } = await publish(held);
      const heldAtMs = Date.now();
      const others = ids.filter((id) => id !== held);
      for (let i = 0; i < 60; i++) {
        await publish(others[i % others.length]!);
        await sleep(50);
        for (const one of desks) {
          const row = await rowOf(one);
          assert.ok(row === undefined || row.appliedUntil.getTime() <= heldAtMs, `until ${Number(row?.appliedUntil) - heldAtMs} ms after what is still worked on`);
        }
      }
      assert.deepEqual(await Promise.all(desks.map((one) => one.caughtUp(token, { timeoutMs: 0 }))), [false, false]);
      for (const one of desks) await until('it is told that they are behind', async () => (await rowOf(one))?.state === 'behind');
      gate.resolve();
      for (const one of desks) await until('both are current again', () => isCurrent(one));
      await sleep(6_000); // longer than a silence that counts as current
      for (let i = 0; i < 20; i++) {
        for (const one of desks) assert.equal((await rowOf(one))?.state, 'current', 'a quiet publisher stays current by its heartbeat');
        await sleep(100);
      }

      for (const one of desks) await one.stop();
      const again = desk(2);
      await again.start();
      assert.deepEqual((await again.freshness()).map(({ source }) => source), ['catalog'], 'known from the inbox, though it sends nothing');
      await until('its heartbeats tell that it is current', () => isCurrent(again));
      assert.equal(seen[2]!.size, 0);
      assert.deepEqual((await again.freshness()).map(({ source }) => source), ['catalog'], 'who never sent anything is not listed');
    });
  }

  it('costs a queue nothing of publishers with which its subscription has nothing to do', async (t) => {
    const system = 'fresh-concerned';
    const bus = (service: string) => {
      const made = createBus({ service, store: `sqlite:${join(folder, `${system}-${service}.db`)}`, transport: rabbitmq(server.url, { system }), logger: quiet });
      t.after(() => made.stop());
      return made;
    };
    const [catalog, bystander, desk] = [bus('catalog'), bus('bystander'), bus('desk')];
    let applied = 0;
    desk.subscribe(Priced, { name: 'prices' }, (_, ctx) => ctx.afterCommit(() => void applied++));
    await Promise.all([catalog, bystander, desk].map((one) => one.start()));

    const connection = await amqplib.connect(server.url);
    t.after(() => connection.close());
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    for (const pattern of ['heartbeat.#', 'beat.#']) await channel.bindQueue(queue, system, pattern);
    /** Who said that he is there, and of whom a word was put into a queue. */
    const [said, put]: [string[], string[]] = [[], []];
    await channel.consume(queue, (message) => (message!.fields.routingKey.startsWith('beat.') ? put : said).push(String(message!.properties.appId)), { noAck: true });
    const saidBy = (who: string): number => said.filter((one) => one === who).length;

    await until('both publishers have been heard', () => saidBy('catalog') > 2 && saidBy('bystander') > 2);
    assert.deepEqual(put, [], 'nothing but heartbeats has come of either');
    await catalog.publish(Priced, { id: 'p1', price: 1, revision: 1 });
    await until('it is applied', () => applied === 1);
    const before = saidBy('bystander');
    await until('the one that sent something is followed, and the other heard', () => put.length > 2 && saidBy('bystander') > before + 2);
    assert.deepEqual([...new Set(put)], ['catalog']);
  });
});
