/** PostgreSQL with RabbitMQ: a late subscriber under load, while a publisher and the late one itself start again, ends equal to an early one. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bus, type SqlTransaction, createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { needs } from '../../../../test/support/needs.ts';
import { server as startPostgres, skip as noPostgres } from '../postgres/support.ts';
import { Priced } from '../support/contracts.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { rabbitServer, type RabbitServer } from '../support/rabbitmq-server.ts';

const { skip: noRabbit } = needs('rabbitmq');
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const ids = ['a', 'b', 'c'];

describe('over PostgreSQL and RabbitMQ', { skip: noPostgres || noRabbit }, () => {
  let rabbit: RabbitServer;
  let sql: PostgresServer;
  before(async () => {
    [rabbit, sql] = await Promise.all([rabbitServer([]), startPostgres()]);
  });
  after(() => Promise.all([rabbit?.close(), sql?.close()]));

  it('a late subscriber ends equal to an early one', async (t) => {
    const urls = new Map<string, string>();
    const busOf = async (service: string): Promise<Bus<SqlTransaction>> => {
      const url = urls.get(service) ?? sql.url(await sql.createDatabase());
      urls.set(service, url);
      const bus = createBus({ service, store: postgres(url), transport: rabbitmq(rabbit.url), logger: quiet });
      t.after(() => bus.stop());
      return bus;
    };
    const view = (bus: Bus<SqlTransaction>, from: 'now' | 'beginning'): void => {
      bus.subscribe(Priced, { name: 'prices', order: 'by-key', from }, async ({ id, revision }, ctx) => {
        await ctx.tx.query('insert into view (source, id, revisions) values ($1, $2, $3) on conflict (source, id) do update set revisions = view.revisions || $4 || excluded.revisions', [ctx.message.source, id, String(revision), ' ']);
      });
    };
    const tableIn = (bus: Bus<SqlTransaction>) => bus.transaction((tx) => tx.query('create table if not exists view (source text, id text, revisions text, primary key (source, id))'));
    const rows = (bus: Bus<SqlTransaction>) => bus.transaction(async (tx) => (await tx.query('select source, id, revisions from view order by source, id')).rows);

    let [catalog, depot] = [await busOf('catalog'), await busOf('depot')];
    const early = await busOf('early');
    await tableIn(early);
    view(early, 'now');
    await Promise.all([catalog, depot, early].map((bus) => bus.start()));
    let revision = 0;
    let tokens: string[] = [];
    const load = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i++) {
        const some = ids.map((id) => Priced.of({ id, price: 1, revision: ++revision }));
        tokens = (await Promise.all([catalog, depot].map((bus) => bus.publishAll(some, { tx: 'own' })))).map((published) => published.at(-1)!.token);
        await sleep(10);
      }
    };
    await load(100);
    let late = await busOf('late');
    await tableIn(late);
    view(late, 'beginning');
    let started = false;
    const starting = late.start().then(() => (started = true));
    while (!started) await load(5);
    await starting;
    await load(10);
    await late.stop({ drainMs: 0 });
    await depot.stop();
    depot = await busOf('depot');
    await depot.start();
    await load(10);
    late = await busOf('late');
    view(late, 'beginning');
    await late.start();
    await load(50);
    for (const bus of [early, late]) for (const token of tokens) assert.equal(await bus.caughtUp(token, { timeoutMs: 60_000 }), true);
    // The last of each publisher may be applied before what it sent to other keys.
    const all = 2 * revision;
    const count = async (bus: Bus<SqlTransaction>): Promise<number> => ((await rows(bus)) as { revisions: string }[]).reduce((sum, { revisions }) => sum + revisions.split(' ').length, 0);
    for (const bus of [early, late]) for (let i = 0; i < 1_200 && (await count(bus)) < all; i++) await sleep(50);
    assert.deepEqual(await rows(late), await rows(early));
    for (const { revisions } of (await rows(early)) as { revisions: string }[]) {
      const numbers = revisions.split(' ').map(Number);
      assert.deepEqual(numbers, numbers.toSorted((one, other) => one - other), 'in order');
      assert.equal(numbers.length, revision / ids.length);
    }
    for (const bus of [early, late]) {
      for (const { applied, lost, pending } of await operations(bus).audit()) assert.deepEqual([applied, lost, pending], [revision, 0, 0]);
    }
  });
});
