/** The event store on a server where transactions commit in another order than they wrote. */
import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { WaybillError, createBus, defineEvent } from 'waybill';
import { eventStore } from 'waybill/streams';
import { postgres } from 'waybill/stores/postgres';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { needs } from '../../../../test/support/needs.ts';
import { startPostgres, type PostgresServer } from '../support/postgres-server.ts';

const Counted = defineEvent('desk.counted', { schema: z.object({ n: z.number() }) });
const program = needs('postgres');
const streamsCount = 5;
const writers = 8;
const each = 40;

describe('an event store on PostgreSQL', { skip: program.skip }, () => {
  let server: PostgresServer;
  before(async () => {
    server = await startPostgres({ bin: dirname(program.path!) });
  });
  after(() => server?.close());

  it('steps over nothing that commits late, and inverts no stream, while connections are cut and a projection is rebuilt', async () => {
    const database = await server.createDatabase();
    const transport = memory();
    const bus = () => createBus({ service: 'desk', store: postgres(server.url(database)), transport, logger: { debug() {}, info() {}, warn() {}, error() {} } });
    await using one = bus();
    await using two = bus();
    await one.transaction(async (tx) => {
      await tx.query('create table seen (place bigint generated always as identity, stream text, version int, n int)');
      await tx.query('create table rebuilt (place bigint generated always as identity, stream text, version int, n int)');
    });
    const stores = [one, two].map((each) => eventStore(each, { events: [Counted] }));
    const write = (table: string) => async (events: readonly any[], ctx: any): Promise<void> => {
      for (const { stream, version, data } of events) await ctx.tx.query(`insert into ${table} (stream, version, n) values ($1, $2, $3)`, [stream, version, data.n]);
    };
    const live = stores.map((store) => store.project('live', { events: [Counted], batch: 7 }, write('seen')));
    const rebuilt = stores.map((store) =>
      store.project('rebuilt', { events: [Counted], batch: 7, reset: async (tx) => void (await tx.query('delete from rebuilt')) }, write('rebuilt')),
    );
    await one.start();
    await two.start();

    const writer = async (w: number): Promise<void> => {
      for (let i = 0; i < each; i++) {
        const n = w * each + i;
        for (let done = false; !done; ) {
          try {
            await one.transaction(async (tx) => {
              await stores[0]!.append(`s${n % streamsCount}`, [Counted.of({ n }), Counted.of({ n })], { expectedVersion: 'any', tx });
              if (n % 3 === 0) await tx.query('select pg_sleep(0.02)'); // written early, committed late
            });
            done = true;
          } catch (error) {
            assert.ok(WaybillError.is(error), String(error)); // its connection was cut before COMMIT: it comes again
          }
        }
      }
    };
    const writing = Promise.all(Array.from({ length: writers }, (_, w) => writer(w)));
    let over = false;
    void writing.finally(() => (over = true));
    for (let i = 0; !over; i++) {
      if (i % 4 === 1) await rebuilt[i % 2]!.rebuild();
      if (i % 4 === 3) await server.query(`select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = $1 and random() < 0.2`, [database]);
      await server.query('select pg_sleep(0.1)');
    }
    await writing;
    for (const projection of [live[0]!, rebuilt[0]!]) assert.equal(await projection.caughtUp({ timeoutMs: 30_000 }), true, projection.name);

    const rows = async (text: string): Promise<any[]> => (await server.query(text, [], database)).rows;
    const log = await rows('select stream, version from waybill.event order by stream, version');
    assert.ok(log.length >= writers * each * 2);
    for (const table of ['seen', 'rebuilt']) {
      assert.deepEqual(await rows(`select stream, version from ${table} order by stream, version`), log, `${table}: each event once`);
      const inverted = await rows(`select * from (select version - lag(version) over (partition by stream order by place) as step from ${table}) x where step <> 1`);
      assert.deepEqual(inverted, [], `${table}: in the order of its stream`);
    }
  });
});
